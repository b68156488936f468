"""The options of `python -m corr eval`. No torch here: `--help` is instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from corr.semantic.features.dino import DinoFeatures
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.stable_diffusion import StableDiffusionFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.hough import Hough
from corr.semantic.transfer import Mutual, Nearest, Transfer, Window

BENCHMARKS = ("spair71k", "pf_pascal", "pf_willow", "ap10k", "own")
SPLITS = ("trn", "val", "test")
SIZES = ("large", "small")
SUBSETS = ("intra_species", "cross_species", "cross_family")
ALIGNMENTS = ("none", "pose")
EXTENTS = ("box", "image", "points")


@dataclass
class EvalOptions:
    """What `corr eval` can be told."""

    benchmark: str = "???"  # spair71k | pf_pascal | pf_willow | ap10k | own
    data: str = "???"  # folder of the benchmark, official layout
    features: Extractor = field(default_factory=LiteFeatures)
    transfer: Transfer = field(default_factory=Window)
    split: str = "test"  # trn | val | test
    size: str = "large"  # of spair71k: large (the benchmark) | small
    subset: str = "intra_species"  # of ap10k: intra_species | cross_species | cross_family
    extent: str = ""  # what alpha multiplies: box | image | points; empty = the benchmark's own
    categories: str = ""  # only these, colons between: cow:horse; empty = all
    every: int = 1  # only every n-th pair
    align: str = "none"  # none | pose: match from the flipped source where it fits better
    mirrored: bool = False  # score the pairs a second time, with the source flipped
    worst: int = 24  # pairs that report.html shows, those that went wrong most; 0 = no page
    cache: str = "outputs/features"  # folder that keeps features from run to run
    memory_mb: float = 512.0  # MB of features kept in memory
    out: str = ""  # result folder; empty = outputs/eval/<benchmark>_<features>_<transfer>

    def __post_init__(self):
        _one_of("benchmark", self.benchmark, BENCHMARKS)
        _one_of("split", self.split, SPLITS)
        _one_of("size", self.size, SIZES)
        _one_of("subset", self.subset, SUBSETS)
        _one_of("align", self.align, ALIGNMENTS)
        _one_of("extent", self.extent, ("", *EXTENTS))
        if not self.worst >= 0:
            raise ValueError(f"worst must be 0 or more, got {self.worst}")
        if not self.every >= 1:
            raise ValueError(f"every must be 1 or more, got {self.every}")
        if not self.memory_mb > 0:
            raise ValueError(f"memory_mb must be positive, got {self.memory_mb}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in (*choices, "(required)", "???"):
        named = ", ".join(filter(None, choices))
        raise ValueError(f"{name} must be one of {named}, got {value}")


def extractors() -> dict[str, type[Extractor]]:
    """Every kind of features by the name it is chosen with."""
    return {
        "lite": LiteFeatures, "xfeat": XFeatFeatures, "dino": DinoFeatures,
        "sd": StableDiffusionFeatures, "fusion": FusionFeatures,
    }  # fmt: skip


def transfers() -> dict[str, type[Transfer]]:
    """Every way of reading out a match by the name it is chosen with."""
    return {"window": Window, "nearest": Nearest, "mutual": Mutual, "hough": Hough}


def choice_name(chosen: object, choices: Mapping[str, type]) -> str:
    """The name that an object of a group was chosen with."""
    return next(name for name, kind in choices.items() if type(chosen) is kind)


def register_eval() -> None:
    """Put the schema and the groups of `corr eval` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(EvalOptions)
    schema.features = MISSING  # the groups fill them
    schema.transfer = MISSING
    store.store(name="corr_eval_schema", node=schema)
    for name, kind in extractors().items():
        store.store(group="features", name=name, node=kind)
    for name, way in transfers().items():
        store.store(group="transfer", name=name, node=way)

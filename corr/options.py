"""The options of `python -m corr eval`. No torch here: `--help` is instant."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from corr.geometry.robust import ESTIMATORS
from corr.matchers.base import Matcher
from corr.matchers.choices import MATCHERS
from corr.matchers.xfeat import XFeatStar
from corr.semantic.features.dino import DinoFeatures
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.stable_diffusion import StableDiffusionFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.hough import Hough
from corr.semantic.transfer import Mutual, Nearest, Transfer, Window
from corr.sharding import Executor, Local, Parallel, check_workers, register_executors

SEMANTIC = ("spair71k", "pf_pascal", "pf_willow", "ap10k", "own")
TWO_VIEW = ("megadepth1500", "scannet1500", "posed", "hpatches", "oxford")
BENCHMARKS = (*SEMANTIC, *TWO_VIEW)
SPLITS = ("trn", "val", "test")
SIZES = ("large", "small")
SUBSETS = ("intra_species", "cross_species", "cross_family")
ALIGNMENTS = ("none", "pose")
EXTENTS = ("box", "image", "points")


@dataclass
class TwoViewOptions:
    """How matches of two-view benchmarks are judged."""

    estimators: str = "poselib:pycolmap:opencv"  # side by side, colons between; the first leads
    thresholds: str = "0.5:1:2"  # px at the benchmark's size, colons between: the sweep
    seed: int = 0  # of the random samples
    shard: str = "1/1"  # k/n: only the k-th of n parts; the last one to finish writes the report
    overlap: float = 0.3  # of posed: least share of each photo that the other one sees, 0 … 1
    most_pairs: int = 0  # of posed: at most so many pairs, evenly chosen; 0 = all

    def __post_init__(self):
        for name in self.estimator_list():
            if name not in ESTIMATORS:
                raise ValueError(
                    f"two_view.estimators must be of {', '.join(ESTIMATORS)}, got {name}"
                )
        self.threshold_list()
        if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", self.shard) or not (
            int(self.shard.split("/")[0]) <= int(self.shard.split("/")[1])
        ):
            raise ValueError(f"two_view.shard must be k/n with k up to n, got {self.shard}")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"two_view.overlap must lie in 0 … 1, got {self.overlap}")
        if self.most_pairs < 0:
            raise ValueError(f"two_view.most_pairs must be 0 or more, got {self.most_pairs}")

    def estimator_list(self) -> list[str]:
        """The estimators in the order given."""
        return self.estimators.split(":")

    def threshold_list(self) -> list[float]:
        """The thresholds, pixels.

        Raises:
            ValueError: One is no positive number.
        """
        try:
            found = [float(t) for t in self.thresholds.split(":")]
        except ValueError:
            found = [0.0]
        if min(found) <= 0:
            raise ValueError(
                f"two_view.thresholds must be positive numbers with colons, got {self.thresholds}"
            )
        return found


@dataclass
class EvalOptions:
    """What `corr eval` can be told."""

    benchmark: str = "???"  # one of those listed above
    data: str = "???"  # folder of the benchmark, official layout
    matcher: Matcher = field(default_factory=XFeatStar)
    two_view: TwoViewOptions = field(default_factory=TwoViewOptions)
    features: Extractor = field(default_factory=LiteFeatures)
    transfer: Transfer = field(default_factory=Window)
    head: str = ""  # head.safetensors of corr train, refines the features; empty = none
    split: str = "test"  # trn | val | test
    size: str = "large"  # of spair71k: large (the benchmark) | small
    subset: str = "intra_species"  # of ap10k: intra_species | cross_species | cross_family
    extent: str = ""  # what alpha multiplies: box | image | points; empty = the benchmark's own
    categories: str = ""  # only these, colons between: cow:horse; empty = all
    every: int = 1  # only every n-th pair
    align: str = "none"  # none | pose: match from the flipped source where it fits better
    mirrored: bool = False  # score the pairs a second time, with the source flipped
    cycles: str = ""  # k-CyPCK for these k, colons between: 2:3; empty = none
    worst: int = 24  # pairs that report.html shows, those that went wrong most; 0 = no page
    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes, with executor=local
    scratch: str = ""  # of semantic pairs: folder or URL of finished ones while it runs; empty: out
    cache: str = "outputs/features"  # folder that keeps features from run to run
    memory_mb: float = 512.0  # MB of features kept in memory
    out: str = ""  # result folder; empty = outputs/eval/<benchmark>_<what is evaluated>

    def __post_init__(self):
        one_of("benchmark", self.benchmark, BENCHMARKS)
        one_of("split", self.split, SPLITS)
        one_of("size", self.size, SIZES)
        one_of("subset", self.subset, SUBSETS)
        one_of("align", self.align, ALIGNMENTS)
        one_of("extent", self.extent, ("", *EXTENTS))
        parsed_lengths(self.cycles)
        check_workers(self.workers)
        if not self.worst >= 0:
            raise ValueError(f"worst must be 0 or more, got {self.worst}")
        if not self.every >= 1:
            raise ValueError(f"every must be 1 or more, got {self.every}")
        if not self.memory_mb > 0:
            raise ValueError(f"memory_mb must be positive, got {self.memory_mb}")

    def parallel(self) -> Parallel:
        """How pairs and features are computed."""
        return Parallel(self.executor, self.workers, self.scratch)


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in (*choices, "(required)", "???"):
        named = ", ".join(filter(None, choices))
        raise ValueError(f"{name} must be one of {named}, got {value}")


def parsed_lengths(text: str) -> tuple[int, ...]:
    """`"2:3"` as numbers.

    Raises:
        ValueError: It is something else.
    """
    parts = [p for p in text.split(":") if p]
    if not all(p.isdecimal() and int(p) >= 2 for p in parts):
        raise ValueError(f"cycles must be numbers from 2 on with colons between, got {text}")
    return tuple(sorted({int(p) for p in parts}))


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
    schema.matcher = MISSING
    schema.executor = MISSING
    register_executors()
    store.store(name="corr_eval_schema", node=schema)
    for name, kind in extractors().items():
        store.store(group="features", name=name, node=kind)
    for name, way in transfers().items():
        store.store(group="transfer", name=name, node=way)
    for name, matcher in MATCHERS.items():
        store.store(group="matcher", name=name, node=matcher)

"""The options of `python -m corr train method=…`. No torch here: `--help` is instant."""

from dataclasses import dataclass, field

from corr.options import SIZES, SUBSETS, extractors, one_of
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.learned.asic import Asic
from corr.semantic.learned.distill import Distill
from corr.semantic.learned.matchme import MatchMe
from corr.semantic.learned.method import Method
from corr.semantic.learned.supervised import Supervised

BENCHMARKS = ("spair71k", "pf_pascal", "ap10k")  # those with a training split
SHARED = ("refuse", "drop")


@dataclass
class TrainOptions:
    """What `corr train method=…` can be told."""

    benchmark: str = "???"  # spair71k | pf_pascal | ap10k
    data: str = "???"  # folder of the benchmark, official layout
    method: Method = field(default_factory=Supervised)
    features: Extractor = field(default_factory=LiteFeatures)  # frozen
    size: str = "large"  # of spair71k: large (the benchmark) | small
    subset: str = "intra_species"  # of ap10k: intra_species | cross_species | cross_family
    categories: str = ""  # only these, colons between: cow:horse; empty = all
    shared: str = "refuse"  # refuse | drop: training pairs that use a photo of the test split
    cache: str = "outputs/features"  # folder that keeps features from run to run
    memory_mb: float = 1024.0  # MB of features kept in memory
    threads: int = 1  # of the processor; more do not speed up such small networks
    seed: int = 0
    out: str = ""  # result folder; empty = outputs/train/<method>_<features>

    def __post_init__(self):
        one_of("benchmark", self.benchmark, BENCHMARKS)
        one_of("size", self.size, SIZES)
        one_of("subset", self.subset, SUBSETS)
        one_of("shared", self.shared, SHARED)
        if not self.threads >= 1:
            raise ValueError(f"threads must be 1 or more, got {self.threads}")
        if not self.memory_mb > 0:
            raise ValueError(f"memory_mb must be positive, got {self.memory_mb}")


def methods() -> dict[str, type[Method]]:
    """Every method by the name it is chosen with."""
    return {"supervised": Supervised, "matchme": MatchMe, "distill": Distill, "asic": Asic}


def register_train() -> None:
    """Put the schema and the groups of `corr train` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(TrainOptions)
    schema.features = MISSING  # the groups fill them
    schema.method = MISSING
    store.store(name="corr_train_semantic_schema", node=schema)
    for name, kind in extractors().items():
        store.store(group="features", name=name, node=kind)
    for name, way in methods().items():
        store.store(group="method", name=name, node=way)

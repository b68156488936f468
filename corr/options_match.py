"""The options of `python -m corr match | weights`. No torch here: `--help` is instant."""

from dataclasses import dataclass, field

from corr.geometry.robust import ESTIMATORS
from corr.matchers.base import Matcher
from corr.matchers.choices import MATCHERS
from corr.matchers.semantic import SemanticMatcher
from corr.matchers.xfeat import XFeatStar
from corr.sharding import Executor, Local, check_workers, register_executors

PAIR_MATCHERS: dict[str, type[Matcher]] = {**MATCHERS, "semantic": SemanticMatcher}


@dataclass
class MatchOptions:
    """What `corr match` can be told."""

    photos: list[str] = field(default_factory=list)  # photos, or one folder; typed without photos=
    matcher: Matcher = field(default_factory=XFeatStar)
    masks: str = ""  # folder of masks, 0 = ignore; empty = none (alpha channels always count)
    max_side: int = 1600  # px, longer side of the working copies; matcher.tile wants large ones
    max_pairs: int = 0  # of a folder, the most promising pairs; 0 = no limit
    pairs_per_photo: int = 0  # at most, of more than 30; 0 = the 12 most alike and the next 4
    estimator: str = "poselib"  # poselib | pycolmap | opencv
    max_error: float = 1.0  # px of a copy whose longer side is 1200: what still fits the geometry
    focal_px: float = 0.0  # focal length, pixels of the originals; 0 = EXIF, else 1.2 x longer side
    seed: int = 0  # of the random samples
    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes, with executor=local
    pictures: bool = True  # draw the matches of every pair
    out: str = ""  # result folder; empty = outputs/match/<name of the photos>

    def __post_init__(self):
        if self.estimator not in ESTIMATORS:
            raise ValueError(
                f"estimator must be one of {', '.join(ESTIMATORS)}, got {self.estimator}"
            )
        if not self.max_error > 0:
            raise ValueError(f"max_error must be positive, got {self.max_error}")
        if not self.focal_px >= 0:
            raise ValueError(f"focal_px must be 0 or more, got {self.focal_px}")
        check_workers(self.workers)
        if self.pairs_per_photo < 0:
            raise ValueError(f"pairs_per_photo must be 0 or more, got {self.pairs_per_photo}")
        if self.max_side < 64:
            raise ValueError(f"max_side must be at least 64, got {self.max_side}")
        if self.max_pairs < 0:
            raise ValueError(f"max_pairs must be 0 or more, got {self.max_pairs}")


@dataclass
class WeightsOptions:
    """`corr weights` has nothing to choose."""


def register_match() -> None:
    """Put the schema and the group of `corr match` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(MatchOptions)
    schema.matcher = MISSING  # the groups fill them
    schema.executor = MISSING
    register_executors()
    store.store(name="corr_match_schema", node=schema)
    for name, kind in PAIR_MATCHERS.items():
        store.store(group="matcher", name=name, node=kind)


def register_weights() -> None:
    """Put the schema of `corr weights` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="corr_weights_schema", node=WeightsOptions)

"""The options of `python -m recon features`. No torch here: `--help` must be instant."""

from dataclasses import dataclass, field

from corr.options import extractors
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.lite import LiteFeatures
from recon.options import DEVICES

CLOUDS = ("points", "splats")


@dataclass
class FeaturesOptions:
    """What `recon features` can be told."""

    run: str = "???"  # folder of a finished run
    other: str = ""  # folder of another finished run, to which a place is carried over
    point: str = ""  # a place in the run's frame, x:y:z
    photo: str = ""  # or: a photo of the run's export/images …
    pixel: str = ""  # … and the pixel u:v clicked in it
    on: str = "points"  # points | splats: what the features are put on
    features: Extractor = field(default_factory=LiteFeatures)
    max_points: int = 8000  # points described, drawn at random if there are more
    min_views: int = 2  # photos that must agree about a point
    iterations: int = 300  # training steps of the head that refines the features; 0 = none
    seed: int = 0  # of everything random
    device: str = "auto"  # auto | cpu | cuda: what draws the depth maps
    out: str = ""  # result folder; empty = features/ in the run's folder

    def __post_init__(self):
        for name, value, choices in (("on", self.on, CLOUDS), ("device", self.device, DEVICES)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value}")
        for name, least in (("max_points", 50), ("min_views", 1), ("iterations", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        _numbers("point", self.point, 3)
        _numbers("pixel", self.pixel, 2)
        if bool(self.photo) != bool(self.pixel):
            raise ValueError("a click needs both photo=<name> and pixel=u:v")
        if self.point and self.photo:
            raise ValueError("give the place as point=x:y:z or as photo= and pixel=, not both")
        if bool(self.other) != bool(self.point or self.photo):
            raise ValueError(
                "to carry a place over give other=<run> and point=x:y:z, or photo= and pixel=u:v"
            )

    @property
    def xyz(self) -> tuple[float, ...]:
        """`point` as numbers."""
        return _numbers("point", self.point, 3)

    @property
    def uv(self) -> tuple[float, ...]:
        """`pixel` as numbers."""
        return _numbers("pixel", self.pixel, 2)


def _numbers(name: str, text: str, count: int) -> tuple[float, ...]:
    """Numbers with colons between; none of an empty text."""
    if not text:
        return ()
    try:
        values = tuple(float(v) for v in text.split(":"))
    except ValueError:
        values = ()
    if len(values) != count:
        shape = "x:y:z" if count == 3 else "u:v"
        raise ValueError(f"{name} must be {count} numbers {shape}, got {text}")
    return values


def register_features() -> None:
    """Put the schema and the group of `recon features` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(FeaturesOptions)
    schema.features = MISSING  # the group fills it
    store.store(name="recon_features_schema", node=schema)
    for name, kind in extractors().items():
        store.store(group="features", name=name, node=kind)

"""The options of `python -m recon localize`. No torch here: `--help` must be instant."""

from dataclasses import dataclass

from recon.options import DEVICES


@dataclass
class LocalizeOptions:
    """What `recon localize` can be told."""

    run: str = "???"  # folder of a finished run
    image: str = "???"  # a photo, or a folder of photos, of the same scene
    cameras: str = ""  # true cameras, to state errors; those of the run's photos align the worlds
    height: int = 480  # px, picture height at which photos are compared with renders
    device: str = "auto"  # auto | cpu | cuda
    out: str = ""  # result folder; empty = localized/ in the run's folder

    def __post_init__(self):
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device}")
        if self.height < 16:
            raise ValueError(f"height must be 16 or more, got {self.height}")


def register_localize() -> None:
    """Put the schema of `recon localize` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="localize_schema", node=LocalizeOptions)

"""The options of `python -m recon render`. No torch here: `--help` must be instant."""

from dataclasses import dataclass

from recon.options import DEVICES

PATHS = ("orbit", "spiral", "cameras")


@dataclass
class RenderOptions:
    """What `recon render` can be told."""

    run: str = "???"  # folder of a finished run
    path: str = "orbit"  # orbit | spiral | cameras: around, in front, or from photo to photo
    frames: int = 120  # pictures along the path
    fps: int = 30  # pictures a second of the video
    height: int = 480  # px; made even
    width: int = 0  # px, made even; 0 = the photos' shape
    video: bool = True  # an MP4 beside the PNGs
    device: str = "auto"  # auto | cpu | cuda
    out: str = ""  # result folder, a subfolder per path; empty = video/ in the run's folder

    def __post_init__(self):
        for name, value, choices in (("path", self.path, PATHS), ("device", self.device, DEVICES)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value}")
        for name, least in (("frames", 1), ("fps", 1), ("height", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.width != 0 and self.width < 16:
            raise ValueError(f"width must be 0 or 16 or more, got {self.width}")


def register_render() -> None:
    """Put the schema of `recon render` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="render_schema", node=RenderOptions)

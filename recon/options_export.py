"""The options of `python -m recon export`. No torch here: `--help` must be instant."""

from dataclasses import dataclass

from recon.export.choice import check_degree, named_formats
from recon.options import DEVICES


@dataclass
class ExportOptions:
    """What `recon export` can be told."""

    run: str = ""  # folder of a finished run …
    splats: str = ""  # … or a file of splats to convert
    format: str = "???"  # ply | compressed | spz | splat | glb, several with colons between
    out: str = ""  # file or folder; empty = export/ of the run, or beside the file
    transform: str = ""  # 4 x 4 text file, new frame from the splats' (turn, scale, shift)
    pad_degree: int = 0  # harmonics of a PLY are padded to this degree: 3 for old viewers
    device: str = "auto"  # auto | cpu | cuda: what renders the comparison

    def __post_init__(self):
        named_formats("format", self.format)
        check_degree("pad_degree", self.pad_degree)
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device}")


def register_export() -> None:
    """Put the schema of `recon export` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="export_schema", node=ExportOptions)

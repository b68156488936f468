"""The options of `python -m recon view`. No torch here: `--help` must be instant."""

from dataclasses import dataclass

from recon.options import DEVICES


@dataclass
class ViewOptions:
    """What `recon view` can be told."""

    run: str = "???"  # folder of a finished run
    port: int = 8080  # of the page; the next free one if it is taken
    host: str = "127.0.0.1"  # 0.0.0.0 lets other machines look too
    device: str = "auto"  # auto | cpu | cuda: what counts the photos that see a splat

    def __post_init__(self):
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port must be 1 to 65535, got {self.port}")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device}")


def register_view() -> None:
    """Put the schema of `recon view` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="view_schema", node=ViewOptions)

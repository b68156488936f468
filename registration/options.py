"""The options of `python -m registration run`. No torch and no Open3D here: `--help` is instant."""

from dataclasses import dataclass, field

from registration.options_eval import registrars
from registration.registrar import Registrar

SCALES = ("fixed", "estimate")


def _first_registrar() -> Registrar:
    return next(iter(registrars().values()))()


@dataclass
class RunOptions:
    """Everything `registration run` can be told."""

    source: str = ""  # the scan that is moved: .ply .pcd .xyz .las .obj .npz …; empty = bundled
    target: str = ""  # the scan that stays; empty = the bundled pair
    registrar: Registrar = field(default_factory=_first_registrar)
    voxel: float = 0.0  # working resolution, the scans' unit; 0 = from their own spacing and extent
    scale: str = "fixed"  # fixed: one unit in both scans | estimate: the source's is unknown
    sensor_source: str = ""  # where the source's scanner stood: origin | x:y:z; empty = unknown
    sensor_target: str = ""  # the same for the target, in its frame
    truth: str = ""  # true transform to score against: text file, 4 x 4; empty = unknown
    pictures: bool = True  # overlay pictures and the report page
    seed: int = 0  # of everything random
    out: str = ""  # result folder; empty = outputs/<source>_to_<target>

    def __post_init__(self):
        if not self.voxel >= 0:
            raise ValueError(f"voxel must be 0 (from the data) or positive, got {self.voxel}")
        if self.scale not in SCALES and self.scale != "???":
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {self.scale}")
        if bool(self.source) != bool(self.target):
            missing = "target" if self.source else "source"
            raise ValueError(f"{missing} must be given as well, or neither for the bundled pair")


def register_run() -> None:
    """Put the schema and the registrars of `registration run` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(RunOptions)
    schema.registrar = MISSING  # the group fills it
    store.store(name="registration_run_schema", node=schema)
    for name, kind in registrars().items():
        store.store(group="registrar", name=name, node=kind)

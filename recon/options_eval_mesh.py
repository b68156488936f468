"""The options of `python -m recon eval-mesh`. No torch here: `--help` must be instant."""

from dataclasses import dataclass, field

from recon.surface.dtu import Dtu

PROTOCOLS = ("plain", "dtu")


@dataclass
class EvalMeshOptions:
    """What `recon eval-mesh` can be told; what a run knows of its truth need not be said again."""

    run: str = ""  # folder of a finished run: its mesh and its cameras …
    mesh: str = ""  # … or a mesh of anybody's: PLY, GLB, OBJ, STL
    surface: str = ""  # true surface: PLY of points (normals count), or a mesh
    cameras: str = ""  # true cameras; with run or solved they say how the mesh moves to the truth
    solved: str = ""  # with mesh: its own cameras, transforms.json or a COLMAP model
    transform: str = ""  # with mesh: 4 x 4 text file, truth from mesh, instead of cameras
    protocol: str = "plain"  # plain | dtu
    percent: str = "0.5:1:2:5"  # thresholds, % of the true surface's diagonal, with colons between
    distances: str = ""  # thresholds in the truth's unit instead, with colons between
    seen_by: int = 0  # completeness is asked only where so many placed photos see; 0 = everywhere
    spacing: float = 0.0  # of the mesh's samples, truth's unit; 0 = 0.2 % of the diagonal
    dtu: Dtu = field(default_factory=Dtu)
    seed: int = 0  # of the samples
    out: str = ""  # result folder; empty = eval_mesh/ in the run's folder or beside the mesh

    def __post_init__(self):
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol}")
        positive_list("percent", self.percent)
        if self.distances:
            positive_list("distances", self.distances)
        if self.seen_by < 0:
            raise ValueError(f"seen_by must be 0 or more, got {self.seen_by}")
        if self.spacing < 0:
            raise ValueError(f"spacing must be 0 or more, got {self.spacing}")


def positive_list(name: str, text: str) -> tuple[float, ...]:
    """Positive numbers with colons between, in rising order.

    Raises:
        ValueError: Something else.
    """
    try:
        values = tuple(sorted(float(part) for part in text.split(":")))
    except ValueError:
        values = ()
    if not values or not all(0 < v < float("inf") for v in values):
        raise ValueError(f"{name} must be positive numbers with colons between, got {text!r}")
    return values


def register_eval_mesh() -> None:
    """Put the schema of `recon eval-mesh` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="eval_mesh_schema", node=EvalMeshOptions)

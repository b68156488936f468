"""The options of `python -m registration eval | multiway`. No torch here: `--help` is instant."""

import re
from dataclasses import dataclass, field

from corr.sharding import Executor, Local, Parallel, register_executors
from registration.baselines import BASELINES, Open3DRansac
from registration.registrar import Registrar

BENCHMARKS = ("3dmatch", "3dlomatch", "kitti", "icl_nuim")
ORIENTATIONS = ("sensor", "none", "file")
REFINEMENTS = ("none", "icp")
CANDIDATES = ("all", "near", "similar")


@dataclass
class EvalOptions:
    """What `registration eval` can be told."""

    benchmark: str = "???"  # 3dmatch | 3dlomatch | kitti | icl_nuim
    data: str = "???"  # folder of the benchmark, official layout
    registrar: Registrar = field(default_factory=Open3DRansac)
    orientation: str = "sensor"  # sensor: stood at each fragment's origin | none: unknown
    keypoints: str = "0"  # described points per fragment; 5000:1000:250 = a run each; 0 = as it is
    refine: str = "none"  # none | icp: after the registrar
    every: int = 1  # only every n-th pair
    scenes: str = ""  # parts of their names, colons between: redkitchen:hotel1; empty = all
    voxel: float = 0.0  # m, working resolution; 0 = the benchmark's
    seed: int = 0  # of everything random
    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes, with executor=local
    scratch: str = ""  # folder or fsspec URL of finished pairs while it runs; empty = in out
    shard: str = "1/1"  # i/n: this run's part of the pairs; the last one to finish scores
    out: str = ""  # result folder; empty = outputs/eval/<benchmark>_<registrar>_<orientation>

    def __post_init__(self):
        _one_of("benchmark", self.benchmark, BENCHMARKS)
        _one_of("orientation", self.orientation, ORIENTATIONS[:2])
        _one_of("refine", self.refine, REFINEMENTS)
        _at_least("every", self.every, 1)
        _at_least("workers", self.workers, 1)
        if not re.fullmatch(r"\d+(:\d+)*", self.keypoints):
            raise ValueError(
                f"keypoints must be a number, or numbers with colons between, got {self.keypoints}"
            )
        _at_least("voxel", self.voxel, 0)
        part = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if not part or not 1 <= int(part[1]) <= int(part[2]):
            raise ValueError(f"shard must be i/n with 1 <= i <= n, got {self.shard}")

    def parallel(self) -> Parallel:
        """How the pairs are computed."""
        return Parallel(self.executor, self.workers, self.scratch)

    def counts(self) -> list[int]:
        """The numbers of key-points that are asked for."""
        return [int(n) for n in self.keypoints.split(":")]


@dataclass
class MultiwayOptions:
    """What `registration multiway` can be told."""

    clouds: str = "???"  # folder of the scans; their numbers are the order of recording
    registrar: Registrar = field(default_factory=Open3DRansac)
    orientation: str = "file"  # sensor: stood at each scan's origin | none: unknown | file: its say
    candidates: str = "all"  # all | near: within reach in order | similar: the reach most alike
    reach: int = 15  # scans, with candidates=near or similar
    voxel: float = 0.0  # working resolution, the scans' unit; 0 = from their point spacing
    min_probability: float = 0.5  # an edge below it is not used
    min_overlap: float = 0.3  # share of the smaller scan within 1.5 voxels of the other
    sure: float = 0.9  # an edge that no third scan supports must be this probable
    cycle_deg: float = 5.0  # deg, three edges around a triangle may turn by this much
    cycle_voxels: float = 4.0  # voxels, and shift by this much
    refine: bool = False  # ICP on every link that counts, and further links from the first poses
    prune: float = 0.25  # the optimiser drops loop edges whose line process falls below
    preference: float = 20.0  # of loop edges over neighbours in the order, Open3D's measure
    truth: str = ""  # gt.log of pairs (several: colons between) or a trajectory; empty = unknown
    frames_per_fragment: int = 1  # of a trajectory; 1 = it has one pose per scan
    seed: int = 0  # of everything random
    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes, with executor=local
    scratch: str = ""  # folder or fsspec URL of finished pairs while it runs; empty = in out
    out: str = ""  # result folder; empty = outputs/multiway/<name of the folder>

    def __post_init__(self):
        _one_of("orientation", self.orientation, ORIENTATIONS)
        _one_of("candidates", self.candidates, CANDIDATES)
        for name in ("min_probability", "min_overlap", "sure", "prune"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        for name in ("reach", "workers", "frames_per_fragment"):
            _at_least(name, getattr(self, name), 1)
        for name in ("voxel", "cycle_deg", "cycle_voxels", "preference"):
            _at_least(name, getattr(self, name), 0)

    def parallel(self) -> Parallel:
        """How the pairs are computed."""
        return Parallel(self.executor, self.workers, self.scratch)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in (*choices, "(required)", "???"):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value}")


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


def registrars() -> dict[str, type[Registrar]]:
    """Every registrar by the name it is chosen with."""
    from registration.hough import HoughRegistrar

    return {"hough": HoughRegistrar, **BASELINES}


def registrar_name(registrar: Registrar) -> str:
    """The name a registrar is chosen with, for tables and folders."""
    names = {kind: name for name, kind in BASELINES.items()}
    return names.get(type(registrar), type(registrar).__name__.removesuffix("Registrar").lower())


def register_eval() -> None:
    """Put the schema and the registrars of `registration eval` where Hydra finds them."""
    _register("registration_eval_schema", EvalOptions)


def register_multiway() -> None:
    """Put the schema and the registrars of `registration multiway` where Hydra finds them."""
    _register("registration_multiway_schema", MultiwayOptions)


def _register(name: str, options: type) -> None:
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(options)
    schema.registrar = MISSING  # the groups fill them
    schema.executor = MISSING
    register_executors()
    store.store(name=name, node=schema)
    for choice, kind in registrars().items():
        store.store(group="registrar", name=choice, node=kind)

"""The options of `python -m recon run | eval`. No torch here: `--help` must be instant."""

from dataclasses import dataclass, field

from corr.matchers.base import Matcher
from corr.matchers.choices import MATCHERS
from corr.matchers.xfeat import XFeatStar
from corr.sharding import Executor, Local, check_workers, register_executors
from recon.export.choice import SplatExport
from recon.poses.solve import PoseSolver
from recon.scale import ScaleOptions
from recon.splats.optimiser import Optimiser
from recon.splats.seeder import Seeder
from recon.surface.mesher import Mesher

QUALITIES = ("quick", "default", "best", "gpu_quick", "gpu_best")
DEVICES = ("auto", "cpu", "cuda")


@dataclass
class SceneOptions:
    """What goes in."""

    images: str = ""  # folder, video file or single folder of photos; empty = the bundled sample
    masks: str = ""  # folder of masks, 0 = ignore; empty = none (alpha channels always count)
    use: str = "all"  # input photos: all | every:N | names, patterns | @file
    hold_out: str = ""  # photos kept for scoring: rest | every:N | names, patterns | @file
    frames: int = 12  # how many frames to pick when images is a video
    max_side: int = 1024  # px, longer side of the working copies
    cameras: str = ""  # true cameras to score against: transforms.json or a COLMAP model
    surface: str = ""  # true surface to score against: PLY of points

    def __post_init__(self):
        if self.frames < 2:
            raise ValueError(f"scene.frames must be 2 or more, got {self.frames}")
        if self.max_side < 64:
            raise ValueError(f"scene.max_side must be 64 or more, got {self.max_side}")


@dataclass
class RunOptions:
    """Everything `recon run` can be told."""

    scene: SceneOptions = field(default_factory=SceneOptions)
    matcher: Matcher = field(default_factory=XFeatStar)
    pairs_per_photo: int = (
        0  # at most, of more than 30 photos; 0 = the 12 most alike and the next 4
    )
    rescue: bool = True  # pairs that xfeat_star matches badly are matched again by `dense`
    poses: PoseSolver = field(default_factory=PoseSolver)
    seeder: Seeder = field(default_factory=Seeder)
    optimiser: Optimiser = field(default_factory=Optimiser)
    mesher: Mesher = field(default_factory=Mesher)
    scale: ScaleOptions = field(default_factory=ScaleOptions)
    export: SplatExport = field(default_factory=SplatExport)
    quality: str = (
        "default"  # quick | default | best | gpu_quick | gpu_best: sets the stages' numbers
    )
    device: str = "auto"  # auto | cpu | cuda
    gpus: int = 1  # that train the splats together, with device=cuda
    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes that match photos, with executor=local
    seed: int = 0  # of everything random
    score_height: int = 480  # px, picture height at which held-out photos are compared
    out: str = ""  # result folder; empty = outputs/<name of the photo folder>

    def __post_init__(self):
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device}")
        check_workers(self.workers)
        if self.gpus < 1:
            raise ValueError(f"gpus must be 1 or more, got {self.gpus}")
        if self.pairs_per_photo < 0:
            raise ValueError(f"pairs_per_photo must be 0 or more, got {self.pairs_per_photo}")
        if self.score_height < 16:
            raise ValueError(f"score_height must be 16 or more, got {self.score_height}")


@dataclass
class EvalOptions:
    """What `recon eval` can be told; what is empty is taken from the run's own options."""

    run: str = "???"  # folder of a finished run
    images: str = ""  # folder with the held-out photos; empty = the run's photos
    hold_out: str = ""  # which of them to score; empty = what the run held out
    cameras: str = ""  # true cameras: transforms.json or a COLMAP model
    surface: str = ""  # true surface: PLY of points
    score_height: int = 0  # px; 0 = the run's
    device: str = "auto"  # auto | cpu | cuda

    def __post_init__(self):
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device}")
        if self.score_height != 0 and self.score_height < 16:
            raise ValueError(f"score_height must be 0 or 16 or more, got {self.score_height}")


def register_run() -> None:
    """Put the schema and the groups of `recon run` where Hydra finds them."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING, OmegaConf

    store = ConfigStore.instance()
    schema = OmegaConf.structured(RunOptions)
    schema.matcher = MISSING  # the group fills it; into one matcher no other can be merged
    schema.executor = MISSING
    register_executors()
    store.store(name="run_schema", node=schema)
    for name, matcher in MATCHERS.items():
        store.store(group="matcher", name=name, node=matcher)


def register_eval() -> None:
    """Put the schema of `recon eval` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="eval_schema", node=EvalOptions)

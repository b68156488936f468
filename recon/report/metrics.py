"""What `metrics.json` holds: every figure of a run, and None with a note where there is none."""

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corr.store import write_atomic

PROTOCOL = {
    "psnr": "per photo from the mean squared error over all pixels and channels together, "
    "range [0, 1] after clamping; held-out pictures are rounded to 8 bits first; psnr_mean "
    "averages the photos' values, psnr_pooled uses the mean squared error over all photos",
    "ssim": "Gaussian window 11x11, sigma 1.5, per channel, borders without a full window left out",
    "held_out": "the photo takes no part in poses, splats or the stopping rule; afterwards its "
    "camera is located by matches and refined on the picture, with the splats fixed",
    "psnr_corrected": "after one gain per colour channel, fitted on that photo",
    "uncertainty": "one standard deviation along the worst axis, of a bundle adjustment with every "
    "observation's own accuracy and free lenses; the world is fixed by all cameras together; "
    "where residuals are larger than those accuracies say, the same hidden noise is added to all "
    "observations, as much as makes the reduced chi squared 1",
    "cameras": "against the true cameras after one similarity alignment of the camera centres",
    "surface": "against the true surface, distances in per cent of its bounding box diagonal",
}
"""How the figures are computed; a run that does otherwise says so in `Metrics.protocol`."""


@dataclass
class Metadata:
    """Where the numbers come from: enough to repeat the run."""

    utc: str
    version: str
    python: str
    platform: str
    cpu: str
    packages: dict[str, str]
    seed: int
    quality: str
    command: str
    device: str = "cpu"
    renderer: str = "cpu"
    commit: str | None = None  # None outside a git checkout
    dirty: bool | None = None  # uncommitted changes in the checkout


@dataclass
class PhotoCounts:
    """How many photos came in and what became of them."""

    given: int
    used: int  # given without the ones held out
    placed: int
    held_out: int = 0
    left_out: dict[str, str] = field(default_factory=dict)  # photo: reason


@dataclass
class StageCost:
    """One stage of the pipeline. `peak_mb` is the process's largest resident memory so far."""

    name: str
    seconds: float
    peak_mb: float | None = None
    reused: bool = False  # taken from an earlier run; seconds are that run's


@dataclass
class PhotoScore:
    """One photo against its render. Rotation and centre: error of the located camera vs truth."""

    name: str
    psnr: float | None = None  # dB
    ssim: float | None = None
    psnr_corrected: float | None = None
    rotation_deg: float | None = None
    centre_percent: float | None = None


@dataclass
class Training:
    """Renders against the photos that the splats were fitted to."""

    psnr: float | None = None  # mean over the photos
    ssim: float | None = None
    width: int | None = None
    height: int | None = None
    per_photo: list[PhotoScore] = field(default_factory=list)


@dataclass
class HeldOut:
    """Renders against photos that took no part."""

    psnr_mean: float | None = None
    psnr_pooled: float | None = None
    ssim: float | None = None
    psnr_corrected: float | None = None
    width: int | None = None
    height: int | None = None
    per_photo: list[PhotoScore] = field(default_factory=list)
    unlocated: dict[str, str] = field(default_factory=dict)  # photo: reason


@dataclass
class CameraErrors:
    """Cameras against true ones, where those are known."""

    median_rotation_deg: float | None = None
    median_centre_percent: float | None = None  # of the largest distance between true cameras
    placed_share: float | None = None


@dataclass
class CameraSigma:
    """How sure a placed photo's camera is: one standard deviation along the worst axis."""

    name: str
    rotation_deg: float
    centre_percent: float  # of the largest distance between two cameras
    unsure: bool = False


@dataclass
class Uncertainty:
    """Covariance of the cameras by the adjustment that solved them."""

    reduced_chi_squared: float
    hidden_noise_px: float = 0.0  # added to every observation, working pixels
    cameras: list[CameraSigma] = field(default_factory=list)


@dataclass
class SurfaceErrors:
    """The mesh against the true surface, where that is known."""

    accuracy: float | None = None  # mean distance mesh to truth, % of the true diagonal
    completeness: float | None = None  # mean distance truth to mesh, %
    f1_1pct: float | None = None  # in [0, 1]
    f1_2pct: float | None = None


@dataclass
class SplatCounts:
    """The splats written."""

    count: int
    seeds: int | None = None
    file_mb: float | None = None


@dataclass
class MeshCounts:
    """The mesh written."""

    vertices: int
    triangles: int
    voxel: float | None = None  # scene units


@dataclass
class Metrics:
    """Everything in `metrics.json`. What does not exist is None and has its reason in `notes`."""

    metadata: Metadata
    photos: PhotoCounts
    stages: list[StageCost] = field(default_factory=list)
    total_seconds: float | None = None
    peak_mb: float | None = None
    training: Training | None = None
    held_out: HeldOut | None = None
    cameras: CameraErrors | None = None
    uncertainty: Uncertainty | None = None
    surface: SurfaceErrors | None = None
    splats: SplatCounts | None = None
    mesh: MeshCounts | None = None
    protocol: dict[str, str] = field(default_factory=lambda: dict(PROTOCOL))
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Valid JSON; a number that is not finite becomes null and is named in the notes."""
        notes = list(self.notes)
        plain = _finite(dataclasses.asdict(self), "", notes)
        plain["notes"] = notes
        return json.dumps(plain, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Metrics":
        """Read what `to_json` wrote.

        Raises:
            ValueError: A field is unknown or missing, or the text is no JSON.
        """
        return _build(cls, json.loads(text), "metrics")

    def write(self, run: Path) -> Path:
        """Write `metrics.json` into the run folder."""
        path = run / "metrics.json"
        write_atomic(path, self.to_json())
        return path

    @classmethod
    def read(cls, run: Path) -> "Metrics":
        """Read the run folder's `metrics.json`."""
        return cls.from_json((run / "metrics.json").read_text(encoding="utf-8"))


def _finite(value: Any, where: str, notes: list[str]) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v, f"{where}.{k}" if where else k, notes) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v, f"{where}[{i}]", notes) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        notes.append(f"{where} was {value}, written as null")
        return None
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    """An object of the annotated type from plain JSON values."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else _build(inner, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, where)
    if origin is list:
        return [_build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    return value


def _build_dataclass(kind: type, value: Any, where: str) -> Any:
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {type(value).__name__}")
    if unknown := set(value) - known:
        raise ValueError(f"{where} has no field {sorted(unknown)[0]!r}; it has {sorted(known)}")
    try:
        return kind(**{k: _build(hints[k], v, f"{where}.{k}") for k, v in value.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None

"""What a run leaves as files: transform, every figure as JSON, the aligned cloud."""

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from corr.machine import DISTRIBUTION, available_cores, cpu_name, git_state, package_version
from corr.store import write_atomic
from registration.api import Aligned
from registration.cloud import PointCloud
from registration.drawn import moved_cloud
from registration.files import write_cloud
from registration.result import Hypothesis


@dataclass(frozen=True)
class TrueError:
    """How far an answer is from the known truth."""

    rotation_deg: float
    translation: float  # of the middle of the source, data's unit

    def text(self) -> str:
        """One line."""
        return f"{self.rotation_deg:.3f}°, {self.translation:.4g}"


def read_truth(path: Path) -> Float[np.ndarray, "4 4"]:
    """A 4 x 4 transform from a text file.

    Raises:
        UserError: It is missing or no rigid (or similarity) transform.
    """
    try:
        matrix = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise UserError(f"truth {path} cannot be read as four lines of numbers ({error})") from None
    linear = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
    scale = float(np.cbrt(max(np.linalg.det(linear), 0.0)))
    if scale == 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-4 * scale**2):
        raise UserError(f"truth {path} must be a 4 x 4 matrix [scale R | t] of a motion")
    return matrix


def true_error(aligned: Aligned, truth: Float[np.ndarray, "4 4"]) -> TrueError | None:
    """Angle between the rotations, and by how much the source's middle is off."""
    answer = aligned.registration.target_from_source
    if answer is None:
        return None
    scale = np.cbrt(np.linalg.det(truth[:3, :3]))
    angle = rotation_angle((truth[:3, :3] / scale).T @ answer.R)
    middle = aligned.source.xyz.mean(axis=0)
    off = aligned.registration.matrix[:3] @ [*middle, 1.0] - truth[:3] @ [*middle, 1.0]
    return TrueError(float(np.degrees(angle)), float(np.linalg.norm(off)))


def write_answer(
    folder: Path, aligned: Aligned, options: Mapping[str, Any], error: TrueError | None
) -> None:
    """`transform.txt`, `aligned.ply` (where there is an answer) and `result.json`."""
    moved = moved_cloud(aligned)
    for name in ("transform.txt", "aligned.ply"):
        (folder / name).unlink(missing_ok=True)
    if moved is not None:
        rows = [" ".join(f"{v:.12g}" for v in row) for row in aligned.registration.matrix]
        write_atomic(folder / "transform.txt", "\n".join(rows) + "\n")
        partial = folder / "aligned.partial.ply"
        write_cloud(partial, moved)
        partial.replace(folder / "aligned.ply")
    figures = plain(result_figures(aligned, options, error))
    write_atomic(folder / "result.json", json.dumps(figures, indent=1, allow_nan=False))


def result_figures(
    aligned: Aligned, options: Mapping[str, Any], error: TrueError | None
) -> dict[str, Any]:
    """Every figure of a run, ready for `plain`."""
    r = aligned.registration
    commit, dirty = git_state()
    return {
        "accepted": r.accepted,
        "probability": r.probability,
        "reason": r.reason,
        "target_from_source": None if r.target_from_source is None else r.matrix,
        "scale": r.scale,
        "margin": r.margin,
        "rmse": r.rmse,
        "matches": {"count": len(r.matches), "inliers": int(r.inlier.sum())},
        "hypotheses": [_hypothesis(h, r.hypotheses[0].target_from_source) for h in r.hypotheses],
        "degeneracies": [{**vars(d), "text": d.text()} for d in r.degeneracies],
        "covariance": r.covariance,
        "covariance_about": r.covariance_about,
        "evidence": dict(r.evidence),
        "true_error": error,
        "parameters": {"voxel": aligned.voxel, "text": aligned.parameters},
        "options": dict(options),
        "clouds": {"source": _cloud(aligned.source), "target": _cloud(aligned.target)},
        "seconds": dict(r.seconds),
        "made_by": {
            "version": package_version(DISTRIBUTION),
            "commit": commit,
            "uncommitted_changes": dirty,
            "machine": f"{cpu_name()}, {available_cores()} cores",
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        },
    }


def _hypothesis(h: Hypothesis, best: Rigid3) -> dict[str, Any]:
    away = best.inverse() @ h.target_from_source
    matrix = h.target_from_source.matrix
    matrix[:3, :3] *= h.scale
    figures = {f.name: getattr(h, f.name) for f in dataclasses.fields(h)}
    return {
        **figures,
        "target_from_source": matrix,
        "from_best_deg": math.degrees(rotation_angle(away.R)),
    }


def _cloud(cloud: PointCloud) -> dict[str, Any]:
    extent = np.ptp(cloud.xyz, axis=0)
    return {
        "name": cloud.name,
        "points": len(cloud),
        "extent": extent,
        "sensor": cloud.sensor,
        "colours": cloud.rgb is not None,
        "normals": cloud.normals is not None,
    }


def plain(value: Any) -> Any:
    """The same in dicts, lists, numbers and strings; what is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""The closing lines of a run: the answer, how sure it is, and what to try if it is not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corr.geometry.rigid import rotation_angle
from registration.api import Aligned
from registration.cloud import PointCloud
from registration.outputs import TrueError
from registration.pictures import Pair
from registration.prepare import Prepared
from registration.viewpoint import contradicted

SURE = 0.9  # probability from which on nothing is advised
_UNLIKE = 20.0  # ratio of the scans' extents that hints at different units


@dataclass(frozen=True)
class Summary:
    """What a run leaves behind, for the last lines on the screen."""

    out: Path
    lines: tuple[str, ...]
    files: tuple[str, ...]  # written into `out`

    def text(self) -> str:
        """The lines to print."""
        ends = [f"{_LABELS.get(name, 'picture')}: {self.out / name}" for name in self.files]
        return "\n".join([*self.lines, *ends])


_LABELS = {
    "transform.txt": "transform", "aligned.ply": "aligned", "result.json": "figures",
    "report.html": "report",
}  # fmt: skip


def closing_lines(aligned: Aligned, pair: Pair, error: TrueError | None) -> tuple[str, ...]:
    """Transform, probability, overlap, runner-up, degenerate directions, advice."""
    r = aligned.registration
    lines = [f"parameters: {aligned.parameters}"]
    if r.target_from_source is not None:
        lines.append("target_from_source:")
        lines += ["  " + " ".join(f"{v:>13.9g}" for v in row) for row in r.matrix]
        if r.scale != 1.0:
            lines.append(f"scale: {r.scale:.6g}")
    verdict = "accepted" if r.accepted else "NOT accepted"
    lines.append(f"probability: {r.probability:.3f}, {verdict}{': ' * bool(r.reason)}{r.reason}")
    if r.target_from_source is not None:
        lines.append(f"overlap: {overlap_text(aligned, pair)}")
        lines.append(f"runner-up: {runner_up_text(aligned)}")
        lines += [f"degenerate: {d.text()}" for d in r.degeneracies]
    if error is not None:
        lines.append(f"true error: {error.text()}")
    lines += [f"try: {text}" for text in advice(aligned)]
    return tuple(lines)


def overlap_share(aligned: Aligned, pair: Pair) -> float:
    """Share of the source on the target's surface: the registrar's, or measured within a voxel."""
    hypotheses = aligned.registration.hypotheses
    if hypotheses and np.isfinite(hypotheses[0].overlap):
        return float(hypotheses[0].overlap)
    return float(np.mean(pair.distance < 1.0)) if pair.distance is not None else float("nan")


def overlap_text(aligned: Aligned, pair: Pair) -> str:
    """Overlap, residual and agreeing matches in one line."""
    r = aligned.registration
    parts = [f"{100 * overlap_share(aligned, pair):.0f} % of the source"]
    if np.isfinite(r.rmse):
        parts.append(f"rmse {r.rmse:.3g}")
    if len(r.matches):
        parts.append(f"{int(r.inlier.sum())} of {len(r.matches)} matches agree")
    return ", ".join(parts)


def runner_up_text(aligned: Aligned) -> str:
    """How far away the second-best answer is and how much weaker."""
    r = aligned.registration
    if len(r.hypotheses) < 2:
        return "none"
    best, second = r.hypotheses[0].target_from_source, r.hypotheses[1].target_from_source
    angle = np.degrees(rotation_angle((best.inverse() @ second).R))
    middle = aligned.source.xyz.mean(axis=0)
    moved = [h.scale * h.target_from_source.R @ middle + h.target_from_source.t
             for h in r.hypotheses[:2]]  # fmt: skip
    away = float(np.linalg.norm(moved[0] - moved[1]))
    return f"{angle:.1f}° and {away:.3g} away, margin {r.margin:.2f} (1 = no rival)"


def advice(aligned: Aligned) -> list[str]:
    """What a user can change when the answer is not accepted or not sure."""
    if aligned.registration.accepted and aligned.registration.probability >= SURE:
        return []
    found = []
    source, target = aligned.source, aligned.target
    ratio = float(np.ptp(source.xyz, axis=0).max() / max(np.ptp(target.xyz, axis=0).max(), 1e-300))
    if max(ratio, 1 / max(ratio, 1e-300)) > _UNLIKE:
        found.append(
            f"the source spans {ratio:.3g} times what the target spans: are both in one unit?"
        )
    unknown = [f"sensor_{role}=origin" for role, cloud in (("source", source), ("target", target))
               if cloud.sensor is None]  # fmt: skip
    if unknown:
        found.append(
            f"say where the scanner stood ({' '.join(unknown)} or =x:y:z): normals that face it "
            "match far better"
        )
    ready = aligned.prepared_source, aligned.prepared_target
    for role, cloud, prepared in zip(("source", "target"), (source, target), ready, strict=True):
        if _contradicts(cloud, prepared, aligned.voxel):
            found.append(
                f"sensor_{role}= (empty): seen from the place that was given, {cloud.name} shows "
                "many surfaces from both sides or behind others; is it in that scan's own frame?"
            )
    v = aligned.voxel
    found.append(
        f"voxel={v / 1.6:.3g} for small overlaps with fine detail, voxel={v * 1.6:.3g} for noisy "
        "or sparse scans"
    )
    return found


def _contradicts(cloud: PointCloud, ready: Any, voxel: float) -> bool:
    """Whether a stated scanner's place does not suit the scan; False where none was stated."""
    if cloud.sensor is None or not isinstance(ready, Prepared):
        return False
    place = cloud.sensor - ready.centre
    return contradicted(ready.surface.xyz, ready.surface.normals, voxel, place)

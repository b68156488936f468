"""How far relative poses of solved cameras are from true ones: no alignment of worlds needed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from corr.geometry import Rigid3, rotation_angle

FAILED_DEG = 180.0  # error of every pair with a photo that is not placed


@dataclass(frozen=True, eq=False)
class RelativeScore:
    """Errors of all pairs of the photos that were asked for, placed or not.

    Sources: RRA, RTA and mAA as in PoseDiffusion (Wang et al., ICCV 2023, section 4) and IMC 2021.
    """

    rotation_deg: Float[np.ndarray, " n"]
    direction_deg: Float[np.ndarray, " n"]  # between the baselines, which have no known length

    def rra(self, limit_deg: float) -> float:
        """Percent of pairs whose relative rotation is within the limit."""
        return _percent(self.rotation_deg < limit_deg)

    def rta(self, limit_deg: float) -> float:
        """Percent of pairs whose baseline's direction is within the limit."""
        return _percent(self.direction_deg < limit_deg)

    def maa(self, limit_deg: int = 30) -> float:
        """Mean over the limits 1, 2, … `limit_deg` of the pairs within both, percent."""
        worst = np.maximum(self.rotation_deg, self.direction_deg)
        return float(np.mean([_percent(worst < k) for k in range(1, limit_deg + 1)]))


def score_relative(
    cam_from_world: Mapping[str, Rigid3], truth: Mapping[str, Rigid3], names: Iterable[str]
) -> RelativeScore:
    """Compare every pair of the named photos.

    Args:
        cam_from_world: Solved poses by name; missing ones fail.
        truth: True poses of all names.
        names: The photos that were to be placed.

    Raises:
        ValueError: Fewer than two names.
    """
    asked: Sequence[str] = sorted(names)
    if len(asked) < 2:
        raise ValueError(f"relative poses need two photos or more, got {len(asked)}")
    errors = [_pair(a, b, cam_from_world, truth) for a, b in combinations(asked, 2)]
    return RelativeScore(*np.array(errors).T)


def _pair(
    a: str, b: str, solved: Mapping[str, Rigid3], truth: Mapping[str, Rigid3]
) -> tuple[float, float]:
    if a not in solved or b not in solved:
        return FAILED_DEG, FAILED_DEG
    found, true = (poses[b] @ poses[a].inverse() for poses in (solved, truth))
    rotation = float(np.degrees(rotation_angle(found.R @ true.R.T)))
    return rotation, _angle_deg(found.t, true.t)


def _angle_deg(a: Float[np.ndarray, " 3"], b: Float[np.ndarray, " 3"]) -> float:
    """Angle between two directions; a solved baseline of length 0 has none and fails."""
    if not np.linalg.norm(a) > 0 or not np.linalg.norm(b) > 0:
        return FAILED_DEG
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def _percent(good: np.ndarray) -> float:
    return 100.0 * float(np.mean(good))

"""Relative pose errors against values worked out by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry import Rigid3
from recon.relative_metrics import score_relative


def at(centre, turn_deg: float = 0.0) -> Rigid3:
    R = Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()
    return Rigid3(R, -R @ np.array(centre, dtype=float))


TRUTH = {"a": at([0, 0, 0]), "b": at([1, 0, 0]), "c": at([0, 0, 2])}


def test_any_similarity_of_the_truth_is_perfect():
    R = Rotation.from_euler("xyz", [20, 130, -45], degrees=True).as_matrix()
    moved = {
        n: Rigid3(p.R @ R.T, 3.0 * p.t - p.R @ R.T @ np.array([1.0, 2.0, 3.0]))
        for n, p in TRUTH.items()
    }
    score = score_relative(moved, TRUTH, TRUTH)
    assert score.rotation_deg.max() < 1e-5
    assert score.direction_deg.max() < 1e-5
    assert (score.rra(5), score.rta(5), score.maa(30)) == (100, 100, 100)


def test_one_camera_moved_by_hand():
    # b at 45 degrees of its true direction from a; from c the direction turns from (1,0,-2).
    solved = {**TRUTH, "b": at([1, 0, 1])}
    score = score_relative(solved, TRUTH, TRUTH)
    assert score.rotation_deg == pytest.approx([0, 0, 0], abs=1e-6)
    from_c = np.degrees(np.arccos(np.array([1, 0, -2]) @ [1, 0, -1] / np.sqrt(10)))
    assert score.direction_deg == pytest.approx([45, 0, from_c], abs=1e-6)
    assert score.rta(30) == pytest.approx(200 / 3)
    # a-c counts at all 30 limits, b-c (18.43 deg) at 19 ... 30.
    assert score.maa(30) == pytest.approx(100 * (30 + 12) / 90)


def test_turned_camera_and_missing_camera():
    score = score_relative({"a": at([0, 0, 0]), "b": at([1, 0, 0], 10)}, TRUTH, TRUTH)
    assert score.rotation_deg == pytest.approx([10, 180, 180], abs=1e-6)
    assert score.rra(15) == pytest.approx(100 / 3)
    assert score.rra(5) == 0


def test_cameras_on_one_spot_fail_their_direction():
    score = score_relative({"a": at([0, 0, 0]), "b": at([0, 0, 0])}, TRUTH, ["a", "b"])
    assert score.direction_deg.tolist() == [180.0]
    with pytest.raises(ValueError, match="two photos or more"):
        score_relative({}, TRUTH, ["a"])

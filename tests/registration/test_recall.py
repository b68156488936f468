"""Recall and calibration: values computed by hand, and where the definitions must differ."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3
from registration.calibration import auc, calibration, coverage_at, expected_error, reliability
from registration.datasets.benchmark import FragmentPair
from registration.datasets.threedmatch import read_3dmatch
from registration.recall import (
    INDOOR,
    KITTI_TIGHT,
    KITTI_WIDE,
    binned_recall,
    counted_b,
    error_summary,
    info_rmse,
    matching_recall,
    over_scenes,
    pose_errors,
    recalls,
    right_a,
    right_b,
    self_check,
)

EVERY = np.ones(3, dtype=bool)


def turned(degrees: float, shift=(0.0, 0.0, 0.0)) -> Rigid3:
    R = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return Rigid3(R, np.array(shift, dtype=float))


def pair(scene="a", source=2, target=0, truth=None, spread=1.0, row=1) -> FragmentPair:
    """Correspondences all around at a mean square distance of `spread`."""
    rotation = 4 * spread * 2 / 3  # sum of |2 [x]|^2 over an isotropic cloud, per axis
    info = 1000 * np.diag([1, 1, 1, rotation, rotation, rotation])
    return FragmentPair(scene, source, target, truth or Rigid3.identity(), info, 0.5, row)


def test_rmse_of_a_shift_is_its_length():
    truth = turned(40, (1, 2, 3))
    moved = truth @ Rigid3(np.eye(3), np.array([0.0, 0.12, 0.05]))
    assert info_rmse(truth, moved, pair().info) == pytest.approx(0.13)


def test_rmse_of_a_turn_is_that_of_its_points():
    # |q| = sin(3 deg); per axis 4 * spread * 2 / 3 of q squared.
    expected = np.sqrt(8 / 3 * 1.5) * np.sin(np.radians(3))
    assert info_rmse(Rigid3.identity(), turned(6), pair(spread=1.5).info) == pytest.approx(expected)


def test_definitions_differ_where_they_must():
    turn_far = turned(9)  # under 15 deg; moves points 5 m away by 75 cm
    shifted = turned(0, (0.25, 0, 0))  # under 30 cm, over 20 cm
    close = turned(1, (0.05, 0, 0))
    pairs = [pair(spread=25.0), pair(), pair()]
    errors = pose_errors(pairs, [turn_far, shifted, close])
    assert right_a(errors).tolist() == [True, True, True]
    assert right_b(errors).tolist() == [False, False, True]


def test_pose_limits_are_strict():
    errors = pose_errors([pair()] * 3, [turned(15.001), turned(0, (0.3, 0, 0)), turned(14.99)])
    assert right_a(errors).tolist() == [False, False, True]


def test_kitti_limits_differ_by_translation():
    errors = pose_errors([pair()], [turned(1, (1.0, 0, 0))])
    assert not right_a(errors, KITTI_TIGHT)[0]
    assert right_a(errors, KITTI_WIDE)[0]


def test_strict_and_loose_limit_differ_at_the_limit():
    errors = replace(pose_errors([pair()], [turned(0)]), rmse_m=np.array([0.2]))
    assert right_b(errors)[0]
    assert not right_b(errors, strict=True)[0]


def test_b_counts_no_consecutive_pairs():
    pairs = [pair(source=1), pair(source=2), pair(source=3)]
    assert counted_b(pairs).tolist() == [False, True, True]


def test_predator_never_counts_row_zero():
    pairs = [pair(source=2, row=0), pair(source=3, row=1)]
    assert counted_b(pairs, skip_first=True).tolist() == [False, True]
    found = recalls(pairs, pose_errors(pairs, [turned(0), turned(0, (5, 0, 0))]))
    assert (found.b_pairs, found.b_predator) == (0.5, 0.0)


def test_row_zero_is_no_matter_when_consecutive():
    pairs = [pair(source=1, row=0), pair(source=3, row=1)]
    assert (counted_b(pairs) == counted_b(pairs, skip_first=True)).all()


def test_averages_over_pairs_and_scenes_differ():
    pairs = [pair("a"), pair("a", 3), pair("a", 4), pair("b")]
    errors = pose_errors(pairs, [turned(0)] * 3 + [turned(90)])
    found = recalls(pairs, errors)
    assert found.a_pairs == found.b_pairs == 0.75
    assert found.a_scenes == found.b_scenes == found.b_geotransformer == 0.5


def test_scene_without_counted_pairs_is_left_out():
    right, counted = np.array([True, False]), np.array([True, False])
    assert over_scenes(right, counted, ["a", "b"]) == 1.0


def test_missing_answer_is_wrong_everywhere():
    pairs = [pair(), pair()]
    errors = pose_errors(pairs, [None, turned(2)])
    found = recalls(pairs, errors)
    assert found.a_pairs == found.b_pairs == 0.5
    assert error_summary(errors, np.ones(2, bool)).count == 1


def test_benchmark_without_information_has_no_b():
    pairs = [replace(pair(), info=None)]
    found = recalls(pairs, pose_errors(pairs, [turned(0)]))
    assert found.a_pairs == 1.0
    assert np.isnan(found.b_pairs)


def test_errors_over_successes_and_over_all():
    pairs = [pair()] * 3
    errors = pose_errors(pairs, [turned(2, (0.1, 0, 0)), turned(4), turned(120, (3, 0, 0))])
    good, every = error_summary(errors, right_a(errors, INDOOR)), error_summary(errors, EVERY)
    assert (good.count, every.count) == (2, 3)
    assert good.rotation_mean_deg == pytest.approx(3)
    assert good.translation_mean_cm == pytest.approx(5)
    assert every.rotation_mean_deg == pytest.approx(42)
    assert every.rotation_median_deg == pytest.approx(4)


def test_matching_recall_ignores_unknown_ratios():
    assert matching_recall(np.array([0.04, 0.05, 0.06, 0.5, np.nan])) == 0.5
    assert np.isnan(matching_recall(np.array([np.nan])))


def test_bins_hold_their_lower_edge_and_the_last_its_upper():
    bins = binned_recall(
        np.array([0.0, 0.1, 0.5, 1.0]), np.array([True, False, True, True]), (0.0, 0.1, 1.0)
    )
    assert [(b.count, b.recall) for b in bins] == [(1, 1.0), (3, pytest.approx(2 / 3))]


def test_self_check_accepts_the_toolbox_order():
    self_check([pair(source=k + 2, row=k, truth=turned(30 * k, (k, 0, 0))) for k in range(4)])


def test_self_check_refuses_rotation_first():
    info = pair().info * np.diag([1, 1, 1, 1, 2, 3])  # a room is not the same in all directions
    swapped = np.roll(np.roll(info, 3, axis=0), 3, axis=1)
    with pytest.raises(ValueError, match="translation must come first"):
        self_check([replace(pair(), info=swapped)])


def test_expected_calibration_error_by_hand():
    # bin 0.9-1: stated 0.95, true 0.5 (2 of 4); bin 0.2-0.3: stated 0.2, true 0 (2 of 4).
    probability = np.array([0.95, 0.95, 0.2, 0.2])
    right = np.array([True, False, False, False])
    assert expected_error(reliability(probability, right)) == pytest.approx(0.5 * 0.45 + 0.5 * 0.2)


def test_certainty_falls_into_the_last_bin():
    bins = reliability(np.array([1.0, 0.0]), np.array([True, False]))
    assert [(b.low, b.true) for b in bins] == [(0.0, 0.0), (0.9, 1.0)]


def test_auc_counts_ties_half():
    right = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), right) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), right) == 0.5
    assert np.isnan(auc(np.array([0.5]), np.array([True])))


def test_coverage_takes_the_largest_precise_prefix():
    # 20 right, 1 wrong, 1 right: 21 answers are 95.2 % precise, 22 too.
    right = np.array([True] * 20 + [False] + [True])
    score = np.linspace(1, 0.5, 22)
    assert coverage_at(score, right, precision=0.95) == (1.0, 0.5)
    assert coverage_at(score, right, precision=0.96)[0] == pytest.approx(20 / 22)


def test_coverage_takes_ties_together():
    right = np.array([True, False])
    assert coverage_at(np.array([0.7, 0.7]), right, precision=0.95)[0] == 0.0


def test_calibration_of_perfect_probabilities():
    c = calibration(np.array([1.0, 1.0, 0.0]), np.array([True, True, False]))
    assert (c.ece, c.brier, c.auc) == (0.0, 0.0, 1.0)
    assert c.coverage_95 == pytest.approx(2 / 3)


@pytest.mark.data
@pytest.mark.parametrize(("benchmark", "pairs", "counted", "predator"),
                         [("3dmatch", 820, 659, 659), ("3dlomatch", 1021, 987, 983)])  # fmt: skip
def test_real_truth_passes_the_self_check(data_dir, benchmark, pairs, counted, predator):
    found = read_3dmatch(data_dir / "3dmatch", benchmark).pairs
    if len(found) != pairs:
        pytest.skip("another set of scenes than the four of the project")
    self_check(found)
    assert counted_b(found).sum() == counted
    assert counted_b(found, skip_first=True).sum() == predator

"""PCK against values worked out by hand, its four averages, its subsets and its self-check."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from corr.semantic.datasets.base import Difficulty, KeypointPair, PairSet, Side, mirror_source
from corr.semantic.pck import Averages, averages, correct, point_errors
from corr.semantic.pck_check import noticed, probes, self_check
from corr.semantic.pck_defects import DEFECTS
from corr.semantic.pck_subsets import confusion, geometry_aware, subset_scores


def side(name: str, uv, *, size=(640, 480), box=None, seen=None) -> Side:
    uv = np.array(uv, dtype=float).reshape(-1, 2)
    seen = seen or {}
    return Side(
        name, Path(f"{name}.jpg"), *size, uv=uv, box=None if box is None else np.array(box, float),
        all_ids=tuple(seen), all_uv=np.array(list(seen.values()), float).reshape(-1, 2),
    )  # fmt: skip


def pair(key: str, truth, *, category="cow", ids=None, difficulty=None, **target) -> KeypointPair:
    n = len(truth)
    target = {"box": [0, 0, 100, 50], **target}
    return KeypointPair(
        key, category, side(f"{key}/s", np.zeros((n, 2)), box=[0, 0, 10, 10]),
        side(f"{key}/t", truth, **target), tuple(ids or map(str, range(n))),
        difficulty or Difficulty(),
    )  # fmt: skip


def pairs_of(*pairs: KeypointPair, extent="box", **more) -> PairSet:
    return PairSet("made up", "test", pairs, extent, **more)


# Worked out on paper: which of alpha = 0.01, 0.05, 0.10, 0.15 finds the point.
TABLE = [
    # A landscape photo; the box is 100 wide and 50 high, so the limits are 1, 5, 10, 15 pixels.
    ("wide, off by x", (640, 480), [100, 100, 200, 150], "box", [5, 0], "0111"),
    ("wide, off by y", (640, 480), [100, 100, 200, 150], "box", [0, 5], "0111"),
    ("wide, 3-4-5 triangle of ten", (640, 480), [100, 100, 200, 150], "box", [6, 8], "0011"),
    ("wide, just beyond ten", (640, 480), [100, 100, 200, 150], "box", [6.01, 8], "0001"),
    ("wide, exactly fifteen", (640, 480), [100, 100, 200, 150], "box", [9, -12], "0001"),
    ("wide, one", (640, 480), [100, 100, 200, 150], "box", [0, -1], "1111"),
    # A tall box: its height of 300 is what counts, 3, 15, 30, 45 pixels.
    ("tall, off by x", (333, 500), [10, 20, 60, 320], "box", [-29.9, 0], "0011"),
    ("tall, off by both", (333, 500), [10, 20, 60, 320], "box", [-27, 36], "0001"),
    # A box cut by the photo's border keeps its own size: 30, so 0.3, 1.5, 3, 4.5 pixels.
    ("border", (640, 480), [0, 450, 30, 480], "box", [2.9, 0], "0011"),
    ("corner", (640, 480), [610, 0, 640, 25], "box", [0, 1.5], "0111"),
    # By the image: 640, so 6.4, 32, 64, 96 pixels, whatever the box.
    ("image", (640, 480), [0, 0, 10, 10], "image", [48, 64], "0001"),
    ("image, portrait", (240, 640), [0, 0, 10, 10], "image", [6.4, 0], "1111"),
    ("far away", (640, 480), [100, 100, 200, 150], "box", [500, 0], "0000"),
]


@pytest.mark.parametrize(("size", "box", "extent", "off", "found"),
                         [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])  # fmt: skip
def test_point_is_found_as_worked_out_by_hand(size, box, extent, off, found):
    truth = np.array([[150.0, 120.0]])
    pairs = pairs_of(pair("p", truth, size=size, box=box), extent=extent)
    errors = point_errors(pairs, {"p": truth + off})
    got = "".join(str(int(correct(errors, a)[0])) for a in (0.01, 0.05, 0.10, 0.15))
    assert got == found


def test_strict_and_not_strict_differ_at_the_limit_only():
    pairs = pairs_of(pair("p", [[50, 20], [50, 20]]))
    errors = point_errors(pairs, {"p": np.array([[56.0, 28.0], [55.0, 28.0]])})
    assert correct(errors, 0.1).tolist() == [True, True]
    assert correct(errors, 0.1, strict=True).tolist() == [False, True]


def test_extent_of_points_ignores_points_that_are_not_there():
    pairs = pairs_of(pair("p", [[200, 200], [300, 240]]), extent="points")
    errors = point_errors(pairs, {"p": np.array([[200.0, 210.0], [300, 251]])})
    assert errors.extent_px.tolist() == [100, 100]
    assert correct(errors, 0.1).tolist() == [True, False]


def three_pairs() -> tuple[PairSet, dict[str, np.ndarray]]:
    """Cows: 4 of 4 and 0 of 1 found; a dog: 1 of 3. One more cow has no common point."""
    truth = {"a": 4, "b": 1, "c": 3, "d": 0}
    pairs = pairs_of(
        *(pair(k, np.full((n, 2), 50.0), category="dog" if k == "c" else "cow")
          for k, n in truth.items())
    )  # fmt: skip
    wrong = {"a": 0, "b": 1, "c": 2, "d": 0}
    predictions = {}
    for key, n in truth.items():
        uv = np.full((n, 2), 50.0)
        uv[: wrong[key]] += 99
        predictions[key] = uv
    return pairs, predictions


def test_four_averages_of_the_same_predictions_differ_as_they_must():
    pairs, predictions = three_pairs()
    errors = point_errors(pairs, predictions)
    got = averages(errors, correct(errors, 0.1))
    assert got.per_image == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert got.per_point == pytest.approx(5 / 8)
    assert got.category_mean == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert got.weighted == pytest.approx((2 * 4 / 5 + 1 / 3) / 3)
    assert len({round(v, 6) for v in vars(got).values()}) == 4


def test_averages_over_nothing_are_not_a_number():
    pairs, predictions = three_pairs()
    errors = point_errors(pairs, predictions)
    none = averages(errors, correct(errors, 0.1), np.zeros(len(errors), bool))
    assert np.isnan(list(vars(none).values())).all()


def test_no_answer_is_wrong_and_never_left_out():
    pairs = pairs_of(pair("p", [[50, 20], [60, 20]]))
    errors = point_errors(pairs, {"p": np.array([[50.0, 20.0], [np.nan, np.nan]])})
    assert np.isinf(errors.error_px[1])
    assert averages(errors, correct(errors, 0.1)).per_point == 0.5


def test_order_of_pairs_does_not_matter():
    pairs, predictions = three_pairs()
    turned = replace(pairs, pairs=pairs.pairs[::-1])
    a, b = (averages(e, correct(e, 0.1)) for e in (point_errors(pairs, predictions),
                                                   point_errors(turned, predictions)))  # fmt: skip
    np.testing.assert_allclose(list(vars(a).values()), list(vars(b).values()))


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({}, "p has no prediction"),
        ({"p": np.zeros((3, 2))}, r"predictions must be \(2, 2\), got \(3, 2\)"),
    ],
)
def test_missing_and_misshapen_predictions_are_refused(predictions, message):
    with pytest.raises(ValueError, match=message):
        point_errors(pairs_of(pair("p", [[1, 1], [2, 2]])), predictions)


def test_target_without_extent_is_refused():
    flat = pairs_of(pair("p", [[1, 1]], box=[5, 5, 5, 5]))
    with pytest.raises(ValueError, match="box has no size"):
        point_errors(flat, {"p": np.ones((1, 2))})
    with pytest.raises(ValueError, match="has no box; use extent=image"):
        point_errors(pairs_of(pair("p", [[1, 1]], box=None)), {"p": np.ones((1, 2))})


def test_flipped_pair_scores_as_its_mirror_image():
    """A prediction for the flipped source is right where the twin is, wrong where it was."""
    given = pair("p", [[20, 20], [80, 20]], ids=["2", "3"], seen={"2": (20, 20), "3": (80, 20)})
    flipped = mirror_source(given, {"2": "3", "3": "2"})
    errors = point_errors(pairs_of(flipped), {flipped.key: np.array([[80.0, 20], [20, 20]])})
    assert correct(errors, 0.1).all()
    wrong = point_errors(pairs_of(flipped), {flipped.key: given.target.uv})
    assert not correct(wrong, 0.1).any()


# Every defect on record gives this PCK@0.1 (per point) on one made-up case; the truth is 0.5.
CASE = pairs_of(
    KeypointPair(
        "p", "c", side("s", np.zeros((4, 2)), box=[0, 0, 200, 30]),
        side("t", [[100, 40], [140, 40], [100, 60], [150, 60]], size=(400, 200),
             box=[90, 30, 190, 80]),
        ("0", "1", "2", "3"),
    )
)  # fmt: skip
CASE_OFF = np.array([[9.0, 0.0], [0.0, 9.9], [12.0, 0.0], [15.0, 0.0]])
BY_DEFECT = {
    "source box": 1.0,  # the limit is 20: all four
    "padded points": 1.0,  # 151 wide from -1 on: the limit is 15.1
    "threshold by y": 1.0,  # x at 0.64, the limit at 12.8: 5.8, 12.7, 7.7, 9.6
    "squashed": 0.25,  # the box is 64 x 64, the limit 6.4: 5.8 yes, 12.7 no, 7.7 no, 9.6 no
    "pixel index": 0.5,
}


def test_each_defect_is_reproduced_with_the_value_worked_out_by_hand():
    predictions = {"p": CASE.pairs[0].target.uv + CASE_OFF}
    right = point_errors(CASE, predictions)
    assert averages(right, correct(right, 0.1)).per_point == 0.5
    assert set(BY_DEFECT) == {d.name for d in DEFECTS}
    for defect in DEFECTS:
        errors = defect.score(CASE, predictions, "")
        assert averages(errors, correct(errors, 0.1)).per_point == BY_DEFECT[defect.name], defect


def test_pixel_index_moves_every_prediction_by_half_a_pixel():
    pairs = pairs_of(pair("p", [[50, 20]]))
    index = next(d for d in DEFECTS if d.name == "pixel index")
    assert index.score(pairs, {"p": np.array([[50.0, 20.0]])}, "").error_px[0] == pytest.approx(
        np.sqrt(0.5)
    )


def test_evaluator_passes_its_own_check():
    self_check()


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.name)
def test_evaluator_with_a_defect_is_rejected_by_name(defect):
    assert noticed(defect.name)
    with pytest.raises(ValueError, match="the evaluator fails the check against"):
        self_check(score=defect.score)


def test_strict_evaluator_is_rejected():
    with pytest.raises(ValueError, match="check against 'strict'"):
        self_check(decide=partial(correct, strict=True))


def test_evaluator_that_leaves_out_unanswered_points_is_rejected():
    def forgiving(pairs, predictions, extent):
        errors = point_errors(pairs, predictions, extent)
        return replace(errors, error_px=np.where(np.isinf(errors.error_px), 0, errors.error_px))

    with pytest.raises(ValueError, match="check against 'no answer'"):
        self_check(score=forgiving)


def test_evaluator_that_mixes_up_averages_is_rejected():
    def swapped(errors, found):
        a = averages(errors, found)
        return Averages(a.per_point, a.per_image, a.category_mean, a.weighted)

    with pytest.raises(ValueError, match="averages wrongly"):
        self_check(average=swapped)


def test_probes_cover_every_defect():
    assert {d.name for d in DEFECTS} <= {p.defect for p in probes()}


def levels() -> tuple[PairSet, dict[str, np.ndarray]]:
    truth = np.array([[20.0, 20.0], [80.0, 20.0]])
    made = [
        pair("easy", truth, ids=["2", "3"], difficulty=Difficulty(0, 0, 0, 0)),
        pair("hard", truth, ids=["2", "3"], difficulty=Difficulty(2, None, 3, 0)),
        pair("lone", truth[:1], ids=["2"], seen={"2": (20, 20), "9": (1, 1)}),
    ]
    pairs = pairs_of(
        *made, twins={"cow": {"2": "3", "3": "2"}}, groups={"cow": (("2", "3"), ("9", "10"))}
    )
    return pairs, {"easy": truth, "hard": truth[::-1], "lone": truth[:1] + 40}


def test_levels_and_geometry_are_scored_apart():
    pairs, predictions = levels()
    errors = point_errors(pairs, predictions)
    rows = {(r.group, r.level): r for r in subset_scores(pairs, errors, (0.1,))}
    assert rows["viewpoint", "easy"].averages[0].per_image == 1
    assert rows["viewpoint", "hard"].averages[0].per_image == 0
    assert ("viewpoint", "medium") not in rows
    assert rows["scale", "easy"].pairs == 1  # the others do not state it
    assert rows["truncation", "both"].points == 2
    assert rows["category", "cow"].points == 5
    assert rows["geometry", "aware"].points == 4
    assert rows["geometry", "other"].averages[0].per_point == 0
    assert geometry_aware(pairs).tolist() == [True] * 4 + [False]
    assert not [r for r in rows if r[0] == "mirror"]


def test_left_taken_for_right_is_counted_as_such():
    pairs, predictions = levels()
    got = confusion(pairs, predictions, point_errors(pairs, predictions), 0.1)
    assert (got.points, got.found, got.at_twin, got.elsewhere) == (4, 0.5, 0.5, 0.0)
    astray = {**predictions, "hard": np.array([[50.0, 45.0], [np.nan, 0]])}
    got = confusion(pairs, astray, point_errors(pairs, astray), 0.1)
    assert (got.points, got.found, got.at_twin, got.elsewhere) == (4, 0.5, 0.0, 0.5)


def test_perfect_predictions_score_one_everywhere(tiny):
    errors = point_errors(tiny, {p.key: p.target.uv for p in tiny.pairs})
    for row in subset_scores(tiny, errors, (0.01,)):
        assert row.averages[0] == Averages(1.0, 1.0, 1.0, 1.0), (row.group, row.level)

"""Confidence as a probability: fitted right, attached to what it was fitted on, judged honestly."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from corr.semantic import calibration, fit_confidence
from corr.semantic.calibration import (
    Curve,
    curve_for,
    fit,
    inputs,
    reliability,
    risk_coverage,
    setup_key,
)
from corr.semantic.evaluation.curves import reliability_curve, risk_curve
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.evaluation.scores import score
from corr.semantic.evaluation.tables import markdown
from corr.semantic.features.cache import described
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.transfer import Nearest, Window

TRUE = Curve(-4.0, (4.0, 6.0, -0.8))  # about half of the points are right


def drawn(count: int, seed: int = 0):
    """Evidence, and outcomes that happen with the true curve's probabilities."""
    rng = np.random.default_rng(seed)
    evidence = rng.uniform(0, 1, count), rng.exponential(0.05, count), rng.exponential(0.1, count)
    p = TRUE.probability(*evidence)
    return evidence, rng.random(count) < p, p


def test_fit_finds_the_curve_that_made_the_outcomes():
    evidence, right, _ = drawn(40000)
    curve = fit(inputs(*evidence), right)
    assert curve.bias == pytest.approx(TRUE.bias, abs=0.25)
    np.testing.assert_allclose(curve.weights, TRUE.weights, rtol=0.15)
    other, happened, p = drawn(5000, seed=1)
    sure = curve.probability(*other)
    assert np.abs(sure - p).mean() < 0.02
    assert reliability(sure, happened).error < 0.04


def test_evidence_never_counts_against_its_sense():
    """Outcomes that contradict it leave a weight of zero, not one of the wrong sign."""
    evidence, right, _ = drawn(3000)
    curve = fit(inputs(*evidence), ~right)
    np.testing.assert_allclose(curve.weights, 0, atol=1e-6)
    surer = fit(inputs(*evidence), right)
    base = np.array([0.5]), np.array([0.05]), np.array([0.1])
    for k, step in ((0, 0.1), (1, 0.1), (2, -0.05)):
        better = [b.copy() for b in base]
        better[k] += step
        assert surer.probability(*better) > surer.probability(*base)
    with pytest.raises(ValueError, match="points that are right and points that are wrong"):
        fit(inputs(*evidence), np.ones(3000, bool))


def test_calibration_error_and_risk_of_a_case_by_hand():
    sure = np.array([0.9, 0.9, 0.6, 0.6, 0.1])
    right = np.array([True, False, True, True, False])
    found = reliability(sure, right, bins=5)
    # Bins of one, ascending: 0.1 wrong; 0.6 right twice; 0.9 right, 0.9 wrong.
    assert found.error == pytest.approx((0.1 + 0.4 + 0.4 + 0.1 + 0.9) / 5)
    risks = risk_coverage(sure, right, (0.2, 0.4, 0.8, 1.0))
    # A tie is no order: one of the two at 0.9 is wrong, so the first counts half.
    assert [r for _, r, _ in risks] == pytest.approx([0.5, 0.5, 0.25, 0.4])
    assert [s for *_, s in risks] == [0.9, 0.9, 0.6, 0.1]
    assert np.isnan(reliability(sure[:0], right[:0]).error)
    assert risk_coverage(sure[:0], right[:0]) == ()


def test_shipped_curves_belong_to_exactly_their_setup():
    assert curve_for(described(LiteFeatures()), Window()) is not None
    assert curve_for(described(LiteFeatures()), Window(), "pose") is not None
    assert curve_for(described(LiteFeatures(weights="elsewhere.pth")), Window()) is not None
    assert curve_for(described(LiteFeatures()), Window(min_confidence=0.5)) is not None
    assert curve_for(described(LiteFeatures(long_side=256)), Window()) is None
    assert curve_for(described(LiteFeatures()), Window(radius=3)) is None
    assert curve_for(described(LiteFeatures()), Nearest()) is None
    both = [curve_for(described(e), Window()) for e in (LiteFeatures(), XFeatFeatures())]
    assert both[0] != both[1]


def test_shipped_curves_were_fitted_on_training_photos_and_state_how_they_do_on_others():
    shipped = json.loads(calibration.FILE.read_text())
    assert shipped["alpha"] == calibration.ALPHA
    assert {c["setup"] for c in shipped["curves"]} == {
        setup_key(described(e), Window(), align) for e, align in fit_confidence.kinds()
    }
    for curve in shipped["curves"]:
        assert curve["fitted_on"]["split"] == "trn"
        assert all(w * s >= 0 for w, s in zip(curve["weights"], calibration.SIGNS, strict=True))
        assert curve["test"]["calibration_error"] < 0.15
        risk = curve["test"]["risk_at_coverage"]
        assert risk["0.2"] < risk["1"]


class Shade(Extractor):
    """Eight numbers of the photo's own brightness around each cell; fast and poor."""

    def settings(self):
        return {}

    def extract(self, rgb):
        grey = rgb.mean(-1)[: rgb.shape[0] // 4 * 4, : rgb.shape[1] // 4 * 4]
        cells = grey.reshape(grey.shape[0] // 4, 4, grey.shape[1] // 4, 4).mean((1, 3)) / 255
        padded = np.pad(cells, 1, mode="edge")
        shifts = [padded[r : r + cells.shape[0], c : c + cells.shape[1]]
                  for r in range(3) for c in range(3)]  # fmt: skip
        step = np.full(2, 4.0)
        return FeatureGrid(
            unit(np.stack(shifts, -1)).astype(np.float32), step / 2, step, rgb.shape[1],
            rgb.shape[0],
        )  # fmt: skip


def test_fitting_reads_the_training_split_and_only_judges_on_the_test_split(
    tiny_root, tmp_path, monkeypatch
):
    asked, fits = [], []
    read, real = fit_confidence.read_spair, fit_confidence.fit

    def reading(root, *, split, size):
        asked.append(split)
        return read(root, split=split, size=size)

    def fitting(rows, right):
        assert asked == ["trn"], "the test split was read before the curve was fitted"
        fits.append(len(right))
        return real(rows, right)

    monkeypatch.setattr(fit_confidence, "read_spair", reading)
    monkeypatch.setattr(fit_confidence, "fit", fitting)
    monkeypatch.setattr(fit_confidence, "kinds", lambda: [(Shade(), "none")])
    (made,) = fit_confidence.main(tiny_root, tmp_path / "confidence.json", tmp_path / "work")
    assert asked == ["trn", "test"]
    assert made["fitted_on"]["points"] == fits[0]
    assert json.loads((tmp_path / "confidence.json").read_text())["curves"] == [made]


def test_transfer_answers_with_the_curves_probability():
    rng = np.random.default_rng(0)
    grids = [
        FeatureGrid(unit(rng.normal(size=(9, 11, 5))).astype(np.float32), np.full(2, 5.0),
                    np.full(2, 10.0), 110, 90)
        for _ in range(2)
    ]  # fmt: skip
    uv = rng.uniform(10, 80, (30, 2))
    plain = Window().transfer(*grids, uv)
    curve = Curve(-1.0, (2.0, 3.0, -0.7))
    found = Window().calibrated(curve).transfer(*grids, uv)
    wanted = curve.probability(found.similarity, found.margin, found.round_trip_px / 110)
    np.testing.assert_allclose(found.confidence, wanted)
    np.testing.assert_array_equal(found.uv, plain.uv)
    assert np.abs(found.confidence - plain.confidence).max() > 0.05
    limit = float(np.median(wanted))
    some = Window(min_confidence=limit).calibrated(curve).transfer(*grids, uv)
    np.testing.assert_array_equal(np.isfinite(some.uv[:, 0]), wanted >= limit)
    assert asdict(Window().calibrated(curve)) == asdict(Window())
    again = Window().calibrated(curve).calibrated(None).transfer(*grids, uv)
    np.testing.assert_array_equal(again.confidence, plain.confidence)


def test_report_says_whether_the_confidence_is_a_probability(tiny):
    predictions = {}
    for k, pair in enumerate(tiny.pairs):
        n, right = len(pair.ids), k % 2 == 0
        uv = pair.target.uv if right else pair.target.uv + 500
        sure = np.full(n, 0.8 if right else 0.3)
        predictions[pair.key] = Prediction(pair.key, uv, sure, *(np.zeros(n) for _ in range(3)))
    told = score(tiny, predictions, calibrated=True)
    text = markdown(told, setup="")
    assert "is the probability of being found at alpha 0.1" in text
    assert f"expected calibration error here is {told.trust.reliability.error:.3f}" in text
    # Nearly every bin is off by 0.2 or by 0.3, whichever half it is of.
    assert 0.15 < told.trust.reliability.error < 0.3
    assert "| confidence at least | 0.80 |" in text
    assert reliability_curve(told.trust).count("<circle") == 10
    plain = score(tiny, predictions)
    said = markdown(plain, setup="")
    assert "is an order of trust, not a probability: no curve is shipped" in said
    assert reliability_curve(plain.trust) == ""
    assert risk_curve(plain.trust).count("<circle") == 10
    silent = {k: replace(p, uv=np.full_like(p.uv, np.nan)) for k, p in predictions.items()}
    empty = score(tiny, silent, calibrated=True).trust
    assert empty.risk == ()
    assert risk_curve(empty) == ""

"""The probability: what it was fitted on, and that evidence moves it the right way."""

import json

import numpy as np
import pytest

from corr.geometry.rigid import Rigid3
from registration import confidence
from registration.learned.train_confidence import fit_logistic, is_right

GOOD = {
    "log_support": np.log1p(150.0), "support_share": 0.3, "vote_share": 0.8, "overlap": 0.5,
    "contradicted": 0.02, "violations": 0.01, "margin": 8.0,
}  # fmt: skip
BAD = {
    "log_support": np.log1p(6.0), "support_share": 0.01, "vote_share": 0.05, "overlap": 0.08,
    "contradicted": 0.2, "violations": 0.25, "margin": 0.2,
}  # fmt: skip


def test_much_evidence_is_sure_and_little_is_not():
    good, bad = (
        confidence.probability(confidence.evidence_row(e, confidence.RIVAL_INPUTS))
        for e in (GOOD, BAD)
    )
    assert good > 0.95
    assert bad < 0.2


@pytest.mark.parametrize(("name", "worse"), [("overlap", 0.05), ("violations", 0.15)])
def test_surfaces_count_in_the_ranking(name, worse):
    rows = np.stack(
        [confidence.evidence_row(e, confidence.INPUTS) for e in (GOOD, {**GOOD, name: worse})]
    )
    better, poorer = confidence.score(rows)
    assert better > poorer


def test_shipped_models_say_what_they_were_fitted_on():
    shipped = json.loads(confidence.FILE.read_text())
    assert shipped["fitted_on"]["pairs"] >= 400
    assert len(shipped["rank"]["mean"]) == len(confidence.INPUTS)
    assert len(shipped["confidence"]["mean"]) == len(confidence.RIVAL_INPUTS)


def test_fitted_probabilities_are_calibrated():
    """Labels drawn from a known logistic model: stated and true shares agree in every fifth."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 7))
    truth = 1 / (1 + np.exp(-(1.5 * rows[:, 0] - rows[:, 3] + 0.5)))
    model = fit_logistic(rows, rng.uniform(size=20_000) < truth, np.ones(20_000))
    confidence.use({"confidence": model, "rank": model})
    try:
        stated = np.array([confidence.probability(row) for row in rows[:4000]])
    finally:
        confidence.use({})
    for part in np.array_split(np.argsort(stated), 5):
        assert stated[part].mean() == pytest.approx(truth[:4000][part].mean(), abs=0.03)


def test_right_means_both_limits():
    still = Rigid3.identity()
    near = Rigid3(np.eye(3), np.array([0.29, 0, 0]))
    far = Rigid3(np.eye(3), np.array([0.31, 0, 0]))
    assert is_right(near, still, 0.05)
    assert not is_right(far, still, 0.05)
    c, s = np.cos(np.radians(16)), np.sin(np.radians(16))
    turned = Rigid3(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.zeros(3))
    assert not is_right(turned, still, 0.05)

"""The probability: what it was fitted on, and that evidence moves it the right way."""

import json

import numpy as np
import pytest

from corr.geometry.rigid import Rigid3
from registration import confidence
from registration.learned.train_confidence import are_right, fit_logistic

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
    assert shipped["fitted_on"]["answers"] >= 400
    for model, inputs in (("rank", confidence.INPUTS), ("confidence", confidence.RIVAL_INPUTS)):
        assert tuple(curve["input"] for curve in shipped[model]["curves"]) == inputs


@pytest.mark.parametrize("name", confidence.RIVAL_INPUTS)
def test_more_evidence_never_moves_the_probability_the_wrong_way(name):
    sign = -1.0 if name in confidence.AGAINST else 1.0
    for base in (GOOD, BAD):
        rows = np.tile(confidence.evidence_row(base, confidence.RIVAL_INPUTS), (200, 1))
        rows[:, confidence.RIVAL_INPUTS.index(name)] = np.linspace(-1, 12, 200)
        stated = np.array([confidence.probability(row) for row in rows])
        assert (sign * np.diff(stated) >= -1e-12).all()


def test_fitted_probabilities_are_calibrated():
    """Labels drawn from a known monotone model: stated and true shares agree in every fifth."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 7))
    truth = 1 / (1 + np.exp(-(1.5 * np.tanh(rows[:, 0]) - rows[:, 5] + 0.5)))
    right = rng.uniform(size=20_000) < truth
    model = fit_logistic(rows, right, np.ones(20_000), confidence.RIVAL_INPUTS, 1e-3)
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
    c, s = np.cos(np.radians(16)), np.sin(np.radians(16))
    turned = Rigid3(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.zeros(3))
    assert are_right([near, far, turned], still, 0.05).tolist() == [True, False, False]

"""Where points go: exact on grids made for it, surer where it is right, silent where it must be."""

import numpy as np
import pytest

from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.transfer import Mutual, Nearest, Window, confidence

STEP = 10.0


def scene(shift=(0.0, 0.0), rows=13, columns=17, d=96, seed=0) -> FeatureGrid:
    """A smooth field of descriptors, seen through a window that is moved by `shift` pixels."""
    waves = np.random.default_rng(seed)
    k = waves.normal(0, 1 / 25, (d, 2))
    phase = waves.uniform(0, 2 * np.pi, d)
    v, u = np.mgrid[:rows, :columns] * STEP + STEP / 2
    field = np.sin(
        (u[..., None] + shift[0]) * k[:, 0] + (v[..., None] + shift[1]) * k[:, 1] + phase
    )
    return FeatureGrid(
        unit(field), np.full(2, STEP / 2), np.full(2, STEP), int(columns * STEP), int(rows * STEP)
    )


POINTS = np.random.default_rng(4).uniform([45, 35], [125, 95], (40, 2))


def test_same_photo_gives_every_cell_back():
    g = scene()
    for way in (Nearest(), Mutual()):
        found = way.transfer(g, g, g.centres())
        np.testing.assert_allclose(found.uv, g.centres())
        np.testing.assert_allclose(found.similarity, 1, atol=1e-5)
        np.testing.assert_allclose(found.round_trip_px, 0, atol=1e-9)


def test_nearest_is_off_by_half_a_cell_at_most_and_the_window_by_much_less():
    source, target = scene(), scene(shift=(13.0, -6.0))
    truth = POINTS - [13.0, -6.0]
    nearest = Nearest().transfer(source, target, POINTS).uv
    window = Window(temperature=0.01).transfer(source, target, POINTS).uv
    off = np.linalg.norm(nearest - truth, axis=1)
    assert (np.abs(nearest - truth) <= STEP / 2 + 2).all()
    assert np.linalg.norm(window - truth, axis=1).mean() < 0.7 * off.mean()


def test_window_at_the_border_stays_inside_of_the_grid():
    g = scene()
    corners = g.centres()[[0, 16, -17, -1]]
    uv = Window().transfer(g, g, corners).uv
    low, high = g.centres().min(0), g.centres().max(0)
    assert ((uv >= low) & (uv <= high)).all()


def test_mutual_gives_no_answer_where_the_way_does_not_lead_back():
    source = scene()
    cells = source.descriptor.copy()
    cells[:, 9:] = cells[:, 8:9]  # the right half of the target repeats one column
    target = FeatureGrid(cells, source.first_uv, source.step_uv, source.width, source.height)
    uv = np.array([[35.0, 45.0], [155.0, 45.0]])
    found = Mutual().transfer(source, target, uv)
    assert np.isfinite(found.uv[0]).all()
    assert np.isnan(found.uv[1]).all()
    assert np.isfinite(Nearest().transfer(source, target, uv).uv).all()
    assert found.round_trip_px[1] > 1.5 * STEP


def test_unsure_points_get_no_answer_when_asked():
    source, other = scene(), scene(seed=5)
    right = Window(min_confidence=0.4).transfer(source, scene((3.0, 2.0)), POINTS)
    wrong = Window(min_confidence=0.4).transfer(source, other, POINTS)
    assert np.isfinite(right.uv).all()
    assert np.isnan(wrong.uv).all()
    assert right.confidence.min() > wrong.confidence.max()
    assert ((wrong.confidence >= 0) & (wrong.confidence <= 1)).all()


def test_confidence_falls_with_each_doubt():
    sure = confidence(np.array([0.9]), np.array([0.2]), np.array([0.0]))[0]
    assert sure == pytest.approx(0.9)
    assert confidence(np.array([0.5]), np.array([0.2]), np.array([0.0]))[0] < sure
    assert confidence(np.array([0.9]), np.array([0.0]), np.array([0.0]))[0] == pytest.approx(0.45)
    assert confidence(np.array([0.9]), np.array([0.2]), np.array([0.1]))[0] == pytest.approx(
        0.9 / np.e
    )
    assert confidence(np.array([-0.9]), np.array([0.2]), np.array([0.0]))[0] == 0


def test_margin_is_to_the_best_rival_elsewhere():
    d = np.eye(4, dtype=np.float32)
    cells = np.zeros((1, 9, 4), np.float32)
    cells[0, :] = d[3]
    cells[0, 1] = d[0]
    cells[0, 7] = unit(d[0] * 0.6 + d[1] * 0.8)
    target = FeatureGrid(cells, np.full(2, 5.0), np.full(2, 10.0), 90, 10)
    source = FeatureGrid(d[None, :1], np.full(2, 5.0), np.full(2, 10.0), 10, 10)
    found = Nearest().transfer(source, target, np.array([[5.0, 5.0]]))
    np.testing.assert_allclose(found.uv, [[15.0, 5.0]])
    assert found.similarity[0] == pytest.approx(1)
    assert found.margin[0] == pytest.approx(0.4, abs=1e-6)


def test_no_points_give_no_rows():
    assert Window().transfer(scene(), scene(), np.zeros((0, 2))).uv.shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window(radius=0), "radius must be 1 or more"),
        (lambda: Window(temperature=0.0), "temperature must be positive"),
        (lambda: Mutual(within_cells=0.0), "within_cells must be positive"),
        (lambda: Nearest(min_confidence=1.5), "min_confidence must lie in 0 … 1"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""Turning a 3-D view, as the reports' script does it."""

import numpy as np
import pytest

from corr.page import assets
from tests.browser import needs_browser, opened

DRAGS = """
const up = [0, -1, 0];
function dragged(R, drags) {
  for (const [dx, dy, times] of drags) for (let i = 0; i < times; i++)
    R = M.mul(R, M.transposed(orbitTurn(R, up, dx, dy)));
  return R;
}
const level = [1, 0, 0, 0, 1, 0, 0, 0, 1], down = [1, 0, 0, 0, 0, -1, 0, 1, 0];
const views = {
  still: dragged(level, []),
  right: dragged(level, [[50, 0, 1]]), low: dragged(level, [[0, -50, 1]]),
  pole: dragged(level, [[3, 1, 400]]), back: dragged(level, [[3, 1, 400], [3, -1, 150]]),
  photo: dragged(down, [[0, 1, 100]]), spun: dragged(down, [[100, 0, 1]]),
};
for (const [name, R] of Object.entries(views)) document.documentElement.dataset[name] = R.join(" ");
"""


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """Name to cam_from_world after some drags; the world's up is (0, -1, 0)."""
    folder = tmp_path_factory.mktemp("orbit")
    scripts = assets.read("linear.js") + assets.read("orbit.js") + DRAGS
    page = folder / "page.html"
    page.write_text(f"<html><body><script>{scripts}</script></body></html>", encoding="utf-8")
    told = opened(page.as_uri(), folder)
    return {name: np.array(text.split(), float).reshape(3, 3) for name, text in told.items()}


def elevation_deg(R):
    """How far the view looks down."""
    return np.degrees(np.arcsin(R[2] @ [0, 1, 0]))


@needs_browser
def test_dragging_turns_by_a_third_of_a_degree_a_pixel(views):
    for R in views.values():
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(views["still"], np.eye(3))
    # The camera goes round to the left: what lies before the middle follows the hand.
    turned = np.arctan2(views["right"][2, 0], views["right"][2, 2])
    assert turned == pytest.approx(50 * 0.006)
    assert elevation_deg(views["low"]) == pytest.approx(-np.degrees(50 * 0.006))


@needs_browser
def test_view_stays_level_and_off_the_poles(views):
    for name in ("right", "low", "pole", "back"):
        assert abs(views[name][0, 1]) < 1e-9, name
    assert 83 < elevation_deg(views["pole"]) < 84.3  # sine below 0.995
    assert elevation_deg(views["back"]) == pytest.approx(
        elevation_deg(views["pole"]) - np.degrees(150 * 0.006)
    )


@needs_browser
def test_view_of_a_photo_taken_straight_down_can_be_left(views):
    assert abs(elevation_deg(views["photo"])) < 84
    assert abs(elevation_deg(views["spun"])) == pytest.approx(90)
    assert abs(views["spun"][0, 0]) < 0.9

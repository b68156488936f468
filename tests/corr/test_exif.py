import math

import pytest

from corr.exif import (
    FOCAL_LENGTH,
    FOCAL_LENGTH_35MM,
    PIXEL_X,
    PIXEL_Y,
    PLANE_UNIT,
    PLANE_X_RESOLUTION,
    focal_prior_px,
)

DIAGONAL = math.hypot(36, 24)


@pytest.mark.parametrize(
    ("unit", "per_unit"), [(None, 25.4), (2, 25.4), (3, 10), (4, 1), (5, 0.001)]
)
def test_focal_from_pixel_pitch_in_every_unit(unit, per_unit):
    # 100 px per mm: a 30 mm sensor of 3000 px; 50 mm lens -> 5000 px
    tags = {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 100.0 * per_unit}
    if unit is not None:
        tags[PLANE_UNIT] = unit
    assert focal_prior_px(tags, 3000, 2000) == pytest.approx(5000)


def test_focal_from_pixel_pitch_follows_a_resize():
    tags = {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 100.0, PLANE_UNIT: 4}
    tags |= {PIXEL_X: 3000, PIXEL_Y: 2000}
    assert focal_prior_px(tags, 600, 400) == pytest.approx(1000)


def test_focal_from_35_mm_equivalent_uses_the_diagonal():
    tags = {FOCAL_LENGTH_35MM: 26}
    assert focal_prior_px(tags, 4000, 3000) == pytest.approx(26 * 5000 / DIAGONAL)
    assert focal_prior_px(tags, 3600, 2400) == pytest.approx(26 * 100)  # 3:2: long side / 36 mm


@pytest.mark.parametrize(
    "tags",
    [
        {FOCAL_LENGTH_35MM: 26},
        {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 100.0, PLANE_UNIT: 4, PIXEL_X: 3000},
    ],
)
def test_focal_does_not_depend_on_rotation(tags):
    assert focal_prior_px(tags, 3000, 2000) == focal_prior_px(tags, 2000, 3000)


def test_focal_from_pixel_pitch_wins_when_both_agree():
    tags = {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 100.0, PLANE_UNIT: 4, FOCAL_LENGTH_35MM: 58}
    assert focal_prior_px(tags, 3000, 2000) == pytest.approx(5000)


def test_focal_from_35_mm_wins_when_a_resize_forgot_the_pitch():
    tags = {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 200.0, PLANE_UNIT: 4, FOCAL_LENGTH_35MM: 60}
    assert focal_prior_px(tags, 3000, 2000) == pytest.approx(60 * math.hypot(3000, 2000) / DIAGONAL)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FOCAL_LENGTH: 50.0},
        {FOCAL_LENGTH_35MM: 0},
        {FOCAL_LENGTH_35MM: "no number"},
        {FOCAL_LENGTH_35MM: float("nan")},
        {FOCAL_LENGTH_35MM: 2},  # would be 170 degrees
        {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 0.0},
        {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 100.0, PLANE_UNIT: 9},
        {FOCAL_LENGTH: 50.0, PLANE_X_RESOLUTION: 1.0, PLANE_UNIT: 4},  # a sensor of 3 metres
    ],
)
def test_focal_is_unknown_when_exif_does_not_say(tags):
    assert focal_prior_px(tags, 3000, 2000) is None

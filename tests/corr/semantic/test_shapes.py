"""Objects aligned by votes: the true map from many wrong matches, no mirror image, or none."""

from pathlib import Path

import numpy as np
import pytest

from corr.geometry.camera import Camera
from corr.geometry.rigid import Rigid3
from corr.semantic.datasets.base import Side
from corr.semantic.datasets.frames import DepthFrame
from corr.semantic.features.grid import unit
from corr.semantic.learned.collection import principal_axes, reference
from corr.semantic.learned.shapes import Seen, aligned

TRUE = np.vstack([1.2 * np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.1]]), [3.0, -1.0, 0.5]])


def views(xyz, descriptor, count=4) -> list[Seen]:
    """The points of an object, shared out among frames."""
    camera = Camera.simple(40, 30, 30.0)
    side = Side("a", Path("a.jpg"), 40, 30, np.zeros((0, 2)))
    frame = DepthFrame(side, camera, Rigid3.identity(), Path("a.png"))
    parts = [slice(k, None, count) for k in range(count)]
    return [Seen(frame, np.zeros((len(xyz[p]), 2)), xyz[p], descriptor[p]) for p in parts]


def objects(moved: np.ndarray, wrong: float, seed=0):
    """Two objects with the same parts; of some parts the looks are mixed up in the second."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (400, 3)) * [1.5, 0.5, 0.7]
    look = unit(rng.normal(size=(400, 24)))
    other = look.copy()
    mixed = np.flatnonzero(rng.random(400) < wrong)
    other[mixed] = look[rng.permutation(mixed)]
    return views(xyz, look), views(xyz @ moved[:3] + moved[3], other), xyz


def test_map_is_found_among_many_wrong_matches():
    a, b, xyz = objects(TRUE, wrong=0.4)
    found = aligned(a, b, np.random.default_rng(0))
    assert found is not None
    off = np.linalg.norm((xyz @ found[:3] + found[3]) - (xyz @ TRUE[:3] + TRUE[3]), axis=1)
    assert off.max() < 0.15  # of a size of 3.6
    assert np.median(off) < 0.08


def test_mirror_image_is_never_the_answer():
    mirror = np.vstack([np.diag([1.0, -1, 1]), np.zeros((1, 3))])
    a, b, _ = objects(mirror, wrong=0.0)
    found = aligned(a, b, np.random.default_rng(0))
    assert found is None or np.linalg.det(found[:3]) > 0


def test_objects_without_agreement_stay_apart():
    a, b, _ = objects(TRUE, wrong=1.0)
    assert aligned(a, b, np.random.default_rng(0)) is None


def test_reference_is_the_object_with_the_most_consistent_maps():
    def shift(x: float) -> np.ndarray:
        return np.vstack([np.eye(3), [x, 0, 0]])

    maps = {(a, b): shift(b - a) for a in range(4) for b in range(4)}
    maps[1, 0] = maps[2, 0] = shift(9.0)  # 0 contradicts itself
    del maps[3, 1]  # 1 is not reached by all
    assert reference(maps, 4) == pytest.approx(2) or reference(maps, 4) == 3
    assert reference({(k, k): shift(0) for k in range(3)}, 3) == 0


def test_principal_axes_are_a_rotation_from_long_to_short():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) * [1, 5, 2]
    axes = principal_axes(x)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert np.abs(axes).argmax(0).tolist() == [1, 2, 0]

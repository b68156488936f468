"""The ray-traced ball and floor with features that are a known function of the place."""

from functools import cache

import numpy as np

from corr.semantic.features.grid import FeatureGrid, unit
from recon.semantic.lift import Look
from recon.semantic.refine import Head
from tests.recon.scenes import scene, trace

STRIDE, CHANNELS = 3, 24


def meaning(xyz: np.ndarray, d: int = CHANNELS) -> np.ndarray:
    """The true descriptor of a place: smooth, different everywhere."""
    rng = np.random.default_rng(3)
    k, phase = rng.normal(0, 2.5, (d, 3)), rng.uniform(0, 2 * np.pi, d)
    return unit(np.sin(np.asarray(xyz) @ k.T + phase))


@cache
def traced() -> dict[str, np.ndarray]:
    """World point of every pixel of every view."""
    return {v.name: trace(v)[2] for v in scene().reconstruction.views}


def looks(change=None) -> list[Look]:
    """Exact depth and features; `change` gets the cells and the view's number."""
    found = []
    for number, view in enumerate(scene().reconstruction.views):
        xyz = traced()[view.name][STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        cells = meaning(xyz)
        if change is not None:
            cells = unit(change(cells, number))
        step = np.full(2, float(STRIDE))
        camera = view.camera
        grid = FeatureGrid(cells.astype(np.float32), step / 2, step, camera.width, camera.height)
        found.append(Look(view, scene().depth[view.name].astype(np.float32), grid))
    return found


def surface_points(count: int = 700, seed: int = 0) -> np.ndarray:
    """Points of the surface that some view shows."""
    pool = np.concatenate([t.reshape(-1, 3) for t in traced().values()])
    return pool[np.random.default_rng(seed).choice(len(pool), count, replace=False)]


def no_head(d: int = CHANNELS) -> Head:
    """The identity."""
    return Head(np.zeros((2, d), np.float32), np.zeros(2, np.float32), np.zeros((d, 2), np.float32))

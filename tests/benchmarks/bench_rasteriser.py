"""Milliseconds of one forward and backward picture, all gradients, pose included.

Run `python tests/benchmarks/bench_rasteriser.py`, or as a test with `pytest -m benchmark FILE`.
The clock runs around the public `render` and the backward pass: projection, harmonics of degree
1, sorting, blending and the gradients of every parameter. Best and median of the repeats are
printed; on a busy machine only the best means something.
"""

import importlib.util
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads its OpenMP

import numba
import numpy as np
import pytest
import torch

from corr.geometry import Camera
from recon.render.base import Renderer
from recon.render.cpu.renderer import CpuRenderer
from recon.render.reference import ReferenceRenderer
from recon.splats.gaussians import Gaussians

BAR_MS = 90.0  # for 50 000 splats at 320 x 240 on two cores
SETTINGS = [  # splats, width, height, median sigma in pixels
    (50_000, 320, 240, 1.0),
    (50_000, 640, 480, 1.0),
    (50_000, 640, 480, 2.0),
    (100_000, 640, 480, 1.0),
    (100_000, 640, 480, 2.5),
]


def bench_scene(n: int, width: int, height: int, sigma_px: float) -> tuple[Gaussians, Camera]:
    """Splats spread evenly over the picture at depths 2 to 4, log-normal scales, degree 1."""
    gen = torch.Generator().manual_seed(0)
    focal = float(width)
    z = 2 + 2 * torch.rand(n, generator=gen)
    u, v = width * torch.rand(n, generator=gen), height * torch.rand(n, generator=gen)
    xy = torch.stack([u - width / 2, v - height / 2], 1) * (z / focal)[:, None]
    log_scales = torch.log(sigma_px * z / focal)[:, None] + 0.5 * torch.randn(n, 3, generator=gen)
    scene = Gaussians(
        torch.cat([xy, z[:, None]], 1),
        log_scales,
        torch.randn(n, 4, generator=gen),
        torch.randn(n, generator=gen),
        0.3 * torch.randn(n, 4, 3, generator=gen),
    )
    return scene, Camera.simple(width, height, focal)


def time_ms(
    renderer: Renderer, scene: Gaussians, camera: Camera, repeats: int, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray, int]:
    """Forward and backward milliseconds of each repeat, and the (tile, splat) pairs drawn."""
    leaves = {k: v.to(device).clone().requires_grad_() for k, v in scene.tensors().items()}
    pose = torch.eye(4, device=device, requires_grad=True)
    shape = (camera.height, camera.width)
    gradients = [torch.rand(*shape, 3), torch.rand(shape), torch.rand(shape)]
    gradients = [g.to(device) for g in gradients]
    forward, backward = [], []
    pairs = 0
    for repeat in range(repeats + 1):
        begin = time.perf_counter()
        out = renderer.render(Gaussians(**leaves), camera, pose)
        if device == "cuda":
            torch.cuda.synchronize()
        middle = time.perf_counter()
        torch.autograd.backward([out.rgb, out.alpha, out.depth], gradients)
        if device == "cuda":
            torch.cuda.synchronize()
        end = time.perf_counter()
        if repeat:  # the first one compiles
            forward.append(1e3 * (middle - begin))
            backward.append(1e3 * (end - middle))
        pairs = out.pairs
        for leaf in (*leaves.values(), pose):
            leaf.grad = None
    return np.array(forward), np.array(backward), pairs


def time_torch_tiles(scene: Gaussians, camera: Camera, tiles: int = 10, side: int = 16) -> float:
    """Milliseconds of the torch reference, tile by tile, scaled up from a few random tiles.

    Each sampled tile is a camera of its own, given only the splats whose box touches it (found
    beforehand, not timed); the sum is multiplied by all tiles over sampled tiles.
    """
    u, v = scene.means[:, 0] / scene.means[:, 2], scene.means[:, 1] / scene.means[:, 2]
    u, v = camera.K[0, 0] * u + camera.K[0, 2], camera.K[1, 1] * v + camera.K[1, 2]
    radius = CpuRenderer().render(scene, camera, torch.eye(4)).radius_px
    columns, rows = -(-camera.width // side), -(-camera.height // side)
    total = 0.0
    for tile in np.random.default_rng(0).choice(columns * rows, tiles, replace=False):
        x, y = tile % columns * side, tile // columns * side
        near = (u > x - radius) & (u < x + side + radius)
        near &= (v > y - radius) & (v < y + side + radius)
        K = camera.K.copy()
        K[:2, 2] -= [x, y]
        window = Camera(side, side, K)
        forward, backward, _ = time_ms(ReferenceRenderer(), scene.select(near), window, 1)
        total += float(forward[0] + backward[0])
    return total * columns * rows / tiles


def report(repeats: int = 20) -> None:
    """Print the table."""
    for n, width, height, sigma in SETTINGS:
        scene, camera = bench_scene(n, width, height, sigma)
        for threads in (1, 2):
            if threads > numba.config.NUMBA_NUM_THREADS:
                continue
            numba.set_num_threads(threads)
            torch.set_num_threads(threads)
            forward, backward, pairs = time_ms(CpuRenderer(), scene, camera, repeats)
            both = forward + backward
            print(
                f"{n:7d} splats {width}x{height} sigma {sigma} px {pairs:7d} pairs  cpu {threads} "
                f"thread(s): {both.min():6.1f} ms best, {np.median(both):6.1f} median "
                f"(forward {forward.min():.1f}, backward {backward.min():.1f} best)"
            )
        if torch.cuda.is_available() and importlib.util.find_spec("gsplat"):
            from recon.render.cuda import CudaRenderer

            forward, backward, _ = time_ms(CudaRenderer(), scene, camera, repeats, "cuda")
            print(f"{'':50s}gsplat on CUDA: {np.median(forward + backward):6.2f} ms median")
    scene, camera = bench_scene(*SETTINGS[0])
    print(
        f"  50000 splats 320x240 torch reference by tiles: {time_torch_tiles(scene, camera):.0f} ms"
        " (10 of 300 tiles timed, scaled by 30)"
    )


@pytest.mark.benchmark
def test_rasteriser_is_under_the_bar():
    scene, camera = bench_scene(*SETTINGS[0])
    forward, backward, _ = time_ms(CpuRenderer(), scene, camera, 20)
    assert (forward + backward).min() <= BAR_MS


if __name__ == "__main__":
    report()

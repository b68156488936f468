"""Who takes part in the GPU benchmark: what each starts from and its schedule."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.splats.gaussians import SH_C0, Gaussians
from recon.splats.optimiser import Optimiser
from recon.splats.seeds import Seeds
from tests.benchmarks.splats_gpu_scene import GpuScene

POINT_OPACITY = 0.1  # of the splats on sparse points
SMOKE_STEPS = 100
NO_CAP = 10**8  # splats: gsplat's default knows no limit
VARIANTS = ("ours", "a", "b", "c", "d", "e")  # prefixes of options; the others inherit ours'


@dataclass
class Setting:
    """What `run` can be told."""

    scene: str = ""
    out: str = ""
    steps: int = 5000  # of ours
    peer: str = "7000,30000"  # steps of gsplat's default, several runs; empty = none
    mcmc: int = 0  # steps of MCMC; 0 = none
    every: int = 250  # steps between two looks at the held-out photos
    max_side: int = 960  # px
    limit_s: float = 150.0  # of training, per contender; one that is cut off says so
    total_s: float = 300.0  # no contender is started after
    strips: int = 2  # held-out photos that are drawn beside the renders
    device: str = "cuda"
    smoke: int = 0  # 1 = 100 steps of everything
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Contender:
    """One training."""

    name: str
    options: Optimiser
    seeds: Seeds


def seeds_from_points(scene: GpuScene) -> Seeds:
    """Splats as 3DGS starts them: round, as wide as the root mean square of three distances."""
    from scipy.spatial import cKDTree

    xyz = scene.points_xyz
    distance = cKDTree(xyz).query(xyz, k=4)[0][:, 1:]
    size = np.sqrt((distance**2).mean(1)).clip(1e-7)
    n = len(xyz)
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
    sh = (scene.points_rgb / 255.0 - 0.5) / SH_C0
    arrays = (
        xyz, np.log(size)[:, None].repeat(3, 1), quats,
        np.full(n, np.log(POINT_OPACITY / (1 - POINT_OPACITY))), sh[:, None],
    )  # fmt: skip
    splats = Gaussians(
        *(torch.tensor(np.ascontiguousarray(a), dtype=torch.float32) for a in arrays)
    )
    return Seeds(splats, np.ones(n, np.float32), np.ones((len(scene.train), 3)), {})


def contenders(
    scene: GpuScene, setting: Setting, changes: dict[str, dict[str, Any]]
) -> list[Contender]:
    """Ours, the first peer, variants of ours, the other peers.

    Args:
        scene: Photos, seeds and sparse points.
        setting: Steps and sizes.
        changes: Options of the optimiser by variant; those of `ours` hold for every variant. The
            option `seeds` names another folder of seeds.
    """

    def seeds_of(name: str) -> Seeds:
        chosen = changes.get(name, {}).get("seeds", changes.get("ours", {}).get("seeds", ""))
        found = Seeds.load(Path(chosen) if chosen else scene.folder)
        return replace(found, exposures=np.ones((len(scene.train), 3)))

    def options_of(name: str) -> dict[str, Any]:
        return {k: v for k, v in changes.get(name, {}).items() if k != "seeds"}

    points = seeds_from_points(scene)
    same = Optimiser(
        max_side=setting.max_side, sh_degree=3, pose_px=0.0, exposure_rate=0.0, stop_view=False,
        random_background=False,
    )  # fmt: skip

    def steps(count: int) -> int:
        return min(SMOKE_STEPS, count) if setting.smoke else count

    mine = replace(gpu_schedule(same, steps(setting.steps)), **options_of("ours"))
    ours = [Contender("ours", mine, seeds_of("ours"))]
    for name in VARIANTS[1:]:
        if name in changes:
            options = replace(mine, **options_of(name))
            ours.append(Contender(f"ours {name}", options, seeds_of(name)))
    if setting.device == "cpu":
        return ours
    peers = []
    counts = [int(c) for c in setting.peer.split(",") if c]
    for strategy, count in [("densify", c) for c in counts] + [("mcmc", setting.mcmc)]:
        if count:
            cap = len(ours[0].seeds.gaussians) if strategy == "mcmc" else NO_CAP
            options = replace(
                same, strategy=strategy, coarse_share=0.0, iterations=steps(count), max_splats=cap
            )
            peers.append(Contender(f"gsplat {strategy} {steps(count)}", options, points))
    return [*ours[:1], *peers[:1], *ours[1:], *peers[1:]]


def gpu_schedule(options: Optimiser, steps: int) -> Optimiser:
    """EDGS for thousands of steps: smaller ones than for the hundreds that the defaults are for."""
    return replace(
        options, iterations=steps, coarse_share=0.1, scale_rate=0.005, rotation_rate=0.002,
        opacity_rate=0.03, colour_rate=0.004,
    )  # fmt: skip

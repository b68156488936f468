"""Dense seeds without growing against gsplat's default from sparse points: quality over time.

    python -m tests.benchmarks.splats_gpu prepare source=fox/ scene=scene/ [budget=120000]
    python -m tests.benchmarks.splats_gpu run scene=scene/ out=out/ [steps=5000] [peer=7000,30000]

`prepare` needs no GPU and writes a compact folder; `run` needs CUDA and gsplat (device=cpu trains
ours alone, for a dry run with max_side=240 smoke=1). Every 8th photo is held out. Cameras are the
reference ones and stay, exposures are off, the photos' mean colour lies behind the splats, loss and
loop are the same for all. Ours: the EDGS schedule from our seeds. The peers start from the matches
triangulated with the same cameras (scale from three neighbours, opacity 0.1) with the rates of
3DGS, harmonics one degree more every 1000 steps, growing during the first half of their steps
(`densify`) or up to ours' number of seeds (`mcmc`). The clock runs while training: looks at the
held-out photos, matching and seeding are outside of it.
"""

import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from corr.errors import UserError
from recon.image_metrics import masked_ssim
from recon.render.base import Renderer
from recon.render.select import renderer_for
from recon.splats.gaussians import SH_C0, Gaussians
from recon.splats.optimiser import Optimiser
from recon.splats.pictures import Picture, prepare
from recon.splats.seeds import Seeds
from recon.splats.training import Loop
from tests.benchmarks.splats_gpu_report import draw_curve, draw_strip, table
from tests.benchmarks.splats_gpu_scene import GpuScene, load_scene
from tests.benchmarks.splats_gpu_scene import prepare as prepare_scene

POINT_OPACITY = 0.1  # of the splats on sparse points
WARM_UP = 30  # steps before the clock starts, of a training that is thrown away
SMOKE_STEPS = 100


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


def contenders(scene: GpuScene, setting: Setting, ours: dict[str, Any]) -> list[Contender]:
    """Ours first, then the peers; `ours` changes options of ours."""
    seeds = Seeds.load(scene.folder)
    seeds = replace(seeds, exposures=np.ones((len(scene.train), 3)))
    points = seeds_from_points(scene)
    same = Optimiser(
        max_side=setting.max_side, sh_degree=3, pose_px=0.0, exposure_rate=0.0, stop_view=False,
        random_background=False,
    )  # fmt: skip

    def steps(count: int) -> int:
        return min(SMOKE_STEPS, count) if setting.smoke else count

    mine = replace(gpu_schedule(same, steps(setting.steps)), **ours)
    found = [Contender("ours", mine, seeds)]
    peer = replace(same, coarse_share=0.0)
    counts = [int(c) for c in setting.peer.split(",") if c]
    for strategy, count in [("densify", c) for c in counts] + [("mcmc", setting.mcmc)]:
        if count:
            cap = len(seeds.gaussians) if strategy == "mcmc" else peer.max_splats
            options = replace(peer, strategy=strategy, iterations=steps(count), max_splats=cap)
            found.append(Contender(f"gsplat {strategy} {steps(count)}", options, points))
    return found if setting.device != "cpu" else found[:1]


def gpu_schedule(options: Optimiser, steps: int) -> Optimiser:
    """EDGS for thousands of steps: smaller ones than for the hundreds that the defaults are for."""
    return replace(
        options, iterations=steps, coarse_share=0.1, scale_rate=0.005, rotation_rate=0.002,
        opacity_rate=0.03, colour_rate=0.004,
    )  # fmt: skip


class HeldOut:
    """The photos that nobody trains on."""

    def __init__(self, scene: GpuScene, renderer: Renderer, max_side: int, device: torch.device):
        self.renderer, self.device = renderer, device
        self.views = scene.held
        self.photos: list[Picture] = [
            prepare(v, scene.pictures, scene.masks, max_side, device) for v in scene.held
        ]

    @torch.no_grad()
    def render(self, loop: Loop) -> list[torch.Tensor]:
        """Pictures h w 3 in [0, 1]."""
        splats, drawn = loop.splats.gaussians(), []
        for view, photo in zip(self.views, self.photos, strict=True):
            pose = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32).to(self.device)
            out = self.renderer.render(splats, photo.camera, pose, background=loop.background)
            drawn.append(out.rgb.clamp(0, 1))
        return drawn

    def psnr(self, loop: Loop) -> list[float]:
        """PSNR of each photo, dB, over the pixels that undistortion filled."""
        found = []
        for rgb, photo in zip(self.render(loop), self.photos, strict=True):
            error, weight = (rgb - photo.target.rgb).square().mean(-1), photo.target.weight
            mean = error.mean() if weight is None else (error * weight).sum() / weight.sum()
            found.append(float(-10 * mean.log10()))
        return found

    def ssim(self, loop: Loop) -> list[float]:
        """SSIM of each photo, windows that lie inside (see `recon.image_metrics`)."""
        found = []
        for rgb, photo in zip(self.render(loop), self.photos, strict=True):
            weight = photo.target.weight
            mask = None if weight is None else weight.cpu().numpy() > 0
            found.append(masked_ssim(rgb.cpu().numpy(), photo.target.rgb.cpu().numpy(), mask))
        return found


def wait(device: torch.device) -> None:
    """Until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def train(
    contender: Contender, scene: GpuScene, held: HeldOut, setting: Setting
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Train one contender, look at the held-out photos now and then with the clock stopped."""
    o, device = contender.options, held.device
    rest = (scene.train, scene.pictures, scene.masks, held.renderer, device, setting.seed)
    warm = Loop(replace(o, iterations=WARM_UP), contender.seeds, *rest)
    while warm.step < warm.end:
        warm.advance()
    del warm
    loop = Loop(o, contender.seeds, *rest)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    curve, used = [_look(loop, held, 0.0)], 0.0
    while loop.step < loop.end and used < setting.limit_s:
        wait(device)
        start, until = perf_counter(), min(loop.end, loop.step + setting.every)
        while loop.step < until:
            loop.advance()
        wait(device)
        used += perf_counter() - start
        curve.append(_look(loop, held, used))
        print(f"{contender.name}: {curve[-1]}", flush=True)
    ssim = held.ssim(loop)
    memory = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else 0.0
    record = {
        "name": contender.name, "strategy": o.strategy, "steps": loop.step, "asked": o.iterations,
        "seconds": used, "ms_per_step": 1e3 * used / max(1, loop.step), "memory_mb": memory,
        "seeds": len(contender.seeds.gaussians), "splats": len(loop.splats),
        "psnr": curve[-1]["psnr"], "ssim": float(np.mean(ssim)), "psnr_photos": held.psnr(loop),
        "ssim_photos": ssim, "curve": curve, "options": asdict(o),
    }  # fmt: skip
    return record, [rgb.cpu() for rgb in held.render(loop)]


def _look(loop: Loop, held: HeldOut, seconds: float) -> dict[str, Any]:
    psnr = float(np.mean(held.psnr(loop)))
    return {"step": loop.step, "seconds": seconds, "psnr": psnr, "splats": len(loop.splats)}


def run(setting: Setting, ours: dict[str, Any]) -> str:
    """Train everybody; results are written after each, so that a cut-off run leaves something."""
    renderer = renderer_for(setting.device)
    device = torch.device(setting.device)
    scene, out = load_scene(Path(setting.scene)), Path(setting.out)
    out.mkdir(parents=True, exist_ok=True)
    held = HeldOut(scene, renderer, setting.max_side, device)
    begin, records, pictures, text = perf_counter(), [], {}, ""
    for contender in contenders(scene, setting, ours):
        if records and perf_counter() - begin > setting.total_s:
            print(f"{contender.name}: not started, total_s={setting.total_s:g} is used up")
            continue
        record, pictures[contender.name] = train(contender, scene, held, setting)
        records.append(record)
        card = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        facts = {"card": card, "torch": torch.__version__, "photos": len(scene.train)}
        facts |= {"held_out": len(scene.held), "points": len(scene.points_xyz)}
        (out / "results.json").write_text(json.dumps({**facts, "runs": records}, indent=1))
        text = table(records)
        (out / "table.txt").write_text(f"{facts}\n{text}\n")
        draw_curve(records).save(out / "curve.png")
        for i in range(min(setting.strips, len(scene.held))):
            columns = {"photo": held.photos[i].target.rgb.cpu()}
            columns |= {name: drawn[i] for name, drawn in pictures.items()}
            draw_strip(columns).save(out / f"held_{i}.png")
    return text


def read_arguments(words: list[str], names: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """`name=value` words; those that begin with `ours.` are options of the optimiser."""
    known = {f.name: type(f.default) for f in fields(Optimiser)}
    plain, ours = {}, {}
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("ours.") and name[5:] in known and equals:
            kind = known[name[5:]]
            ours[name[5:]] = value in ("1", "true") if kind is bool else kind(value)
        elif name in names and equals:
            plain[name] = value
        else:
            raise UserError(f"{word} is not understood; give name=value of {', '.join(names)}")
    return plain, ours


def main(words: list[str]) -> int:
    """The command line."""
    try:
        if words[:1] == ["prepare"]:
            names = ["source", "scene", "budget", "depth_side"]
            given, _ = read_arguments(words[1:], names)
            given = {"budget": "120000", "depth_side": "480", **given}
            if not given.get("source") or not given.get("scene"):
                raise UserError("prepare needs source=<folder with transforms.json> scene=<folder>")
            where = Path(given["source"]), Path(given["scene"])
            numbers = {name: int(given[name]) for name in ("budget", "depth_side")}
            print(prepare_scene(*where, **numbers))
        elif words[:1] == ["run"]:
            kinds = {f.name: type(f.default) for f in fields(Setting)}
            given, ours = read_arguments(words[1:], list(kinds))
            setting = Setting(**{name: kinds[name](value) for name, value in given.items()})
            if not setting.scene or not setting.out:
                raise UserError("run needs scene=<folder of prepare> out=<folder>")
            print(run(setting, ours))
        else:
            raise UserError("say prepare or run, and name=value for what differs")
    except (UserError, ValueError) as error:
        print(f"splats_gpu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

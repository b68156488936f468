"""Dense seeds without growing against gsplat's default from sparse points: quality over time.

    python -m tests.benchmarks.splats_gpu prepare source=fox/ scene=scene/ [budget=120000]
    python -m tests.benchmarks.splats_gpu run scene=scene/ out=out/ [steps=5000] [peer=7000,30000]

`prepare` needs no GPU and writes a compact folder; `run` needs CUDA and gsplat (device=cpu trains
ours alone, for a dry run with max_side=240 smoke=1); `a.scale_rate=0.01 b.seeds=more/` and so on
try variants of ours.

Every 8th photo is held out. Cameras are the reference ones and stay, exposures are off, the photos'
mean colour lies behind the splats, loss and loop are the same for all. Ours: the EDGS schedule from
our seeds. The peers start from the matches triangulated with the same cameras (scale from three
neighbours, opacity 0.1) with the rates of 3DGS, harmonics one degree more every 1000 steps, growing
during the first half of their steps (`densify`) or up to ours' number of seeds (`mcmc`). The clock
runs while training: looks at the held-out photos, matching and seeding are outside of it.
"""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from corr.errors import UserError
from recon.image_metrics import masked_ssim
from recon.render.base import Renderer
from recon.render.select import renderer_for
from recon.splats.optimiser import Optimiser
from recon.splats.pictures import Picture, prepare
from recon.splats.training import Loop
from tests.benchmarks.splats_gpu_contenders import VARIANTS, Contender, Setting, contenders
from tests.benchmarks.splats_gpu_report import draw_curve, draw_strip, table
from tests.benchmarks.splats_gpu_scene import GpuScene, load_scene
from tests.benchmarks.splats_gpu_scene import prepare as prepare_scene

LEAST_S = 10.0  # of total_s below which nobody is started
WARM_UP = 30  # steps before the clock starts, of a training that is thrown away


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
    contender: Contender, scene: GpuScene, held: HeldOut, setting: Setting, limit_s: float
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Train one contender, look at the held-out photos now and then with the clock stopped."""
    o, device = contender.options, held.device
    rest = (scene.train, scene.pictures, scene.masks, held.renderer, device, setting.seed)
    warm = Loop(o, contender.seeds, *rest)
    while warm.step < min(WARM_UP, warm.end):
        warm.advance()
    del warm
    loop = Loop(o, contender.seeds, *rest)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    curve, used = [_look(loop, held, 0.0)], 0.0
    while loop.step < loop.end and used < limit_s:
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


def run(setting: Setting, changes: dict[str, dict[str, Any]]) -> str:
    """Train everybody; results are written after each, so that a cut-off run leaves something."""
    renderer = renderer_for(setting.device)
    device = torch.device(setting.device)
    scene, out = load_scene(Path(setting.scene)), Path(setting.out)
    out.mkdir(parents=True, exist_ok=True)
    held = HeldOut(scene, renderer, setting.max_side, device)
    begin, records, pictures, text = perf_counter(), [], {}, ""
    for contender in contenders(scene, setting, changes):
        left = setting.total_s - (perf_counter() - begin)
        if left < LEAST_S:
            print(f"{contender.name}: not started, total_s={setting.total_s:g} is used up")
            continue
        limit = min(left - LEAST_S, setting.limit_s)  # looks and pictures take some of it
        record, drawn = train(contender, scene, held, setting, limit)
        if not contender.name.startswith("ours "):
            pictures[contender.name] = drawn
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
            columns |= {name: several[i] for name, several in pictures.items()}
            draw_strip(columns).save(out / f"held_{i}.png")
    return text


def read_arguments(
    words: list[str], names: list[str]
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """`name=value` words; `ours.<option>=` and `a.<option>=` to `e.` are of variants of ours."""
    known = {f.name: type(f.default) for f in fields(Optimiser)} | {"seeds": str}
    plain: dict[str, str] = {}
    changes: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        variant, _, option = name.partition(".")
        if variant in VARIANTS and option in known and equals:
            kind = known[option]
            read = value in ("1", "true") if kind is bool else kind(value)
            changes.setdefault(variant, {})[option] = read
        elif name in names and equals:
            plain[name] = value
        else:
            raise UserError(f"{word} is not understood; give name=value of {', '.join(names)}")
    return plain, changes


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
            given, changes = read_arguments(words[1:], list(kinds))
            setting = Setting(**{name: kinds[name](value) for name, value in given.items()})
            if not setting.scene or not setting.out:
                raise UserError("run needs scene=<folder of prepare> out=<folder>")
            print(run(setting, changes))
        else:
            raise UserError("say prepare or run, and name=value for what differs")
    except (UserError, ValueError) as error:
        print(f"splats_gpu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

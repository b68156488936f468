"""What the GPU benchmark prints and draws: a table, the ratios of the bar, a curve, strips."""

from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from PIL import ImageDraw

TIME_BAR, SPLAT_BAR = 1 / 3, 0.6  # ours relative to gsplat's default
COLOURS = ((200, 30, 30), (30, 70, 200), (20, 140, 60), (140, 60, 170), (220, 140, 0))
WIDTH, HEIGHT, MARGIN = 900, 480, 60  # px of the curve


def seconds_to_reach(curve: list[dict[str, Any]], psnr: float) -> dict[str, Any] | None:
    """The first look at which a training was as good; None = never."""
    return next((look for look in curve if look["psnr"] >= psnr), None)


def table(records: list[dict[str, Any]]) -> str:
    """One line per training, then how soon and with how many splats ours equals each peer."""
    head = (
        f"{'training':24s} {'steps':>6s} {'seconds':>8s} {'ms/step':>8s} {'PSNR':>7s} {'SSIM':>6s}"
    )
    lines = [f"{head} {'splats':>9s} {'MB':>6s}"]
    for r in records:
        cut = "" if r["steps"] == r["asked"] else f"  cut off of {r['asked']}"
        lines.append(
            f"{r['name']:24s} {r['steps']:6d} {r['seconds']:8.1f} {r['ms_per_step']:8.2f} "
            f"{r['psnr']:7.2f} {r['ssim']:6.3f} {r['splats']:9d} {r['memory_mb']:6.0f}{cut}"
        )
    ours, peers = (
        [r for r in records if (r["strategy"] == "edgs") is own] for own in (True, False)
    )
    lines += [ratio(mine, peer) for peer in peers for mine in ours]
    return "\n".join(lines)


def ratio(ours: dict[str, Any], peer: dict[str, Any]) -> str:
    """Time and splats of ours where it is as good as the peer at its end."""
    start = f"{ours['name']} against {peer['name']} ({peer['psnr']:.2f} dB): "
    look = seconds_to_reach(ours["curve"], peer["psnr"])
    if look is None:
        return start + f"not reached, {ours['psnr']:.2f} dB at most at the end"
    time, splats = look["seconds"] / peer["seconds"], look["splats"] / peer["splats"]
    met = "met" if time <= TIME_BAR and splats <= SPLAT_BAR else "missed"
    return start + (
        f"after {look['step']} steps, {look['seconds']:.1f} s = {time:.2f} of its time (bar "
        f"{TIME_BAR:.2f}), {look['splats']} splats = {splats:.2f} of its (bar "
        f"{SPLAT_BAR:.2f}): {met}"
    )


def draw_curve(records: list[dict[str, Any]]) -> PilImage.Image:
    """Held-out PSNR over the seconds of training (logarithmic), one line per training."""
    picture = PilImage.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    looks = [look for r in records for look in r["curve"] if look["seconds"] > 0]
    if not looks:
        return picture
    times, values = [x["seconds"] for x in looks], [x["psnr"] for x in looks]
    left, right = np.log10(min(times)), np.log10(max(times)) + 1e-9
    low, high = np.floor(min(values)), np.ceil(max(values)) + 1e-9

    def at(look: dict[str, Any]) -> tuple[float, float]:
        x = (np.log10(look["seconds"]) - left) / (right - left)
        y = (look["psnr"] - low) / (high - low)
        return MARGIN + x * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN)

    for value in range(int(low), int(high) + 1):
        y = at({"seconds": 10**left, "psnr": value})[1]
        pen.line([(MARGIN, y), (WIDTH - MARGIN, y)], fill=(225, 225, 225))
        pen.text((8, y - 6), f"{value} dB", fill="black")
    for seconds in (s * 10**p for p in range(-1, 4) for s in (1, 2, 5)):
        if left <= np.log10(seconds) <= right:
            x = at({"seconds": seconds, "psnr": low})[0]
            pen.line([(x, MARGIN), (x, HEIGHT - MARGIN)], fill=(225, 225, 225))
            pen.text((x - 8, HEIGHT - MARGIN + 6), f"{seconds:g} s", fill="black")
    for i, r in enumerate(records):
        colour = COLOURS[i % len(COLOURS)]
        pen.line([at(x) for x in r["curve"] if x["seconds"] > 0], fill=colour, width=2)
        label = f"{r['name']}: {r['psnr']:.2f} dB, {r['splats']} splats, {r['seconds']:.0f} s"
        pen.text((MARGIN + 8, 6 + 12 * i), label, fill=colour)
    return picture


def draw_strip(columns: dict[str, torch.Tensor]) -> PilImage.Image:
    """Pictures h w 3 in [0, 1] side by side under their names."""
    rgb = torch.cat(list(columns.values()), dim=1).clamp(0, 1).numpy()
    picture = PilImage.fromarray(np.round(rgb * 255).astype(np.uint8))
    pen, width = ImageDraw.Draw(picture), picture.width // len(columns)
    for i, name in enumerate(columns):
        pen.rectangle([(i * width, 0), (i * width + 6 * len(name) + 8, 16)], fill="black")
        pen.text((i * width + 4, 2), name, fill="white")
    return picture

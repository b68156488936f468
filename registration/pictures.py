"""Overlay pictures: both scans before and after, from three sides, and how far they are apart."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from registration.cloud import PointCloud
from registration.render import STAGE, Splats, draw, framed, look, surface_normals, visible

SOURCE_RGB = np.array([255, 146, 56], np.uint8)
TARGET_RGB = np.array([74, 144, 255], np.uint8)
FAR_RGB = np.array([92, 97, 108], np.uint8)  # farther than the colour scale reaches
PANEL = (560, 460)  # pixels per view
MOST_POINTS = 60_000  # per cloud and picture
DISTANCE_FULL = 2.0  # voxels at the end of the colour scale
VIEW_NAMES = ("from the front", "from the side", "from above")
_SCALE_STOPS = np.array(
    [[40, 60, 190], [48, 180, 220], [120, 220, 130], [250, 210, 70], [235, 70, 50]], float
)
_GAP, _GAP_GREY = 4, 60  # pixels between the views
_GUESSED_FROM = 8000  # points that upwards is guessed from


@dataclass(frozen=True, eq=False)
class Pair:
    """What is drawn, thinned.

    Args:
        source: Points of the source in its own frame.
        target: Points of the target.
        moved: The same source points in the target's frame; None if there is no answer.
        distance: Of every moved point to the target, voxels; None if there is no answer.
        spacing: Typical distance between drawn points, data's unit.
        source_rgb: Own colours of the source points, None if it has none.
        target_rgb: Own colours of the target points, None if it has none.
        up: Upwards in the target's frame.
        front: Where the first view looks, target's frame.
    """

    source: Float[np.ndarray, "n 3"]
    target: Float[np.ndarray, "m 3"]
    moved: Float[np.ndarray, "n 3"] | None
    distance: Float[np.ndarray, " n"] | None
    spacing: float
    source_rgb: UInt8[np.ndarray, "n 3"] | None
    target_rgb: UInt8[np.ndarray, "m 3"] | None
    up: Float[np.ndarray, " 3"]
    front: Float[np.ndarray, " 3"]


def upright(cloud: PointCloud) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Upwards and the direction of the first view, guessed from how the points lie.

    A cloud that lies in front of the origin like the picture of a depth camera is looked at along
    z, and upwards is the commonest normal around -y (a floor, a table); anything else has z
    upwards and is looked at across its longer side.
    """
    xyz = cloud.xyz[:: max(1, len(cloud) // _GUESSED_FROM)]
    wide = np.quantile(abs(xyz[:, :2]) / np.maximum(xyz[:, 2:], 1e-12), 0.95)
    if (xyz[:, 2] > 0).mean() > 0.99 and wide < 1.6:
        up = commonest_normal(surface_normals(xyz), np.array([0.0, -1.0, 0.0]))
        return up, np.array([0.0, 0.0, 1.0]) - up[2] * up
    flat = xyz[:, :2] - xyz[:, :2].mean(axis=0)
    shorter = np.linalg.eigh(flat.T @ flat)[1][:, 0]
    return np.array([0.0, 0.0, 1.0]), np.array([shorter[0], shorter[1], 0.0])


def commonest_normal(
    normals: Float[np.ndarray, "n 3"], about: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"]:
    """The direction within 50 degrees of `about` that most normals share; else `about` itself."""
    along = normals @ about
    near = (normals * np.sign(along)[:, None])[abs(along) > np.cos(np.radians(50))]
    if len(near) < 0.1 * len(normals):
        return about
    some = near[:: max(1, len(near) // 500)]
    agree = some @ near.T > np.cos(np.radians(8))
    mean = near[agree[agree.sum(axis=1).argmax()]].mean(axis=0)
    return mean / np.linalg.norm(mean)


def viewing_directions(
    up: Float[np.ndarray, " 3"], front: Float[np.ndarray, " 3"]
) -> list[list[Float[np.ndarray, "3 3"]]]:
    """`cam_from_world` of front, side and above; of several the one that shows more is drawn."""
    side = np.cross(front, up)
    return [
        [look(front - 0.35 * up + 0.25 * side, up)],
        [look(front - 0.45 * up + turn * side, up) for turn in (-1.2, 1.4)],
        [look(-up + 0.12 * front, up)],
    ]


def distance_colours(distance: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Blue (on the surface) over green to red (`DISTANCE_FULL` voxels), grey beyond."""
    share = np.clip(distance / DISTANCE_FULL, 0, 1)
    stops = np.linspace(0, 1, len(_SCALE_STOPS))
    rgb = np.stack([np.interp(share, stops, _SCALE_STOPS[:, k]) for k in range(3)], axis=1)
    rgb = rgb.round().astype(np.uint8)
    rgb[distance > DISTANCE_FULL] = FAR_RGB
    return rgb


def write_pictures(folder: Path, pair: Pair) -> list[str]:
    """Write `overlay_*.png` and return their names: before, after, distance, colours."""
    target = coloured(pair.target, TARGET_RGB)
    source = coloured(pair.source, SOURCE_RGB)
    made = {"overlay_before.png": before_picture(source, target, pair)}
    if pair.moved is not None and pair.distance is not None:
        moved = coloured(pair.moved, SOURCE_RGB)
        made["overlay_after.png"] = _labelled(
            panels([target, moved], pair), "after", _pair_legend()
        )
        seen = replace(moved, rgb=distance_colours(pair.distance))
        made["overlay_distance.png"] = _labelled(
            panels([seen], pair), "source, distance to the target", _scale_legend()
        )
        if pair.source_rgb is not None and pair.target_rgb is not None:
            own = [replace(target, rgb=pair.target_rgb), replace(moved, rgb=pair.source_rgb)]
            made["overlay_colours.png"] = _labelled(panels(own, pair), "after, own colours", [])
    for stale in folder.glob("overlay_*.png"):
        stale.unlink()
    for name, picture in made.items():
        PilImage.fromarray(picture).save(folder / name)
    return list(made)


def coloured(xyz: Float[np.ndarray, "n 3"], rgb: UInt8[np.ndarray, " 3"]) -> Splats:
    """Points in one colour, with normals for the light."""
    return Splats(xyz, surface_normals(xyz), np.tile(rgb, (len(xyz), 1)))


def before_picture(source: Splats, target: Splats, pair: Pair) -> UInt8[np.ndarray, "h w 3"]:
    """Both scans in the frames in which they came; far-apart ones are centred and say so."""
    note, shift = "before, as given", target.xyz.mean(axis=0) - source.xyz.mean(axis=0)
    extent = max(np.ptp(source.xyz, axis=0).max(), np.ptp(target.xyz, axis=0).max())
    if np.linalg.norm(shift) > 4 * extent:
        source = replace(source, xyz=source.xyz + shift)
        note = "before, moved to one centre"
    return _labelled(panels([target, source], pair), note, _pair_legend())


def panels(parts: list[Splats], pair: Pair) -> UInt8[np.ndarray, "h w 3"]:
    """The three views side by side.

    Args:
        parts: What is drawn.
        pair: Says how large points are and what is up.
    """
    splats = Splats(
        np.concatenate([p.xyz for p in parts]), np.concatenate([p.normals for p in parts]),
        np.concatenate([p.rgb for p in parts]),
    )  # fmt: skip
    views, radius = [], 0.62 * pair.spacing
    for choices in viewing_directions(pair.up, pair.front):
        framings = [framed(splats.xyz, c, aspect=PANEL[0] / PANEL[1]) for c in choices]
        best = framings[0]
        if len(framings) > 1:
            best = max(framings, key=lambda v: visible(splats.xyz, v, radius))
        views += [draw(splats, best, PANEL, radius),
                  np.full((PANEL[1], _GAP, 3), _GAP_GREY, np.uint8)]  # fmt: skip
    return np.concatenate(views[:-1], axis=1)


def _pair_legend() -> list[tuple[str, np.ndarray]]:
    return [("source", SOURCE_RGB), ("target", TARGET_RGB)]


def _scale_legend() -> list[tuple[str, np.ndarray]]:
    values = np.linspace(0, DISTANCE_FULL, 5)
    steps = [(f"{v:g}", distance_colours(np.array([v]))[0]) for v in values]
    return [*steps, ("voxels", np.array(STAGE, np.uint8)), ("farther", FAR_RGB)]


def _labelled(
    picture: UInt8[np.ndarray, "h w 3"], title: str, legend: list[tuple[str, np.ndarray]]
) -> UInt8[np.ndarray, "h w 3"]:
    """Names of the views, a title on the left and a legend on the right."""
    canvas = PilImage.fromarray(picture)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=16)
    small = ImageFont.load_default(size=14)
    for k, name in enumerate(VIEW_NAMES):
        x = k * (PANEL[0] + _GAP) + 14
        pen.text((x, PANEL[1] - 28), name, fill=(150, 158, 172), font=small)
    pen.text((14, 10), title, fill=(232, 235, 240), font=font)
    wide = sum(int(pen.textlength(name, font=small)) + 30 for name, _ in legend)
    pen.rectangle((canvas.width - wide - 10, 0, canvas.width, 34), fill=STAGE)
    x = canvas.width - 14
    for name, colour in reversed(legend):
        x -= int(pen.textlength(name, font=small))
        pen.text((x, 11), name, fill=(210, 216, 226), font=small)
        if tuple(colour) != STAGE:
            x -= 18
            pen.ellipse((x, 14, x + 11, 25), fill=tuple(int(c) for c in colour))
        x -= 12
    return np.asarray(canvas)

"""Worlds with known truth: points, cameras on an arc, and matches as a cell-based matcher gives."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from corr.geometry import Camera, Rigid3
from corr.matches import Matches
from corr.photos import Image
from recon.scene import View


@dataclass(frozen=True)
class World:
    """What a matcher would see, and the truth behind it."""

    images: tuple[Image, ...]
    views: tuple[View, ...]
    xyz: np.ndarray
    matches: dict[tuple[int, int], Matches]
    point_of_id: tuple[dict[int, int], ...]  # per photo: registry id -> point


WIDTH, HEIGHT, FOCAL = 611, 467, 640.0


def look_at(centre: np.ndarray, target: np.ndarray) -> Rigid3:
    """cam_from_world of a camera at `centre` that looks at `target`; the world's y points down."""
    z = (target - centre) / np.linalg.norm(target - centre)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return Rigid3(R, -R @ centre)


def ring_scene(
    num_views: int = 5,
    num_points: int = 600,
    *,
    noise_px: float = 0.0,
    outlier_ratio: float = 0.0,
    seed: int = 0,
    step_deg: float = 9.0,
    flat: bool = False,
    turning: bool = False,
    prior: bool = True,
    folder: Path | None = None,
) -> World:
    """Cameras on an arc around a cloud (or a plane), or turning on the spot.

    Args:
        num_views: Photos.
        num_points: Points; every photo sees nearly all of them.
        noise_px: Gaussian, of every observation's position.
        outlier_ratio: Share of the matches that end at a random place (and a foreign id).
        seed: Of everything random.
        step_deg: Angle between neighbours.
        flat: All points on one plane.
        turning: All cameras at one place (pure rotation), otherwise on the arc.
        prior: Photos carry the true focal length as EXIF would.
        folder: Where to write plain working copies; without it the images have no file.
    """
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (num_points, 3)) * [1.5, 1.1, 0.0 if flat else 1.0]
    camera = Camera.simple(WIDTH, HEIGHT, FOCAL)
    views = []
    for i in range(num_views):
        angle = np.radians(step_deg) * (i - (num_views - 1) / 2)
        if turning:
            centre = np.array([0.0, -0.3, -5.0])
            target = centre + np.array([np.sin(angle), 0.06, np.cos(angle)])
        else:
            centre = np.array([5 * np.sin(angle), -0.4 + 0.1 * np.cos(2.3 * i), -5 * np.cos(angle)])
            target = np.zeros(3)
        views.append(View(f"photo_{i}.png", camera, look_at(centre, target)))
    images = tuple(make_image(view.name, folder, prior=FOCAL if prior else None) for view in views)
    seen, uv, ids = [], [], []
    for view in views:
        place, depth = view.camera.project(view.cam_from_world.apply(xyz))
        inside = (depth > 0.1) & ((place > 2) & (place < np.array([WIDTH, HEIGHT]) - 2)).all(-1)
        seen.append(inside)
        uv.append(place + rng.normal(0, noise_px, place.shape))
        ids.append(rng.permutation(num_points))
    matches = {}
    for a in range(num_views):
        for b in range(a + 1, num_views):
            points = np.flatnonzero(seen[a] & seen[b])
            other = points.copy()
            wrong = rng.random(len(points)) < outlier_ratio
            other[wrong] = rng.permutation(other[wrong])
            score = np.where(wrong, 0.7, 1.0) * rng.uniform(0.5, 1, len(points))
            matches[a, b] = Matches(
                uv[a][points], uv[b][other], score,
                id_a=ids[a][points], id_b=ids[b][other],
            )  # fmt: skip
    point_of_id = tuple({int(n): p for p, n in enumerate(order)} for order in ids)
    return World(images, tuple(views), xyz, matches, point_of_id)


def make_image(name: str, folder: Path | None, *, prior: float | None) -> Image:
    """A photo of noise at working size."""
    path = (folder or Path("nowhere")) / f"{name}.png"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([*name.encode()])
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        PilImage.fromarray(pixels).save(path, compress_level=0)
    return Image(name, path, WIDTH, HEIGHT, prior, path, WIDTH, HEIGHT)


def with_foreign_photo(world: World, folder: Path, seed: int = 5) -> World:
    """The world plus a photo of something else: a few random matches with every other photo."""
    rng = np.random.default_rng(seed)
    number = len(world.images)
    image = make_image("foreign.png", folder, prior=world.images[0].focal_prior_px)
    matches = dict(world.matches)
    for a in range(number):
        n = 60
        matches[a, number] = Matches(
            rng.uniform(0, 1, (n, 2)) * [WIDTH, HEIGHT],
            rng.uniform(0, 1, (n, 2)) * [WIDTH, HEIGHT],
            rng.uniform(0, 0.6, n),
            id_a=10_000 + rng.permutation(n),
            id_b=10_000 + rng.permutation(n),
        )
    return replace(world, images=(*world.images, image), matches=matches)

"""A cow of ellipsoids, ray-cast: photo, mask and visible key-points with exact truth.

Object frame: x to the cow's front, y to its left, z up; its body is about two units long. Key-point
numbers are SPair-71k's of a cow (even: right, odd: left of the pairs 0 to 7; 9 to 12 the hooves,
15 to 18 the knees, 19 and 20 the horns), so its tables of twins and groups apply.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

FAR = 1e9
_LIGHT = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])


@dataclass(frozen=True, eq=False)
class Cow:
    """One instance: axis-aligned ellipsoids, their colours, and the key-points on them."""

    centre: Float[np.ndarray, "n 3"]
    radius: Float[np.ndarray, "n 3"]
    rgb: Float[np.ndarray, "n 3"]  # 0..1
    spots: Float[np.ndarray, "k 4"]  # directions and phases of the coat's pattern
    ids: tuple[str, ...]
    xyz: Float[np.ndarray, "m 3"]


@dataclass(frozen=True, eq=False)
class View:
    """A pinhole camera that looks at the cow, and what stands between them."""

    azimuth: float  # rad, 0 = from the front, positive towards its left
    elevation: float  # rad
    distance: float  # units
    focal_px: float
    width: int
    height: int
    shift_px: Float[np.ndarray, " 2"]  # of the principal point from the middle
    post: float  # u of an occluding post, share of the width; negative = none


@dataclass(frozen=True, eq=False)
class Rendering:
    """A picture and its truth."""

    rgb: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]  # of the cow along the camera's axis, units; 0 = not the cow
    ids: tuple[str, ...]  # of the visible key-points
    uv: Float[np.ndarray, "k 2"]
    occluded: bool
    truncated: bool


def make_cow(rng: np.random.Generator) -> Cow:
    """An instance with its own proportions, coat and pattern."""
    length, girth, leg, head = rng.uniform(
        [0.75, 0.30, 0.45, 0.20], [1.05, 0.45, 0.80, 0.28]
    )  # fmt: skip
    neck, horn, muzzle = rng.uniform([0.15, 0.12, 0.8], [0.40, 0.30, 1.2])
    coat, dark = rng.uniform(0.35, 0.95, 3), rng.uniform(0.05, 0.30, 3)
    pink = np.array([0.85, 0.55, 0.55]) * rng.uniform(0.8, 1.1)
    bone = np.array([0.9, 0.88, 0.75])
    parts: list[tuple[list[float], list[float], np.ndarray]] = []
    where: dict[str, list[float]] = {}
    parts.append(([0, 0, 0], [length, girth, girth], coat))
    x, z = length + 0.25, neck + 0.25
    parts.append(([length * 0.85, 0, 0.5 * z], [0.25, 0.18, 0.3], coat))
    parts.append(([x, 0, z], [head * 1.2, head * 0.8, head], coat))
    tip = x + head * 1.2 * muzzle
    parts.append(([tip, 0, z - 0.08], [head * 0.6, head * 0.55, head * 0.55], pink))
    where["8"] = [tip + head * 0.55, 0, z - 0.08 - head * 0.25]
    for side, (below, ear, eye, nostril, hoof_f, hoof_h, knee_f, knee_h, tip_horn) in (
        (-1, ("0", "2", "4", "6", "9", "11", "15", "17", "19")),
        (1, ("1", "3", "5", "7", "10", "12", "16", "18", "20")),
    ):
        ear_y = side * head * 1.35
        parts.append(([x - 0.08, ear_y, z + head * 0.45], [0.06, head * 0.6, 0.08], dark))
        where[ear] = [x - 0.06, ear_y + side * head * 0.5, z + head * 0.48]
        where[below] = [x, side * head * 0.8, z]
        parts.append(([x + head * 0.6, side * head * 0.6, z + 0.35 * head], [0.05] * 3, dark))
        where[eye] = [x + head * 0.6 + 0.045, side * (head * 0.6 + 0.015), z + 0.35 * head]
        parts.append(([tip + head * 0.5, side * head * 0.25, z], [0.04] * 3, dark))
        where[nostril] = [tip + head * 0.5 + 0.04, side * head * 0.25, z]
        parts.append(
            ([x - 0.1, side * head * 0.55, z + head + horn * 0.4], [0.04, 0.05, horn], bone)
        )
        where[tip_horn] = [x - 0.1, side * head * 0.55, z + head + horn * 1.3]
        for sign, hoof, knee in ((1, hoof_f, knee_f), (-1, hoof_h, knee_h)):
            lx, ly = sign * length * 0.65, side * girth * 0.6
            low = -girth * 0.6 - leg
            parts.append(([lx, ly, low / 2 - 0.15], [0.11, 0.10, leg * 0.62], coat))
            parts.append(([lx + 0.02, ly, low], [0.12, 0.10, 0.08], dark))
            where[hoof] = [lx + 0.12, ly + side * 0.03, low]
            where[knee] = [lx + 0.08, ly + side * 0.06, (low - girth * 0.4) / 2]
    parts.append(([-length - 0.05, 0, -0.1], [0.05, 0.05, 0.4], coat))
    parts.append(([-length - 0.07, 0, -0.5], [0.07, 0.07, 0.13], dark))
    where |= {"13": [-length, 0, 0.2], "14": [-length - 0.12, 0, -0.55]}
    ids = tuple(sorted(where, key=int))
    spots = np.concatenate([rng.normal(0, 3, (4, 3)), rng.uniform(0, 6.3, (4, 1))], 1)
    centre, radius, rgb = (np.array([p[k] for p in parts], dtype=float) for k in range(3))
    return Cow(centre, radius, rgb, spots, ids, np.array([where[i] for i in ids]))


def camera(view: View) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Rotation cam_from_object (OpenCV axes) and the camera's place in the object frame."""
    c, s = np.cos(view.elevation), np.sin(view.elevation)
    away = np.array([c * np.cos(view.azimuth), c * np.sin(view.azimuth), s])
    forward = -away
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    return np.stack([right, down, forward]), away * view.distance


def project(view: View, xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Pixels of object points."""
    R, eye = camera(view)
    p = (xyz - eye) @ R.T
    middle = np.array([view.width, view.height]) / 2 + view.shift_px
    return p[:, :2] / p[:, 2:] * view.focal_px + middle


def render(cow: Cow, view: View, rng: np.random.Generator) -> Rendering:
    """Ray-cast the cow before a smooth background, with a post in front if the view has one."""
    R, eye = camera(view)
    v, u = np.mgrid[: view.height, : view.width] + 0.5
    middle = np.array([view.width, view.height]) / 2 + view.shift_px
    ray = np.stack([(u - middle[0]) / view.focal_px, (v - middle[1]) / view.focal_px,
                    np.ones_like(u)], -1) @ R  # fmt: skip
    depth, colour = _cast(cow, eye, ray.reshape(-1, 3))
    mask = (depth < FAR).reshape(u.shape)
    picture = np.where(mask[..., None], colour.reshape(*u.shape, 3), _background(u, v, view, rng))
    post = np.abs(u / view.width - view.post) < 0.03
    if view.post >= 0:
        picture = np.where(post[..., None], [0.35, 0.25, 0.2], picture)
    uv, seen = _visible(cow, view, eye)
    if view.post >= 0:
        seen &= np.abs(uv[:, 0] / view.width - view.post) >= 0.03
    shown = mask & ~post if view.post >= 0 else mask
    noisy = picture + rng.normal(0, 0.01, picture.shape)
    border = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    return Rendering(
        np.clip(noisy * 255, 0, 255).astype(np.uint8),
        shown,
        np.where(shown, depth.reshape(u.shape), 0.0),
        tuple(i for i, s in zip(cow.ids, seen, strict=True) if s),
        uv[seen],
        occluded=bool(view.post >= 0 and (mask & post).any()),
        truncated=bool(border),
    )


def _cast(cow: Cow, eye: np.ndarray, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest hit along each ray (in ray lengths, FAR = none) and its shaded colour."""
    depth = np.full(len(ray), FAR)
    colour = np.zeros((len(ray), 3))
    for centre, radius, rgb in zip(cow.centre, cow.radius, cow.rgb, strict=True):
        d, o = ray / radius, (eye - centre) / radius
        a, b, c = (d * d).sum(1), d @ o, o @ o - 1
        root = b * b - a * c
        t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, FAR)
        near = (t > 0) & (t < depth)
        at = eye + ray[near] * t[near, None]
        normal = (at - centre) / radius**2
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        shade = 0.55 + 0.45 * np.clip(normal @ _LIGHT, 0, 1)
        pattern = np.sin(at @ cow.spots[:, :3].T + cow.spots[:, 3]).sum(1) > 1.0
        base = np.where(pattern[:, None], rgb * 0.55, rgb)
        depth[near], colour[near] = t[near], base * shade[:, None]
    return depth, colour


def _visible(cow: Cow, view: View, eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of all key-points, and which of them are in the picture and not hidden."""
    uv = project(view, cow.xyz)
    depth, _ = _cast(cow, eye, cow.xyz - eye)
    inside = ((uv >= 1) & (uv <= [view.width - 1, view.height - 1])).all(1)
    # Key-points lie on or just under the surface: hidden means that something is clearly nearer.
    slack = 0.07 / np.linalg.norm(cow.xyz - eye, axis=1)
    return uv, inside & (depth > 1 - slack)


def _background(u: np.ndarray, v: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """Sky above, ground below, both with soft waves."""
    low = v > view.height * rng.uniform(0.45, 0.7)
    sky, ground = rng.uniform([0.5, 0.6, 0.7], [0.8, 0.85, 1.0]), rng.uniform(0.2, 0.55, 3)
    wave = np.zeros_like(u)
    for _ in range(4):
        k = rng.normal(0, 0.08, 2)
        wave += np.sin(u * k[0] + v * k[1] + rng.uniform(0, 6.3)) * 0.04
    return np.where(low[..., None], ground, sky) + wave[..., None]

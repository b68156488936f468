"""A textured ball on a textured floor, ray-traced: exact pictures, depths, normals and tracks."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from corr.geometry import Camera, Rigid3
from corr.tracks import Tracks
from recon.dense.fusion import DensePoints, fuse
from recon.dense.neighbours import choose_neighbours, covisibility
from recon.dense.stereo import DepthMap, depth_maps
from recon.scene import Reconstruction, View
from recon.splats.seeder import Seeder
from recon.splats.seeding import make_seeds
from recon.splats.seeds import Seeds

BALL, RADIUS = np.array([0.1, 0.0, 0.45]), 0.6
SIZE = (123, 93)  # not divisible by eight
DISTANCE = 4.0
# Fusion as the seeding stage asks for it, written out so that tuning cannot move the tests.
FUSION = {"depth_tolerance": 0.012, "reproject_px": 1.0, "max_cost": 0.5, "min_angle_deg": 1.5}


@dataclass(frozen=True, eq=False)
class TrueScene:
    """What a reconstruction of the scene would be if it were perfect."""

    reconstruction: Reconstruction
    pictures: dict[str, np.ndarray]  # uint8 h w 3
    depth: dict[str, np.ndarray]  # h w, z at pixel centres
    normal: dict[str, np.ndarray]  # h w 3, camera frame


def look_at(centre, target=(0.0, 0.0, 0.2)) -> Rigid3:
    """`cam_from_world` of a camera that looks at a point, world z up."""
    forward = np.subtract(target, centre)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1.0))
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return Rigid3(R, -R @ np.asarray(centre, float))


def arc(count: int, *, step_deg: float = 12.0, size: tuple[int, int] = SIZE) -> tuple[View, ...]:
    """Cameras on an arc around the ball, 50 degrees above the floor."""
    camera = Camera.simple(*size, 1.2 * size[0])
    up = np.radians(50.0)
    angles = np.radians((np.arange(count) - (count - 1) / 2) * step_deg)
    centres = [
        DISTANCE * np.array([np.cos(up) * np.sin(a), -np.cos(up) * np.cos(a), np.sin(up)])
        for a in angles
    ]
    return tuple(View(f"v{i}.png", camera, look_at(c)) for i, c in enumerate(centres))


def distance_to_surface(xyz: np.ndarray) -> np.ndarray:
    """Unsigned, world units."""
    return np.minimum(np.abs(xyz[:, 2]), np.abs(np.linalg.norm(xyz - BALL, axis=1) - RADIUS))


def texture(xyz: np.ndarray) -> np.ndarray:
    """Solid colour in [0, 1]: waves of 4 to 20 px, so that every patch looks like itself only."""
    rng = np.random.default_rng(5)
    waves = rng.normal(size=(20, 3))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    waves *= 2 * np.pi / np.exp(rng.uniform(np.log(0.11), np.log(0.55), (20, 1)))
    phase = rng.uniform(0, 2 * np.pi, 20)
    mix = rng.normal(size=(20, 3)) * 0.35 + rng.normal(size=(20, 1)) * 0.55
    return np.clip(0.5 + np.sin(xyz @ waves.T + phase) @ mix * 0.075, 0.05, 0.95)


def trace(view: View, samples: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, surface normal (world) and world point per (sub)pixel."""
    camera = view.camera
    v, u = np.meshgrid(
        (np.arange(camera.height * samples) + 0.5) / samples,
        (np.arange(camera.width * samples) + 0.5) / samples,
        indexing="ij",
    )
    rays = camera.unproject(np.stack([u, v], -1), np.ones(u.shape)) @ view.cam_from_world.R
    origin = view.cam_from_world.centre
    floor = -origin[2] / rays[..., 2]
    b = rays @ (origin - BALL)
    a = (rays**2).sum(-1)
    disc = b**2 - a * (((origin - BALL) ** 2).sum() - RADIUS**2)
    ball = np.where(disc > 0, (-b - np.sqrt(np.maximum(disc, 0))) / a, np.inf)
    z = np.minimum(floor, ball)
    xyz = origin + rays * z[..., None]
    normal = np.where((ball < floor)[..., None], (xyz - BALL) / RADIUS, [0.0, 0.0, 1.0])
    return z, normal, xyz


def picture(view: View, samples: int = 3) -> np.ndarray:
    """The photo, uint8, averaged over samples x samples rays a pixel."""
    xyz = trace(view, samples)[2]
    w, h = view.camera.width, view.camera.height
    fine = texture(xyz.reshape(-1, 3)).reshape(h, samples, w, samples, 3)
    return np.round(fine.mean((1, 3)) * 255).astype(np.uint8)


def seen(xyz: np.ndarray, view: View, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and which points are in front there."""
    uv, z = view.camera.project(view.cam_from_world.apply(xyz))
    far_edge = [view.camera.width - 1, view.camera.height - 1]
    inside = (z > 0) & (uv > 1).all(1) & (uv < far_edge).all(1)
    at = np.where(inside[:, None], uv, 0).astype(int)
    return uv, inside & (z < depth[at[:, 1], at[:, 0]] * 1.01)


def build(views: tuple[View, ...], *, points: int = 250) -> TrueScene:
    """Photos and exact tracks for some cameras."""
    traced = {v.name: trace(v) for v in views}
    depth = {name: t[0] for name, t in traced.items()}
    rng = np.random.default_rng(1)
    pool = np.concatenate([t[2].reshape(-1, 3) for t in traced.values()])
    xyz = pool[rng.choice(len(pool), points, replace=False)]
    uv, visible = zip(*(seen(xyz, v, depth[v.name]) for v in views), strict=True)
    keep = np.sum(visible, axis=0) >= 2
    table = [
        (i, j, uv[j][p])
        for i, p in enumerate(np.flatnonzero(keep))
        for j in range(len(views))
        if visible[j][p]
    ]
    tracks = Tracks(
        np.array([t[0] for t in table], int),
        np.array([t[1] for t in table], int),
        np.array([t[2] for t in table], float).reshape(-1, 2),
        tuple(v.name for v in views),
    )
    rgb = np.round(texture(xyz[keep]) * 255).astype(np.uint8)
    return TrueScene(
        Reconstruction(views, xyz[keep], rgb, tracks),
        {v.name: picture(v) for v in views},
        depth,
        {v.name: traced[v.name][1] @ v.cam_from_world.R.T for v in views},
    )


@cache
def scene() -> TrueScene:
    """Four views, 12 degrees apart."""
    return build(arc(4))


def match_densely(true: TrueScene, *, iterations: int = 5) -> list[DepthMap]:
    """Depth maps at the photos' own size.

    The sparse points get noise of 2 % of the depth: between exact points the first depths of a
    flat floor would be exact too, and nothing would be left to match.
    """
    solved = true.reconstruction
    noise = np.random.default_rng(3).normal(0, 0.02 * DISTANCE, solved.xyz_world.shape)
    rough = replace(solved, xyz_world=solved.xyz_world + noise)
    near = choose_neighbours(covisibility(solved), 3)
    return depth_maps(rough, true.pictures, near, max_side=max(SIZE), iterations=iterations)


@cache
def maps() -> tuple[DepthMap, ...]:
    """Depth maps of `scene()`."""
    return tuple(match_densely(scene()))


@cache
def points() -> DensePoints:
    """Fused points of `scene()`."""
    return fuse(maps(), scene().pictures, **FUSION)


def exact_maps(true: TrueScene) -> list[DepthMap]:
    """Depth maps as perfect matching would give them."""
    return [
        DepthMap(
            v,
            v.camera,
            true.depth[v.name].astype(np.float32),
            true.normal[v.name].astype(np.float32),
            np.zeros(true.depth[v.name].shape, np.float32),
        )
        for v in true.reconstruction.views
    ]


def small_seeder(**options) -> Seeder:
    """The seeding stage at a size for tests."""
    tiny = {"budget": 2500, "max_side": 90, "iterations": 3, "neighbours": 3, "fill_stride": 4}
    return Seeder(**{**tiny, **options})


@cache
def seeds() -> Seeds:
    """Seed splats of `scene()`; not to be changed."""
    true = scene()
    rng = np.random.default_rng(0)
    return make_seeds(small_seeder(), true.reconstruction, true.pictures, {}, rng)[0]


def shifted(view: View, vector: np.ndarray, shift: np.ndarray) -> View:
    """The view with a small rotation (radians) and a translation (camera frame) on top."""
    from scipy.spatial.transform import Rotation

    move = Rigid3(Rotation.from_rotvec(vector).as_matrix(), np.asarray(shift, float))
    return replace(view, cam_from_world=move @ view.cam_from_world)

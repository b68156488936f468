"""Pictures of a mesh for the report, drawn on the CPU without a window."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from corr.geometry import Camera, Rigid3
from recon.scene import View
from recon.surface.mesh import Mesh

_BACKGROUND = 255
_SECTOR = 0.7  # share of the photos' sector that the pictures cover
_BACK_FACE = np.array([150, 110, 160])  # a hole looks through to this


def shaded_views(
    mesh: Mesh,
    views: Sequence[View] = (),
    *,
    count: int = 4,
    size: tuple[int, int] = (640, 480),
    colours: bool = True,
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The mesh under a head-light from several sides.

    Vertex colours are dimmed towards grazing faces; surfaces seen from behind are purple, so that
    holes and inside-out parts show.

    Args:
        mesh: What to draw, world.
        views: The photos' cameras: they tell which way is up and from where the scene was seen.
            Without any, the world's z is up and the pictures go all around.
        count: How many pictures, in order around the scene.
        size: Width and height, pixels.
        colours: False draws plain grey clay, which shows the shape better.

    Returns:
        `count` pictures, h w 3.
    """
    if len(mesh.faces) == 0:
        return [np.full((size[1], size[0], 3), _BACKGROUND, np.uint8) for _ in range(count)]
    cameras = viewpoints(mesh, views, count=count, size=size)
    return [draw(mesh, camera, pose, colours=colours) for camera, pose in cameras]


def draw(
    mesh: Mesh, camera: Camera, cam_from_world: Rigid3, *, colours: bool = True
) -> UInt8[np.ndarray, "h w 3"]:
    """One shaded picture from a given camera."""
    import open3d as o3d

    centre = cam_from_world.centre
    body = o3d.t.geometry.TriangleMesh()
    local = (mesh.vertices - centre).astype(np.float32)  # float32 survives far-away origins
    body.vertex.positions = o3d.core.Tensor.from_numpy(local)
    body.triangle.indices = o3d.core.Tensor.from_numpy(mesh.faces)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(body)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = camera.unproject(np.stack([x, y], -1), np.ones(x.shape)) @ cam_from_world.R
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    packed = np.concatenate([np.zeros_like(rays), rays], -1).astype(np.float32)
    hits = scene.cast_rays(o3d.core.Tensor.from_numpy(packed))
    hit = np.isfinite(hits["t_hit"].numpy())
    corner = mesh.faces[hits["primitive_ids"].numpy()[hit].astype(np.int64)]
    uv = hits["primitive_uvs"].numpy()[hit]
    share = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], axis=1)[..., None]
    normals = (mesh.vertex_normals[corner] * share).sum(1)
    flat = hits["primitive_normals"].numpy()[hit]
    facing = -(normals * rays[hit]).sum(1) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    front = (flat * rays[hit]).sum(1) < 0
    base = (mesh.rgb[corner] * share).sum(1) if colours else np.full((len(uv), 3), 205.0)
    base[~front] = _BACK_FACE
    light = 0.35 + 0.65 * np.clip(np.where(front, facing, np.abs(facing)), 0, 1)
    picture = np.full((*hit.shape, 3), _BACKGROUND, np.uint8)
    picture[hit] = np.clip(base * light[:, None], 0, 255).astype(np.uint8)
    return picture


def viewpoints(
    mesh: Mesh, views: Sequence[View], *, count: int, size: tuple[int, int]
) -> list[tuple[Camera, Rigid3]]:
    """Cameras on a circle around the mesh, through the middle of where the photos were taken.

    The circle's axis is the photos' common up. The pictures keep within the photos' own sector, at
    their mean height: farther round, a mesh of a corner or a wall shows nothing but its back.
    Photos from all around, or none, give the whole turn.
    """
    low, high = np.percentile(mesh.vertices, [1, 99], axis=0)
    target = 0.5 * (low + high)
    up = -np.sum([v.cam_from_world.R[1] for v in views], axis=0) if views else np.array([0, 0, 1.0])
    if np.linalg.norm(up) < 1e-6 * max(1, len(views)):
        up = np.array([0, 0, 1.0])
    up = up / np.linalg.norm(up)
    toward = np.array([v.cam_from_world.centre - target for v in views]).reshape(-1, 3)
    toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-12)
    front = toward.sum(0) if len(toward) else np.zeros(3)
    all_around = np.linalg.norm(front - (front @ up) * up) < 0.2 * max(1, len(toward))
    if all_around:
        front = np.cross(up, np.eye(3)[np.abs(up).argmin()])  # any start will do
    east = front - (front @ up) * up
    east /= np.linalg.norm(east)
    north = np.cross(up, east)
    azimuths = np.arctan2(toward @ north, toward @ east)
    if all_around:
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    elif count == 1:
        angles = np.array([np.median(azimuths)])
    else:
        middle = 0.5 * (azimuths.min() + azimuths.max())
        angles = middle + _SECTOR * np.linspace(-0.5, 0.5, count) * np.ptp(azimuths)
    height = float(np.clip((toward @ up).mean(), 0.25, 0.85)) if len(toward) else 0.45
    camera = Camera.simple(size[0], size[1], 1.2 * min(size))
    corners = mesh.vertices[:: max(1, len(mesh.vertices) // 20_000)]
    out = []
    for a in angles:
        flat = np.cos(a) * east + np.sin(a) * north
        direction = np.sqrt(1 - height**2) * flat + height * up
        distance = _fitting_distance(camera, looking_at(target + direction, target, up), corners)
        out.append((camera, looking_at(target + distance * direction, target, up)))
    return out


def _fitting_distance(camera: Camera, at_one: Rigid3, xyz: Float[np.ndarray, "n 3"]) -> float:
    """How far back the camera (now at distance 1) must go for the points to fill 90 %."""
    local = at_one.apply(xyz)
    half = 0.45 * np.array([camera.width, camera.height]) / camera.K.diagonal()[:2]
    need = np.abs(local[:, :2]) / half - (local[:, 2:] - 1.0)
    return float(max(np.percentile(need.max(axis=1), 99.5), 1e-9))


def looking_at(
    centre: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"], up: Float[np.ndarray, " 3"]
) -> Rigid3:
    """`cam_from_world` of a camera at `centre` that looks at `target`, `up` up in the picture."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return Rigid3(R, -R @ centre)

"""A still life of exact surfaces, cameras around it, and a renderer that knows the truth."""

from types import SimpleNamespace

import numpy as np
import open3d as o3d
import pytest
import torch
from scipy.spatial import cKDTree

from corr.geometry import Camera, Rigid3
from recon.render.base import Rendered, Renderer
from recon.scene import View
from recon.splats.gaussians import SH_C0, Gaussians


def look_at(centre, target, up=(0, 0, 1.0)):
    forward = np.subtract(target, centre)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return Rigid3(R, -R @ np.asarray(centre, float))


def ring(count, *, radius=4.0, height=2.0, size=(163, 121), arc_deg=360.0, target=(0, 0, 0.2)):
    camera = Camera.simple(*size, 1.1 * size[0])
    angles = np.radians(np.arange(count) * arc_deg / count)
    return [
        View(
            f"v{i}.png",
            camera,
            look_at((radius * np.cos(a), radius * np.sin(a), height), target),
        )
        for i, a in enumerate(angles)
    ]


def still_life():
    """A floor slab with two balls and a box on it, welded as separate closed bodies."""
    make = o3d.geometry.TriangleMesh
    floor = make.create_box(3.0, 3.0, 0.1).translate((-1.5, -1.5, -0.1))
    big = make.create_sphere(0.5, 60).translate((-0.4, 0.2, 0.5))
    small = make.create_sphere(0.25, 40).translate((0.6, -0.5, 0.25))
    box = make.create_box(0.5, 0.4, 0.6).translate((0.4, 0.4, 0.0))
    return floor + big + small + box


class TruthRenderer(Renderer):
    """Exact depth of a mesh; colours are those of the nearest splat. Honours the contract."""

    name = "truth"

    def __init__(self, surface):
        self.scene = o3d.t.geometry.RaycastingScene()
        self.scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(surface))

    def depth(self, view):
        """z per pixel, 0 where nothing is hit; and the hit points."""
        camera = view.camera
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        rays = camera.unproject(np.stack([x, y], -1), np.ones(x.shape))
        world = rays @ view.cam_from_world.R
        origin = np.broadcast_to(view.cam_from_world.centre, world.shape)
        t = self.scene.cast_rays(np.concatenate([origin, world], -1).astype(np.float32))["t_hit"]
        t = t.numpy()
        return np.where(np.isfinite(t), t, 0).astype(np.float32), origin + world * t[..., None]

    def render(self, gaussians, camera, cam_from_world, *, background=None, sh_degree=None):
        view = View("", camera, Rigid3.from_matrix(cam_from_world.numpy()))
        depth, points = self.depth(view)
        alpha = (depth > 0).astype(np.float32)
        rgb = np.zeros((*depth.shape, 3), np.float32)
        nearest = cKDTree(gaussians.means.numpy()).query(points[depth > 0])[1]
        colours = (0.5 + SH_C0 * gaussians.sh[:, 0]).clamp_min(0).numpy()
        rgb[depth > 0] = colours[nearest]
        return Rendered(torch.from_numpy(rgb), torch.from_numpy(alpha), torch.from_numpy(depth))


def splats_on(points, rgb=None):
    n = len(points)
    sh = torch.zeros(n, 1, 3) if rgb is None else torch.as_tensor((rgb - 0.5) / SH_C0)[:, None]
    return Gaussians(
        means=torch.as_tensor(points, dtype=torch.float32),
        log_scales=torch.full((n, 3), -4.0),
        quats_wxyz=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        logit_opacities=torch.full((n,), 4.0),
        sh=sh.float(),
    )


def surface_points(surface, count, seed=0):
    import trimesh

    body = trimesh.Trimesh(np.asarray(surface.vertices), np.asarray(surface.triangles))
    return trimesh.sample.sample_surface(body, count, seed=seed)[0]


@pytest.fixture(scope="session")
def world():
    """The helpers, by name; and the still life's renderer."""
    surface = still_life()
    return SimpleNamespace(
        look_at=look_at,
        ring=ring,
        surface=surface,
        renderer=TruthRenderer(surface),
        TruthRenderer=TruthRenderer,
        splats_on=splats_on,
        surface_points=surface_points,
    )

import numpy as np
import pytest
import torch

from recon.surface.depth_maps import cos_incidence, draw_depth
from recon.surface.mesher import Mesher
from recon.surface.metrics import surface_scores
from recon.surface.preview import shaded_views


def stripes(points):
    return np.clip(0.55 + 0.4 * np.sin(6 * points), 0, 1)


@pytest.fixture(scope="module")
def meshed(world):
    """The still life meshed from nine views, with striped photos."""
    views = world.ring(9, size=(203, 151))
    images, seen = {}, []
    for view in views:
        depth, points = world.renderer.depth(view)
        colour = np.where((depth > 0)[..., None], stripes(points), 0)
        images[view.name] = np.round(255 * colour).astype(np.uint8)
        seen.append(points[depth > 0])
    splats = world.splats_on(world.surface_points(world.surface, 60_000))
    mesh, report = Mesher().mesh(splats, views, images, world.renderer)
    return views, images, splats, np.concatenate(seen), mesh, report


def test_still_life_is_complete_and_accurate(meshed):
    _, _, _, seen, mesh, report = meshed
    scores = surface_scores(mesh, seen)
    assert scores.f1[0] > 0.98
    assert scores.f1[1] > 0.99
    assert scores.accuracy_median < 0.5 * report["voxel"]
    assert report["views"] == 9
    shares = report["rejected_share"]
    assert sum(shares.values()) + report["kept_share"] == pytest.approx(1.0, abs=1e-3)


def test_vertices_take_the_photos_colours(meshed):
    mesh, report = meshed[4:]
    error = np.abs(mesh.rgb / 255.0 - stripes(mesh.vertices))
    assert np.median(error) < 0.02
    assert report["vertices_coloured"] > 0.97


def test_masked_pixels_make_no_surface(meshed, world):
    views, images, splats, *_ = meshed
    masks = {}
    for view in views:  # keep what lies above the floor
        depth, points = world.renderer.depth(view)
        masks[view.name] = (depth > 0) & (points[..., 2] > 0.02)
    mesh, report = Mesher().mesh(splats, views, images, world.renderer, masks)
    assert mesh.vertices[:, 2].min() > -report["voxel"]
    assert report["rejected_share"]["masked"] > 0.2


class Sheets:
    """Every ray crosses all splats; each weighs its opacity, whatever lies in front."""

    def render(self, gaussians, camera, cam_from_world, **_):
        from recon.render.base import Rendered
        from recon.splats.gaussians import SH_C0

        z = (gaussians.means @ cam_from_world[2, :3] + cam_from_world[2, 3]).float()
        colour = 0.5 + SH_C0 * gaussians.sh[:, 0, :]
        size = (camera.height, camera.width)
        share = gaussians.logit_opacities.sigmoid()
        rgb = (share[:, None] * colour).sum(0).expand(*size, 3)
        full = torch.full(size, float(share.sum()))
        return Rendered(rgb, full, torch.full(size, float((share * z).sum())))


def sheets(world, view, depths, shares):
    """Splats on the view's axis at the depths, with the shares as opacities."""
    forward = view.cam_from_world.R[2]
    points = np.stack([view.cam_from_world.centre + s * forward for s in depths])
    splats = world.splats_on(points)
    splats.logit_opacities = torch.logit(torch.tensor(shares))
    return splats


def test_spread_is_large_where_a_ray_blends_two_surfaces(meshed, world):
    """Two parallel sheets, half of the weight each: depth lies between, spread tells."""
    from recon.surface.depth_maps import _depth_moments

    view = world.ring(1)[0]
    matrix = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32)
    for far, expected in ((3.0, 0.0), (5.0, 0.25)):
        splats = sheets(world, view, (3.0, far), (0.4, 0.4))
        depth, alpha, spread = _depth_moments(splats, view, matrix, Sheets())
        np.testing.assert_allclose(depth, (3 + far) / 2, rtol=1e-5)
        np.testing.assert_allclose(alpha, 0.8, rtol=1e-6)
        np.testing.assert_allclose(spread, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("near_share", "expected"), [(0.7, 3.0), (0.3, 5.0)], ids=["leak behind", "veil in front"]
)
def test_depth_is_that_of_the_majority(world, near_share, expected):
    view = world.ring(1)[0]
    splats = sheets(world, view, (3.0, 5.0), (near_share, 1 - near_share))
    depth, _, spread = draw_depth(splats, view, Sheets())
    np.testing.assert_allclose(depth, expected, rtol=1e-5)
    np.testing.assert_allclose(spread, 0.0, atol=2e-3)


def test_incidence_of_a_slanted_plane_is_exact_and_edges_are_grazing(world):
    camera = world.ring(1, size=(81, 61))[0].camera
    y, x = np.mgrid[:61, :81] + 0.5
    rays = camera.unproject(np.stack([x, y], -1), np.ones(x.shape))
    normal = np.array([0.3, -0.2, -1.0]) / np.linalg.norm([0.3, -0.2, -1.0])
    depth = (-2.0 / (rays @ normal)).astype(np.float32)
    expected = -(rays @ normal) / np.linalg.norm(rays, axis=-1)
    np.testing.assert_allclose(cos_incidence(depth, camera), expected, atol=0.01)
    depth[:, 40:] *= 1.5
    cos = cos_incidence(depth, camera)
    assert cos[:, 39:41].max() < 0.1
    assert cos[:, 42:].min() > 0.5


def test_preview_shows_the_mesh_from_several_sides(meshed):
    views, mesh = meshed[0], meshed[4]
    pictures = shaded_views(mesh, views, count=3, size=(101, 75))
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.shape == (75, 101, 3)
        assert picture.dtype == np.uint8
        drawn = (picture < 250).any(-1)
        assert 0.2 < drawn.mean() < 0.95
        assert not drawn[0].any()
    assert not np.array_equal(pictures[0], pictures[1])

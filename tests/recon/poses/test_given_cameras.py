"""Cameras that the user brings: files, intrinsics, priors and exact poses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from corr.errors import UserError
from corr.geometry import Rigid3
from recon.camera_metrics import score_cameras
from recon.colmap_io import write_colmap
from recon.export.transforms import write_transforms
from recon.poses.given import for_photos, read_given
from recon.poses.lens import Lens
from recon.poses.output import UNCERTAINTY_FILE
from recon.poses.solve import FINDINGS_FILE, PoseSolver
from recon.scene import View
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene


def true_views(world):
    return {v.name: v for v in world.views}


def turned(pose, degrees, seed):
    """A pose that is off by that much, about a random axis, and by as many percent in place."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    R = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix() @ pose.R
    centre = pose.centre + 0.01 * degrees * rng.normal(size=3)
    return Rigid3(R, -R @ centre)


def write(world, path, views=None):
    write_transforms(path, list(views or world.views), "images")
    return str(path)


def solve(world, folder, **options):
    return PoseSolver(**options).solve(world.images, world.matches, folder)


def test_known_poses_come_back_bit_by_bit(tmp_path):
    world = ring_scene(4, 300, noise_px=0.3, outlier_ratio=0.3, folder=tmp_path / "photos")
    cameras = write(world, tmp_path / "transforms.json")
    given = read_given(tmp_path / "transforms.json")
    found = solve(world, tmp_path / "out", cameras=cameras, use="known")
    for view in found.views:
        assert np.array_equal(view.cam_from_world.matrix, given[view.name].cam_from_world.matrix)
        assert view.camera.K[0, 0] == pytest.approx(FOCAL)
    assert len(found.views) == 4
    assert len(found.xyz_world) > 150
    nearest = np.linalg.norm(found.xyz_world[:, None] - world.xyz[None], axis=-1).min(-1)
    assert np.median(nearest) < 0.02  # in the given world, not a normalised one
    sigmas = json.loads((tmp_path / "out" / UNCERTAINTY_FILE).read_text())["cameras"]
    assert all(s["rotation_deg"] == 0 for s in sigmas.values())


def test_known_poses_place_photos_that_nothing_else_can(tmp_path):
    # Ten matches a pair are too few to verify anything; with poses they are good enough.
    world = ring_scene(3, 10, folder=tmp_path / "photos")
    with pytest.raises(UserError):
        solve(world, tmp_path / "a", focal_px=FOCAL)
    cameras = write(world, tmp_path / "transforms.json")
    found = solve(world, tmp_path / "b", cameras=cameras, use="known", min_inliers=8)
    assert len(found.views) == 3


def test_photos_without_a_pose_are_named(tmp_path):
    world = ring_scene(4, 200, folder=tmp_path / "photos")
    cameras = write(world, tmp_path / "transforms.json", world.views[:3])
    found = solve(world, tmp_path / "out", cameras=cameras, use="known")
    assert found.left_out == {"photo_3.png": f"{cameras} has no pose for it"}


def test_priors_are_improved_and_keep_their_world(tmp_path):
    world = ring_scene(5, 400, noise_px=0.3, outlier_ratio=0.2, folder=tmp_path / "photos")
    rough = [
        replace(v, cam_from_world=turned(v.cam_from_world, 0.5, i))
        for i, v in enumerate(world.views)
    ]
    cameras = write(world, tmp_path / "transforms.json", rough)
    found = solve(world, tmp_path / "out", cameras=cameras, sigma_deg=0.5, sigma_percent=1.0)
    score = score_cameras(found.views, true_views(world))
    before = score_cameras(rough, true_views(world))
    assert score.median_rotation_deg < 0.3 * before.median_rotation_deg
    for view, true in zip(found.views, world.views, strict=True):
        shift = view.cam_from_world.centre - true.cam_from_world.centre
        assert np.linalg.norm(shift) < 0.05  # of a path 3 units long: the given world is kept


def test_tight_priors_win_over_photos(tmp_path):
    world = ring_scene(4, 200, noise_px=1.0, folder=tmp_path / "photos")
    cameras = write(world, tmp_path / "transforms.json")
    found = solve(world, tmp_path / "out", cameras=cameras, sigma_deg=1e-5, sigma_percent=1e-5)
    score = score_cameras(found.views, true_views(world))
    assert score.rotation_deg.max() < 1e-3


def test_intrinsics_alone_are_held(tmp_path):
    world = ring_scene(4, 300, noise_px=0.5, folder=tmp_path / "photos", prior=False)
    cameras = write(world, tmp_path / "transforms.json")
    found = solve(world, tmp_path / "a", cameras=cameras, use="intrinsics")
    assert pytest.approx(world.views[0].camera.K) == found.views[0].camera.K
    assert score_cameras(found.views, true_views(world)).median_rotation_deg < 0.3
    wrong = [replace(v, camera=replace(v.camera, K=v.camera.K * [[1.03], [1.03], [1]]))
             for v in world.views]  # fmt: skip
    cameras = write(world, tmp_path / "wrong.json", wrong)
    held = solve(world, tmp_path / "b", cameras=cameras, use="intrinsics")
    assert held.views[0].camera.K[0, 0] == pytest.approx(1.03 * FOCAL)
    moved = solve(world, tmp_path / "c", cameras=cameras, use="intrinsics", refine="focal")
    assert abs(moved.views[0].camera.K[0, 0] / FOCAL - 1) < 0.025


def test_every_file_says_the_same(tmp_path):
    world = ring_scene(3, 50, folder=tmp_path / "photos")
    write(world, tmp_path / "transforms.json")
    found = solve(world, tmp_path / "run", focal_px=FOCAL)
    model = replace(found, views=world.views)
    write_colmap(tmp_path / "model" / "sparse" / "0", model)
    K = world.views[0].camera.K
    (tmp_path / "K.txt").write_text("\n".join(" ".join(map(repr, row)) for row in K.tolist()))
    import cv2

    for name in ("c.yml", "c.json", "c.xml"):
        file = cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_WRITE)
        file.write("image_width", WIDTH)
        file.write("image_height", HEIGHT)
        file.write("camera_matrix", K)
        file.write("distortion_coefficients", np.array([[0.1, -0.02, 0.001, 0.002, 0.0]]))
        file.release()
    for name in ("transforms.json", "model", "K.txt", "c.yml", "c.json", "c.xml"):
        given = for_photos(read_given(tmp_path / name), world.images)
        assert sorted(given) == [0, 1, 2]
        lens = given[1].lens
        assert (lens.focal_px, lens.cx, lens.width) == pytest.approx((FOCAL, WIDTH / 2, WIDTH))
        if name.startswith("c."):
            assert (lens.k1, lens.k2, lens.p1, lens.p2) == (0.1, -0.02, 0.001, 0.002)
        if name in ("transforms.json", "model"):
            pose = given[1].cam_from_world.matrix
            np.testing.assert_allclose(pose, world.views[1].cam_from_world.matrix, atol=1e-12)
        else:
            assert given[1].cam_from_world is None


def test_a_lens_for_another_size_is_scaled(tmp_path):
    world = ring_scene(2, 20, folder=tmp_path / "photos")
    big = [View(v.name, v.camera.resized(2 * WIDTH, 2 * HEIGHT), v.cam_from_world)
           for v in world.views]  # fmt: skip
    write(world, tmp_path / "t.json", big)
    assert for_photos(read_given(tmp_path / "t.json"), world.images)[0].lens == Lens.centred(
        WIDTH, HEIGHT, FOCAL
    )


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "there are no cameras at"),
        ("{}", {}, "no camera_matrix|neither a transforms"),
        ("TRANSFORMS", {"use": "known"}, None),
        ("OTHER", {}, "is about other_photo_0.png.*is named so"),
        ("NAN", {}, "not finite"),
        ("FISHEYE", {}, "OPENCV_FISHEYE camera is not understood"),
        ("K3", {}, "distortion k3 is not understood"),
        ("NO FRAMES", {}, "has no frames"),
        ("TURNED", {}, "another shape"),
        ("FAR", {"use": "known"}, "subtract an offset"),
        ("ONE PLACE", {"use": "known"}, "at one place"),
        ("ONE", {"use": "prior"}, "needs the poses of two photos"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, content, options, message):
    world = ring_scene(3, 100, folder=tmp_path / "photos")
    views = list(world.views)
    match content:
        case "OTHER":
            views = [replace(v, name=f"other_{v.name}") for v in views]
        case "TURNED":
            views = [View(v.name, v.camera.resized(HEIGHT, WIDTH), v.cam_from_world) for v in views]
        case "FAR":
            far = np.array([5e5, 5e6, 0])
            views = [replace(v, cam_from_world=Rigid3(v.cam_from_world.R, v.cam_from_world.t -
                             v.cam_from_world.R @ far)) for v in views]  # fmt: skip
        case "ONE PLACE":
            views = [replace(v, cam_from_world=views[0].cam_from_world) for v in views]
        case "ONE":
            views = views[:1]
    path = tmp_path / "cameras.json"
    if content == "{}":
        path.write_text(content)
    elif content is not None:
        write(world, path, views)
        record = json.loads(path.read_text())
        match content:
            case "NAN":
                record["frames"][1]["transform_matrix"][0][3] = float("nan")
            case "FISHEYE":
                record["camera_model"] = "OPENCV_FISHEYE"
            case "K3":
                record["k3"] = 0.5
            case "NO FRAMES":
                record["frames"] = []
        path.write_text(json.dumps(record))
    if message is None:
        assert solve(world, tmp_path / "out", cameras=str(path), **options).views
        return
    with pytest.raises(UserError, match=message):
        solve(world, tmp_path / "out", cameras=str(path), **options)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"poses\.use=known needs poses\.cameras"):
        PoseSolver(use="known")
    with pytest.raises(ValueError, match=r"poses\.refine is of given intrinsics"):
        PoseSolver(refine="focal")
    with pytest.raises(ValueError, match=r"poses\.focal_px or poses\.cameras, not both"):
        PoseSolver(focal_px=300.0, cameras="K.txt")
    with pytest.raises(ValueError, match=r"poses\.share must be one of size, folder, photo"):
        PoseSolver(share="lens")
    with pytest.raises(ValueError, match=r"poses\.sigma_deg must be positive"):
        PoseSolver(sigma_deg=0.0)


def test_wrong_poses_are_named(tmp_path):
    world = ring_scene(5, 400, noise_px=0.3, folder=tmp_path / "photos")
    # Every photo has the pose of another one, far enough to fit nothing.
    order = [2, 4, 1, 0, 3]
    mixed = [replace(v, cam_from_world=world.views[order[i]].cam_from_world)
             for i, v in enumerate(world.views)]  # fmt: skip
    cameras = write(world, tmp_path / "mixed.json", mixed)
    solve(world, tmp_path / "known", cameras=cameras, use="known")
    found = json.loads((tmp_path / "known" / FINDINGS_FILE).read_text())
    assert any("fit the poses of poses.cameras" in f for f in found)
    far = [replace(v, cam_from_world=turned(v.cam_from_world, 40, i))
           for i, v in enumerate(world.views)]  # fmt: skip
    cameras = write(world, tmp_path / "far.json", far)
    solve(world, tmp_path / "prior", cameras=cameras, use="prior")
    found = json.loads((tmp_path / "prior" / FINDINGS_FILE).read_text())
    assert any("sigmas from the poses of poses.cameras" in f for f in found)


def test_sigmas_of_wide_priors_are_those_of_the_photos(tmp_path):
    world = ring_scene(4, 300, noise_px=0.3, folder=tmp_path / "photos")
    cameras = write(world, tmp_path / "t.json")
    sigmas = []
    for name, options in (
        ("prior", {"use": "prior", "sigma_deg": 10.0, "sigma_percent": 20.0}),
        ("free", {"use": "intrinsics"}),
    ):
        solve(world, tmp_path / name, cameras=cameras, **options)
        record = json.loads((tmp_path / name / UNCERTAINTY_FILE).read_text())["cameras"]
        sigmas.append([s["rotation_deg"] for s in record.values()])
    assert sigmas[0] == pytest.approx(sigmas[1], rel=0.2)

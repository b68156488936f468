import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.errors import UserError
from corr.geometry import Rigid3, Sim3
from recon.camera_metrics import read_cameras, read_transforms, score_cameras
from recon.colmap_io import write_colmap
from recon.scene import View
from tests.synthetic import ring_scene

MOVED = Sim3(0.3, Rotation.from_rotvec([0.4, -1.1, 0.2]).as_matrix(), np.array([3.0, -1.0, 8.0]))


def moved(views, by=MOVED):
    return [View(v.name, v.camera, by.apply_to_camera(v.cam_from_world)) for v in views]


@pytest.mark.parametrize("num_views", [2, 3, 6])
def test_score_is_zero_for_a_moved_world(num_views):
    views = ring_scene(num_views, 5).views
    score = score_cameras(moved(views), {v.name: v for v in views})
    assert score.rotation_deg.max() < 1e-6
    assert score.centre_percent.max() < 1e-6
    assert score.placed_share == 1
    assert score.true_from_world.scale == pytest.approx(1 / 0.3)
    np.testing.assert_allclose(score.true_from_world.R, MOVED.R.T, atol=1e-7)


def test_one_wrong_camera_does_not_spoil_the_others():
    views = ring_scene(6, 5).views
    solved = moved(views)
    turn = Rigid3(Rotation.from_rotvec([0, 0.5, 0]).as_matrix(), np.array([0.0, 0.0, 1.0]))
    solved[2] = View(solved[2].name, solved[2].camera, turn @ solved[2].cam_from_world)
    score = score_cameras(solved, {v.name: v for v in views})
    assert score.median_rotation_deg < 1e-6
    assert score.median_centre_percent < 1e-6
    assert score.rotation_deg[2] == pytest.approx(np.degrees(0.5), abs=1e-6)
    assert score.centre_percent[2] > 10


def test_known_errors_are_measured():
    views = ring_scene(8, 5).views
    solved = list(views)
    tilt = Rotation.from_euler("x", 1.0, degrees=True).as_matrix()
    # Turned about its own centre: one degree of rotation, no shift.
    pose = views[3].cam_from_world
    solved[3] = View(views[3].name, views[3].camera, Rigid3(tilt @ pose.R, tilt @ pose.t))
    score = score_cameras(solved, {v.name: v for v in views})
    assert score.rotation_deg[3] == pytest.approx(1.0, abs=1e-6)
    assert score.centre_percent.max() < 1e-6


def test_photos_match_by_stem_and_missing_ones_count():
    views = ring_scene(5, 5).views
    solved = [View(v.name.replace(".png", ".jpg"), v.camera, v.cam_from_world) for v in views[:4]]
    score = score_cameras(solved, {f"images/{v.name}": v for v in views})
    assert score.placed_share == 0.8
    with pytest.raises(UserError, match="no placed photo has a true camera"):
        score_cameras(solved, {"other.png": views[0]})


def test_transforms_are_read_in_opencv_axes(tmp_path):
    views = ring_scene(3, 5).views
    frames = []
    for i, view in enumerate(views):
        world_from_cam = view.cam_from_world.inverse().matrix
        frame = {
            "file_path": f"./images/{view.name}",
            "transform_matrix": (world_from_cam @ np.diag([1, -1, -1, 1])).tolist(),
        }
        if i == 1:
            frame |= {"fl_x": 111.0, "fl_y": 112.0}
        frames.append(frame)
    record = {"w": 611, "h": 467, "fl_x": 640.0, "cx": 305.5, "cy": 233.5, "frames": frames}
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(record))
    for found in (read_transforms(path), read_cameras(path), read_cameras(tmp_path)):
        for view in views:
            back = found[view.name]
            np.testing.assert_allclose(
                back.cam_from_world.matrix, view.cam_from_world.matrix, atol=1e-9
            )
        np.testing.assert_allclose(found[views[0].name].camera.K, views[0].camera.K)
        assert found[views[1].name].camera.K[1, 1] == 112


def test_colmap_model_serves_as_truth(tmp_path):
    from corr.tracks import Tracks
    from recon.scene import Reconstruction

    views = ring_scene(3, 5).views
    none = np.zeros(0, dtype=np.int64)
    tracks = Tracks(none, none, np.zeros((0, 2)), tuple(v.name for v in views))
    empty = Reconstruction(views, np.zeros((0, 3)), np.zeros((0, 3), np.uint8), tracks)
    write_colmap(tmp_path, empty)
    assert score_cameras(moved(views), read_cameras(tmp_path)).rotation_deg.max() < 1e-6


def test_unusable_truth_is_named(tmp_path):
    with pytest.raises(UserError, match="no true cameras"):
        read_cameras(tmp_path / "nothing.json")
    (tmp_path / "bad.json").write_text('{"frames": [{"file_path": "a.png"}]}')
    with pytest.raises(UserError, match=r"not a usable transforms\.json"):
        read_cameras(tmp_path / "bad.json")


def test_binary_model_with_our_picture_names_is_read_as_truth(tmp_path):
    """What COLMAP writes by default, of what we export: names with .png behind them."""
    import pycolmap

    from corr.tracks import Tracks
    from recon.scene import Reconstruction

    views = ring_scene(4, 5).views
    none = np.zeros(0, dtype=np.int64)
    tracks = Tracks(none, none, np.zeros((0, 2)), tuple(v.name for v in views))
    empty = Reconstruction(tuple(views), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), tracks)
    for folder in ("text", "binary"):
        (tmp_path / folder).mkdir()
    write_colmap(tmp_path / "text", empty, name_suffix=".png")
    pycolmap.Reconstruction(tmp_path / "text").write_binary(str(tmp_path / "binary"))
    score = score_cameras(moved(views), read_cameras(tmp_path / "binary"))
    assert len(score.names) == 4
    assert score.rotation_deg.max() < 1e-6
    assert score.centre_percent.max() < 1e-6

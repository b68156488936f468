import numpy as np
import pytest

from corr.errors import UserError
from corr.geometry import Camera
from corr.tracks import Tracks
from recon.colmap_io import read_colmap, write_colmap
from recon.scene import Reconstruction, View
from tests.synthetic import ring_scene


@pytest.fixture
def reconstruction():
    world = ring_scene(3, 7)
    rng = np.random.default_rng(0)
    views = [*world.views]
    views[1] = View("a/photo_1.jpg", Camera.simple(313, 471, 299.7), views[1].cam_from_world)
    # The last view sees nothing: its line of observations is empty.
    track = np.repeat(np.arange(7), 2)
    image = np.tile([0, 1], 7)
    tracks = Tracks(track, image, rng.uniform(0, 300, (14, 2)), tuple(v.name for v in views))
    rgb = rng.integers(0, 256, (7, 3), dtype=np.uint8)
    return Reconstruction(tuple(views), world.xyz, rgb, tracks, {"x.jpg": "blurred — utterly"})


def test_round_trip_is_equal(tmp_path, reconstruction):
    write_colmap(tmp_path, reconstruction)
    back = read_colmap(tmp_path)
    np.testing.assert_array_equal(back.xyz_world, reconstruction.xyz_world)
    np.testing.assert_array_equal(back.rgb, reconstruction.rgb)
    for field in ("track", "image", "uv"):
        np.testing.assert_array_equal(
            getattr(back.tracks, field), getattr(reconstruction.tracks, field)
        )
    assert back.tracks.names == reconstruction.tracks.names
    assert back.left_out == reconstruction.left_out
    for a, b in zip(back.views, reconstruction.views, strict=True):
        assert (a.name, a.camera.width, a.camera.height) == (
            b.name,
            b.camera.width,
            b.camera.height,
        )
        np.testing.assert_array_equal(a.camera.K, b.camera.K)
        np.testing.assert_allclose(a.cam_from_world.R, b.cam_from_world.R, atol=1e-14)
        np.testing.assert_array_equal(a.cam_from_world.t, b.cam_from_world.t)


def test_names_with_spaces_survive(tmp_path, reconstruction):
    # COLMAP itself reads only the first word of such a name.
    view = reconstruction.views[0]
    names = ("two words.jpg", *reconstruction.tracks.names[1:])
    views = (View(names[0], view.camera, view.cam_from_world), *reconstruction.views[1:])
    t = reconstruction.tracks
    tracks = Tracks(t.track, t.image, t.uv, names)
    write_colmap(
        tmp_path, Reconstruction(views, reconstruction.xyz_world, reconstruction.rgb, tracks)
    )
    assert read_colmap(tmp_path).views[0].name == "two words.jpg"


def test_pycolmap_reads_it(tmp_path, reconstruction):
    import pycolmap

    write_colmap(tmp_path, reconstruction, name_suffix=".png")
    model = pycolmap.Reconstruction(str(tmp_path))
    assert model.num_reg_images() == 3
    assert model.num_points3D() == 7
    assert model.compute_num_observations() == 14
    assert len(model.cameras) == 2
    names = {image.name for image in model.images.values()}
    assert names == {f"{v.name}.png" for v in reconstruction.views}
    for view in reconstruction.views:
        image = model.find_image_with_name(f"{view.name}.png")
        np.testing.assert_allclose(
            image.cam_from_world().matrix(), view.cam_from_world.matrix[:3], atol=1e-12
        )
    before = [p.error for p in model.points3D.values()]
    model.update_point_3d_errors()
    np.testing.assert_allclose([p.error for p in model.points3D.values()], before, rtol=1e-3)


def test_read_what_pycolmap_wrote(tmp_path, reconstruction):
    import pycolmap

    write_colmap(tmp_path, reconstruction)
    (tmp_path / "again").mkdir()
    pycolmap.Reconstruction(str(tmp_path)).write_text(str(tmp_path / "again"))
    back = read_colmap(tmp_path / "again")
    assert {v.name for v in back.views} == {v.name for v in reconstruction.views}
    assert len(back.tracks.track) == 14
    assert back.left_out == {}


def test_empty_model_and_missing_file(tmp_path):
    none = np.zeros(0, dtype=np.int64)
    empty = Reconstruction(
        (), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), Tracks(none, none, np.zeros((0, 2)), ())
    )
    write_colmap(tmp_path, empty)
    assert read_colmap(tmp_path).views == ()
    with pytest.raises(UserError, match=r"cameras\.txt is missing"):
        read_colmap(tmp_path / "nowhere")


def test_distorted_camera_is_refused(tmp_path, reconstruction):
    write_colmap(tmp_path, reconstruction)
    path = tmp_path / "cameras.txt"
    path.write_text("1 SIMPLE_RADIAL 611 467 640 305 233 0.1\n2 PINHOLE 10 10 1 1 5 5\n")
    with pytest.raises(UserError, match="SIMPLE_RADIAL camera has distortion"):
        read_colmap(tmp_path)

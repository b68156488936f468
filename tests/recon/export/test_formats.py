"""Every splat format: round trip, its bar in decibels, its bytes, what it refuses."""

import dataclasses
import gzip
import json
import struct

import numpy as np
import pytest
import torch
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from corr.errors import UserError
from corr.geometry import Sim3
from recon.export.choice import FORMATS, SplatExport, named_formats
from recon.export.formats import SPLAT_FORMATS, export_splats, psnr_between, read_any
from recon.export.packing import from_smallest_three, smallest_three
from recon.export.splat_ply import read_splats, write_splats
from recon.flight import around
from recon.render.cpu.renderer import CpuRenderer
from recon.splats.transform import moved
from tests.recon.report.report_world import gaussians

GREY = np.full(3, 0.5)


@pytest.fixture(scope="module")
def scene():
    """A ball on a floor, with colours that change with the direction."""
    return gaussians(900, degree=2)


@pytest.fixture(scope="module")
def views(scene):
    return around(scene.means.double().numpy(), side=90)


@pytest.mark.parametrize("name", FORMATS)
def test_read_back_file_renders_as_near_as_its_format_promises(name, scene, views, tmp_path):
    path = tmp_path / f"s{SPLAT_FORMATS[name].suffix}"
    written = export_splats(scene, name, path, views, CpuRenderer(), GREY)
    assert written.psnr_db >= SPLAT_FORMATS[name].least_db
    assert len(read_any(path)) == len(scene)
    if name != "splat":
        assert read_any(path).sh_degree == 2
    assert f"{path}: " in written.text()


def test_bars_are_those_that_are_stated():
    assert SPLAT_FORMATS["ply"].least_db >= 60
    assert SPLAT_FORMATS["glb"].least_db >= 60
    assert SPLAT_FORMATS["spz"].least_db >= 40
    assert SPLAT_FORMATS["compressed"].least_db >= 40


def test_dot_splat_of_plain_colours_comes_near(views, tmp_path):
    plain = gaussians(900, degree=0)
    written = export_splats(plain, "splat", tmp_path / "s.splat", views, CpuRenderer(), GREY)
    assert written.psnr_db >= 40  # without harmonics only 8-bit rounding is lost


def test_comparison_sees_a_small_shift(scene, views):
    shifted = moved(scene, Sim3(1.0, np.eye(3), np.array([0.02, 0, 0])))
    assert psnr_between(scene, shifted, views, CpuRenderer(), GREY) < 40


@pytest.mark.parametrize("name", ["compressed", "spz", "splat", "glb"])
def test_what_is_not_finite_is_left_out(name, scene, views, tmp_path, caplog):
    broken = scene.detached()
    broken.means[3, 1] = float("nan")
    broken.log_scales[9] = float("inf")
    path = tmp_path / f"s{SPLAT_FORMATS[name].suffix}"
    export_splats(broken, name, path, views, CpuRenderer(), GREY)
    assert len(read_any(path)) == len(scene) - 2
    assert "2 splats are not finite" in caplog.text


def test_padded_ply_is_of_the_degree_asked_for(scene, views, tmp_path):
    path = tmp_path / "s.ply"
    written = export_splats(scene, "ply", path, views, CpuRenderer(), GREY, pad_to_degree=3)
    assert read_splats(path).sh_degree == 3
    assert np.isinf(written.psnr_db)


def test_smallest_three_come_back_in_both_signs():
    quats = np.random.default_rng(0).normal(size=(200, 4))
    largest, three = smallest_three(quats)
    back = from_smallest_three(largest, three)
    unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((back * unit).sum(axis=1)), 1, atol=1e-12)
    assert np.abs(three).max() <= np.sqrt(0.5) + 1e-12
    np.testing.assert_array_equal(smallest_three(np.zeros((1, 4)))[0], [0])


def test_spz_header_frame_and_size(scene, tmp_path):
    SPLAT_FORMATS["spz"].write(tmp_path / "s.spz", scene)
    data = gzip.decompress((tmp_path / "s.spz").read_bytes())
    magic, version, n, degree, bits, flags, zero = struct.unpack_from("<IIIBBBB", data)
    assert (magic, version, n, degree, flags, zero) == (0x5053474E, 3, len(scene), 2, 0, 0)
    assert len(data) == 16 + n * (9 + 1 + 3 + 3 + 4 + 24)
    raw = np.zeros((n, 3, 4), np.uint8)
    raw[:, :, 1:] = np.frombuffer(data, np.uint8, 9 * n, 16).reshape(n, 3, 3)
    stored = (raw.view("<i4")[..., 0] >> 8) / 2.0**bits
    expected = scene.means.numpy() * [1, -1, -1]  # y up, z towards the viewer
    np.testing.assert_allclose(stored, expected, atol=0.51 / 2**bits)


def test_spz_of_version_2_is_read(tmp_path):
    """One splat as other programs wrote it: three bytes x, y, z of the quaternion."""
    head = struct.pack("<IIIBBBB", 0x5053474E, 2, 1, 0, 12, 0, 0)
    xyz = b"".join(int(v * 4096).to_bytes(3, "little", signed=True) for v in (1.5, -2.0, 0.25))
    body = xyz + bytes([204]) + bytes([128] * 3) + bytes([96] * 3) + bytes([255, 128, 128])
    (tmp_path / "s.spz").write_bytes(gzip.compress(head + body))
    g = read_any(tmp_path / "s.spz")
    np.testing.assert_allclose(g.means.numpy(), [[1.5, 2.0, -0.25]], atol=1e-6)
    np.testing.assert_allclose(g.log_scales.numpy(), -4.0, atol=1e-6)
    np.testing.assert_allclose(float(g.opacities[0]), 0.8, atol=1e-6)


def test_sizes_that_spz_cannot_say_are_told(scene, tmp_path, caplog):
    small = moved(scene, Sim3(1e-5, np.eye(3), np.zeros(3)))
    SPLAT_FORMATS["spz"].write(tmp_path / "s.spz", small)
    assert "smaller or larger than it can say" in caplog.text


def test_compressed_ply_layout(scene, tmp_path):
    SPLAT_FORMATS["compressed"].write(tmp_path / "s.compressed.ply", scene)
    data = PlyData.read(str(tmp_path / "s.compressed.ply"))
    assert [e.name for e in data.elements] == ["chunk", "vertex", "sh"]
    assert len(data["chunk"].data) == 4
    names = data["chunk"].data.dtype.names
    assert names[:4] == ("min_x", "min_y", "min_z", "max_x")
    assert names[6:8] == ("min_scale_x", "min_scale_y")
    assert names[12:] == ("min_r", "min_g", "min_b", "max_r", "max_g", "max_b")
    assert data["vertex"].data.dtype.itemsize == 16
    assert len(data["sh"].data.dtype.names) == 24


def test_compressed_ply_under_a_plain_name_is_recognised(scene, tmp_path):
    SPLAT_FORMATS["compressed"].write(tmp_path / "s.ply", scene)
    assert read_any(tmp_path / "s.ply").sh_degree == 2


def glb_tree(path):
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[20 + size :]


def test_glb_is_of_the_ratified_layout(scene, tmp_path):
    path = tmp_path / "s.glb"
    SPLAT_FORMATS["glb"].write(path, scene)
    tree, _ = glb_tree(path)
    assert tree["extensionsUsed"] == ["KHR_gaussian_splatting"]
    primitive = tree["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0
    assert primitive["extensions"]["KHR_gaussian_splatting"]["kernel"] == "ellipse"
    names = primitive["attributes"]
    prefix = "KHR_gaussian_splatting:"
    assert {"POSITION", "COLOR_0", prefix + "SCALE", prefix + "OPACITY"} <= set(names)
    assert prefix + "SH_DEGREE_2_COEF_4" in names
    assert prefix + "SH_DEGREE_3_COEF_0" not in names
    low = tree["accessors"][names["POSITION"]]["min"]
    np.testing.assert_allclose(low, scene.means.min(dim=0).values.numpy())
    assert struct.unpack_from("<I", path.read_bytes(), 8)[0] == path.stat().st_size


def test_glb_with_a_turned_node_comes_back_turned(scene, views, tmp_path):
    path = tmp_path / "s.glb"
    SPLAT_FORMATS["glb"].write(path, scene)
    tree, rest = glb_tree(path)
    turn = Rotation.from_rotvec([np.pi / 2, 0, 0])
    inner = {"mesh": 0, "rotation": turn.as_quat().tolist(), "translation": [1, 0, 0]}
    tree["nodes"] = [{"children": [1], "scale": [2, 2, 2]}, inner]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    path.write_bytes(head + text + rest)
    world_from_mesh = Sim3(2.0, turn.as_matrix(), np.array([2.0, 0, 0]))
    expected = moved(scene, world_from_mesh)
    back = read_any(path)
    torch.testing.assert_close(back.means, expected.means, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.sh, expected.sh, atol=1e-5, rtol=0)
    assert psnr_between(back, expected, around(expected.means.double().numpy(), side=60),
                        CpuRenderer(), GREY) > 60  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.spz", b"nothing", "not an spz file"),
        (
            "s.spz",
            gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 4, 1, 0, 12, 0, 0), mtime=0),
            "vers",
        ),
        (
            "s.spz",
            gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 9, 0, 12, 0, 0), mtime=0),
            "ends be",
        ),
        ("s.splat", b"12345", "5 bytes are no whole number of 32-byte splats"),
        ("s.glb", b"glTF", "not a binary glTF file"),
        ("s.ply", b"nothing", "ply"),
        ("s.obj", b"", "splats are read from .ply, .compressed.ply, .spz, .splat, .glb"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_any(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_mesh_is_not_splats(tmp_path):
    from recon.export.mesh import write_mesh_glb
    from tests.recon.report.report_world import ball_mesh

    write_mesh_glb(tmp_path / "mesh.glb", ball_mesh())
    with pytest.raises(UserError, match="a mesh is not splats"):
        read_any(tmp_path / "mesh.glb")


def test_degree_four_fits_into_the_plain_ply_alone(views, tmp_path):
    g = dataclasses.replace(gaussians(20, degree=0), sh=torch.zeros(20, 25, 3))
    for name in ("spz", "compressed", "glb"):
        with pytest.raises(UserError, match=r"cannot be written: .* degree 3|up to degree 3"):
            export_splats(g, name, tmp_path / "s", views, CpuRenderer(), GREY)
    write_splats(tmp_path / "s.ply", g)
    assert read_splats(tmp_path / "s.ply").sh_degree == 4


def test_formats_are_named_with_colons_each_once():
    assert named_formats("format", "spz:ply,spz") == ("spz", "ply")
    with pytest.raises(ValueError, match="format must be of ply:compressed:spz:splat:glb, got sog"):
        named_formats("format", "ply:sog")
    with pytest.raises(ValueError, match=r"export\.pad_degree must be 0 to 4, got 7"):
        SplatExport(pad_degree=7)

"""Point clouds in and out: every format round trip, every refusal in one line."""

import logging
import re
import struct
from importlib.util import find_spec

import numpy as np
import pytest

from corr.errors import UserError
from registration.cloud import PointCloud
from registration.files import READERS, WRITERS, read_cloud, write_cloud

N = 237


@pytest.fixture
def cloud() -> PointCloud:
    rng = np.random.default_rng(3)
    normals = rng.normal(size=(N, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PointCloud(
        rng.uniform(-2, 3, (N, 3)), rgb=rng.integers(0, 256, (N, 3)).astype(np.uint8),
        normals=normals,
    )  # fmt: skip


# float32 at 3 m rounds by 2e-7 m, text has nine digits, LAS steps of the extent's millionth
TOLERANCE = {".ply": 3e-7, ".pcd": 3e-7, ".las": 1e-5, ".laz": 1e-5, ".bin": 3e-7}
LAZ = pytest.mark.skipif(find_spec("lazrs") is None, reason="lazrs is not installed")


@pytest.mark.parametrize(
    "suffix", [pytest.param(s, marks=LAZ) if s == ".laz" else s for s in WRITERS]
)
def test_what_is_written_is_read_again(cloud, tmp_path, suffix):
    path = tmp_path / f"cloud{suffix}"
    write_cloud(path, cloud)
    again = read_cloud(path)
    assert len(again) == N
    assert again.name == path.name
    assert abs(again.xyz - cloud.xyz).max() <= TOLERANCE.get(suffix, 1e-8)
    if suffix != ".npy":
        np.testing.assert_array_equal(again.rgb, cloud.rgb)
    if suffix not in (".npy", ".las", ".laz"):
        np.testing.assert_allclose(again.normals, cloud.normals, atol=2e-6)


@pytest.mark.parametrize("suffix", [".ply", ".xyz", ".csv", ".las", ".npz", ".pcd"])
def test_survey_coordinates_keep_their_millimetres(cloud, tmp_path, suffix):
    far = PointCloud(cloud.xyz * 100 + [500_000.123, 5_000_000.456, 321.0])
    path = tmp_path / f"utm{suffix}"
    write_cloud(path, far)
    assert abs(read_cloud(path).xyz - far.xyz).max() < 1e-3


def pcd(fields: str, size: str, kind: str, count: int, data: str, rows: bytes = b"") -> bytes:
    n = len(fields.split())
    lines = [
        "# .PCD v0.7", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {size}", f"TYPE {kind}",
        "COUNT" + " 1" * n, f"WIDTH {count}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {count}", f"DATA {data}",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode() + rows


UTM = np.array([[500_000.123, 5_000_000.456, 3], [500_001.5, 5_000_002.25, 4]])


@pytest.mark.parametrize("data", ["binary", "ascii"])
def test_pcd_of_doubles_keeps_them(tmp_path, data):
    rows = UTM.tobytes()
    if data == "ascii":
        rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in UTM).encode()
    (tmp_path / "a.pcd").write_bytes(pcd("x y z", "8 8 8", "F F F", 2, data, rows))
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.pcd").xyz, UTM)


@pytest.mark.parametrize("encoding", ["", "write_ascii", "compressed"])
def test_pcd_of_open3d_is_read_and_ours_by_it(cloud, tmp_path, encoding):
    import open3d as o3d

    theirs = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz))
    theirs.colors = o3d.utility.Vector3dVector(cloud.rgb / 255.0)
    theirs.normals = o3d.utility.Vector3dVector(cloud.normals)
    path = tmp_path / "a.pcd"
    o3d.io.write_point_cloud(path, theirs, **({encoding: True} if encoding else {}))
    found = read_cloud(path)
    np.testing.assert_allclose(found.xyz, cloud.xyz, atol=1e-6)
    np.testing.assert_allclose(found.normals, cloud.normals, atol=1e-6)
    np.testing.assert_array_equal(found.rgb, cloud.rgb)
    for offset in (0.0, 5e6):
        write_cloud(path, PointCloud(cloud.xyz + offset, rgb=cloud.rgb, normals=cloud.normals))
        again = o3d.io.read_point_cloud(path)
        np.testing.assert_allclose(np.asarray(again.points), cloud.xyz + offset, atol=1e-6)
        np.testing.assert_allclose(np.asarray(again.colors) * 255, cloud.rgb, atol=1e-6)
        np.testing.assert_allclose(np.asarray(again.normals), cloud.normals, atol=1e-6)


def test_pcd_with_padding_and_colours_as_floats_is_read(tmp_path):
    packed = struct.unpack("<f", struct.pack("<I", 0x010203))[0]
    rows = struct.pack("<fff4xfB", 1, 2, 3, packed, 9)
    head = pcd("x y z _ rgb label", "4 4 4 1 4 1", "F F F U F U", 1, "binary", rows)
    head = head.replace(b"COUNT 1 1 1 1 1 1", b"COUNT 1 1 1 4 1 1")
    (tmp_path / "a.pcd").write_bytes(head)
    found = read_cloud(tmp_path / "a.pcd")
    np.testing.assert_array_equal(found.xyz, [[1, 2, 3]])
    np.testing.assert_array_equal(found.rgb, [[1, 2, 3]])
    text = pcd("x y z rgb", "4 4 4 4", "F F F F", 1, "ascii", f"1 2 nan {packed!r}\n4 5".encode())
    (tmp_path / "b.pcd").write_bytes(text.replace(b"nan", b"3"))
    np.testing.assert_array_equal(read_cloud(tmp_path / "b.pcd").rgb, [[1, 2, 3]])


def ply(properties: list[str], rows: bytes, count: int, form: str, after: str = "") -> bytes:
    lines = [f"property {p}" for p in properties]
    head = ["ply", f"format {form} 1.0", "comment made by a test", f"element vertex {count}"]
    return ("\n".join([*head, *lines, *filter(None, [after]), "end_header"]) + "\n").encode() + rows


def test_ply_text_with_float_colours_and_faces_is_read(tmp_path):
    path = tmp_path / "mesh.ply"
    columns = [f"float {c}" for c in ("x", "y", "z", "red", "green", "blue")]
    faces = "element face 1\nproperty list uchar int vertex_indices"
    rows = b"0 0 0 1 0 0\n1 0 0 0 1 0\n0 1 0.5 0 0 0.5\n3 0 1 2\n"
    path.write_bytes(ply(columns, rows, 3, "ascii", faces))
    found = read_cloud(path)
    np.testing.assert_allclose(found.xyz, [[0, 0, 0], [1, 0, 0], [0, 1, 0.5]])
    np.testing.assert_array_equal(found.rgb, [[255, 0, 0], [0, 255, 0], [0, 0, 128]])


def test_ply_of_big_endian_doubles_with_unknown_properties_is_read(tmp_path):
    path = tmp_path / "big.ply"
    rows = b"".join(struct.pack(">fdddB", 7, k, 2 * k, 3 * k, k) for k in range(5))
    columns = ["float quality", "double x", "double y", "double z", "uchar label"]
    faces = "element face 0\nproperty list uchar int vertex_indices"
    path.write_bytes(ply(columns, rows, 5, "binary_big_endian", faces))
    np.testing.assert_array_equal(read_cloud(path).xyz[:, 2], 3 * np.arange(5))


def test_ply_with_lists_among_the_vertices_is_read(tmp_path):
    path = tmp_path / "list.ply"
    columns = ["float x", "float y", "float z", "list uchar int seen_by"]
    path.write_bytes(ply(columns, b"1 2 3 2 7 8\n4 5 6 1 9\n", 2, "ascii"))
    np.testing.assert_array_equal(read_cloud(path).xyz, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("1 2 3\n4 5 6\n7 8 9\n", ""),
        ("# a comment\n\n// another\n1,2,3\n4,5,6\n7,8,9\n", ""),
        ("X;Y;Z\n1;2;3\n4;5;6\n7;8;9\n", ""),
        ("3\n1 2 3 0.4\n4 5 6 0.5\n7 8 9 0.6\n", ""),
        ("3\n1 2 3 -50 10 20 255\n4 5 6 -51 10 20 30\n7 8 9 -52 1 2 3\n", "rgb"),
        ("1 2 3 0.5 0 1\n4 5 6 0.1 0.2 0.3\n7 8 9 0.9 0.9 0.1\n", "rgb"),
        ("1 2 3 0 0 1\n4 5 6 0 -1 0\n7 8 9 0.6 0.8 0\n", "normals"),
        ("1 2 3 9 8 7 0 0 1\n4 5 6 9 8 7 0 -1 0\n7 8 9 255 8 7 0.6 0.8 0\n", "rgb normals"),
        ("1 2 3 0 0 1 9 8 7\n4 5 6 0 -1 0 9 8 7\n7 8 9 0.6 0.8 0 255 8 7\n", "rgb normals"),
        ('"z","time","x","y"\n3,100,1,2\n6,101,4,5\n9,102,7,8\n', ""),
        ("//X,Y,Z,R,G,B\n1,2,3,1,2,3\n4,5,6,1,2,3\n7,8,9,200,2,3\n", "rgb"),
    ],
)
def test_text_columns_are_understood(tmp_path, text, has):
    path = tmp_path / "cloud.txt"
    path.write_text(text)
    found = read_cloud(path)
    np.testing.assert_array_equal(found.xyz, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert (found.rgb is not None) == ("rgb" in has)
    assert (found.normals is not None) == ("normals" in has)


def test_obj_vertices_and_colours_are_read(tmp_path):
    path = tmp_path / "mesh.obj"
    path.write_text("o thing\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nvn 0 0 1\nv 0 1 0 0 0 1\nf 1 2 3\n")
    found = read_cloud(path)
    assert len(found) == 3
    np.testing.assert_array_equal(found.rgb, 255 * np.eye(3))


def test_kitti_scan_is_read(tmp_path):
    path = tmp_path / "000000.bin"
    np.arange(20, dtype="<f4").tofile(path)
    np.testing.assert_array_equal(read_cloud(path).xyz[1], [4, 5, 6])


def test_npz_with_features_and_sensor_is_read(tmp_path):
    path = tmp_path / "a.npz"
    xyz = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    np.savez(path, xyz=xyz, features=np.zeros((9, 32)), sensor=[1.0, 2.0, 3.0])
    found = read_cloud(path)
    np.testing.assert_array_equal(found.xyz, xyz)
    np.testing.assert_array_equal(found.sensor, [1, 2, 3])


def test_points_that_are_not_finite_are_dropped_and_counted(tmp_path, cloud, caplog):
    path = tmp_path / "holes.npz"
    xyz = cloud.xyz.copy()
    xyz[3], xyz[8, 1] = np.nan, np.inf
    np.savez(path, xyz=xyz, rgb=cloud.rgb)
    with caplog.at_level(logging.WARNING):
        found = read_cloud(path)
    assert len(found) == len(found.rgb) == N - 2
    assert f"2 of {N} points are NaN or infinite, dropped" in caplog.text


def test_obj_with_colours_at_some_vertices_is_read_without(tmp_path):
    path = tmp_path / "part.obj"
    path.write_text("v 0 0 0 1 0 0\nv 1 0 0 # second\nv 0 1 0 0 0 1\n")
    found = read_cloud(path)
    np.testing.assert_array_equal(found.xyz, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert found.rgb is None


def part_of(suffix: str, keep: int, zeros: int = 0):
    """A maker of the first bytes (or all but the last) of a good file, and zeros."""

    def make(path):
        good = path.with_name(f"good{suffix}")
        write_cloud(good, PointCloud(np.random.default_rng(1).normal(size=(203, 3))))
        path.write_bytes(good.read_bytes()[:keep] + bytes(zeros))

    return make


def write_bytes(content: bytes):
    return lambda path: path.write_bytes(content)


REFUSALS = [
    ("a.ply", None, "there is no file .*a.ply.*ply .pcd"),
    ("a.stl", write_bytes(b"solid"), "files .stl are not supported; give .ply"),
    ("a", write_bytes(b"1 2 3"), "files without a suffix are not supported"),
    ("a.ply", lambda path: path.mkdir(), "is a folder"),
    ("a.ply", write_bytes(b""), "does not begin with 'ply'"),
    ("a.ply", write_bytes(b"ply\nformat ascii 1.0\n"), "header does not end"),
    ("a.ply", write_bytes(ply(["float a"], b"1\n", 1, "ascii")), "have no x, y, z but a"),
    ("a.ply", write_bytes(ply(["real x"], b"1\n", 1, "ascii")), "type 'real' is unknown"),
    ("a.ply", write_bytes(ply([], b"", 0, "ascii").replace(b"vertex", b"face")), "no element"),
    (
        "a.ply",
        write_bytes(ply([f"float {c}" for c in "xyz"], b"12", 9, "binary_little_endian")),
        "ends before its 9 vertices",
    ),
    (
        "a.ply",
        write_bytes(ply([f"float {c}" for c in "xyz"], b"1 2 3\n", 2, "ascii")),
        "announces 2 vertices of 3 numbers, it holds 1 of 3",
    ),
    ("a.ply", write_bytes(ply([f"float {c}" for c in "xyz"], b"", 0, "ascii")), "holds no points"),
    ("a.pcd", write_bytes(b"nonsense"), "does not begin like a PCD"),
    (
        "a.pcd",
        write_bytes(b"# .PCD v0.7\nVERSION 0.7\n"),
        "cannot be read as PCD: it is damaged: its header has no line FIELDS",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 4", "F F F", 2, "binary").replace(b"FIELDS", b"FEILDS")),
        "it is damaged: its header has no line FIELDS; write it again",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y zz", "4 4 4", "F F F", 2, "binary")),
        "its FIELDS must name x, y and z, got x y zz",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4", "F F F", 2, "binary")),
        "it is damaged: its header has 3 FIELDS, 2 SIZE, 3 TYPE and 3 COUNT",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 3", "F F F", 2, "binary")),
        "it is damaged: field z has TYPE F SIZE 3 COUNT 1",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 4", "F F F", 2, "binary", bytes(23))),
        "it is damaged: it ends before its 2 points do; copy it again",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 4", "F F F", 2, "ascii", b"1 2 3\n")),
        "it is damaged: its header announces 2 points of 3 numbers, it holds 1 of 3",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 4", "F F F", 2, "binary_compressed", b"\x09")),
        "it is damaged: its 2 points do not unpack",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "8 8 8", "F F F", 2, "binary_compressed", b"\x09")),
        "save it with DATA binary",
    ),
    (
        "a.pcd",
        write_bytes(pcd("x y z", "4 4 4", "F F F", -2, "binary")),
        "its POINTS must be a number, 0 or more",
    ),
    ("a.pcd", write_bytes(pcd("x y z", "4 4 4", "F F F", 0, "binary")), "holds no points"),
    ("a.txt", write_bytes(b""), "holds no points"),
    ("a.txt", write_bytes(b"# only a comment\n"), "holds no points"),
    ("a.txt", write_bytes(b"1 2\n3 4\n"), "columns x y z are needed"),
    ("a.txt", write_bytes(b"hello\nworld\n"), "no line begins with three numbers"),
    (
        "a.txt",
        write_bytes(b"1 2 3\n4 5\n"),
        "cannot be read as TXT: .*columns changed from 3 to 2 at row 2; delete or complete",
    ),
    ("a.csv", write_bytes(b"1,2,3\n4,five,6\n"), "cannot be read as CSV: .*five"),
    ("a.las", write_bytes(b"no lidar"), "cannot be read as LAS"),
    ("a.obj", write_bytes(b"f 1 2 3\n"), "holds no points"),
    ("a.npy", write_bytes(b""), "it is damaged, or holds other things"),
    ("a.npy", lambda path: np.save(path, np.zeros(5)), "n x 3 array of numbers .* holds 5"),
    ("a.npz", lambda path: np.savez(path, a=np.zeros(5)), "needs an array 'xyz', it holds a"),
    ("a.npz", lambda path: np.savez(path, xyz=np.zeros((5, 2))), "must be n x 3, got 5 x 2"),
    (
        "a.npz",
        lambda path: np.savez(path, xyz=np.zeros((5, 3)), rgb=np.zeros((4, 3))),
        "its rgb must be 5 x 3 as xyz is, got 4 x 3",
    ),
    ("a.npz", lambda path: np.savez(path, xyz=np.full((5, 3), np.nan)), "none of its 5 points"),
    ("a.ply", write_bytes(ply([], b"", -5, "ascii")), "damaged: .* announces -5 of element vertex"),
    ("a.ply", write_bytes(b"ply\nformat\nend_header\n"), "damaged: its header has a line 'format'"),
    (
        "a.ply",
        write_bytes(ply([f"float {c}" for c in "xyz"], b"1 2 3\n4 5\n", 2, "ascii")),
        "row 2; delete or complete that row$",
    ),
    ("a.obj", write_bytes(b"v 1 2 3\nv 4 5\n"), "row 2; delete or complete that row$"),
    ("a.las", part_of(".las", -1000), "LAS: it is damaged .*copy it again"),
    ("a.las", part_of(".las", 200), "LAS: it does not begin like a LAS file; it is damaged"),
    ("a.las", part_of(".las", 0, 3000), "LAS: it does not begin like a LAS file; it is damaged"),
    pytest.param("a.laz", part_of(".laz", -20), "LAZ: it is damaged .*copy it again", marks=LAZ),
    pytest.param(
        "a.laz", part_of(".laz", 400, 900), "LAZ: it is damaged .*copy it again", marks=LAZ
    ),
    ("a.npy", write_bytes(b"nopenopenope"), "damaged, or holds other .*save it again with NumPy$"),
    ("a.npz", write_bytes(b"nopenopenope"), "damaged, or holds other .*save it again with NumPy$"),
    ("a.npz", part_of(".npz", -100), "damaged, or holds other things than numbers"),
    ("a.npz", lambda path: np.savez(path, xyz=np.array([[{}] * 3])), "damaged, or holds other"),
    (
        "a.npz",
        lambda path: np.savez(path, xyz=np.eye(3), sensor=np.zeros(2)),
        "its sensor must be 3 numbers x, y, z, got 2",
    ),
    (
        "a.npz",
        lambda path: np.savez(path, xyz=np.eye(3), normals=np.eye(3) * 1j),
        "its normals must be real numbers, got complex128",
    ),
    ("a.npz", lambda path: np.savez(path, xyz=np.eye(3), noise=-np.ones(3)), "noise must be 0 or"),
    ("a.csv", write_bytes(b"x;y;z\n1,5;2,5;3,5\n"), "write decimals with points: 1.5 instead"),
    ("a.txt", write_bytes(b"1,5 2,5 3,5\n"), "write decimals with points"),
    ("a.csv", write_bytes(b"1\t-2,5e3\t3,5\t7\n"), "write decimals with points"),
    ("a.bin", write_bytes(b"12345"), "16 bytes per point, it has 5"),
]


@pytest.mark.parametrize(("name", "make", "message"), REFUSALS)
def test_bad_file_is_refused_in_one_line(tmp_path, name, make, message):
    path = tmp_path / name
    if make is not None:
        make(path)
    with pytest.raises(UserError, match=message) as caught:
        read_cloud(path)
    assert "\n" not in str(caught.value)
    assert not re.search("usecols|pickle", str(caught.value))
    assert re.search(name.split(".")[0], str(caught.value))


def test_unknown_suffix_is_refused_before_writing(cloud, tmp_path):
    with pytest.raises(UserError, match=r"written as \.ply"):
        write_cloud(tmp_path / "a.stl", cloud)
    assert not list(tmp_path.iterdir())


def test_laz_without_a_decompressor_says_what_to_install(tmp_path, monkeypatch):
    import laspy

    monkeypatch.setattr(laspy.LazBackend, "detect_available", classmethod(lambda cls: ()))
    (tmp_path / "a.laz").write_bytes(b"LASF")
    with pytest.raises(UserError, match=r"pip install 'few-view-recon\[laz\]'"):
        read_cloud(tmp_path / "a.laz")


def test_everything_that_is_written_can_be_read():
    assert set(WRITERS) <= set(READERS)

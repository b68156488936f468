import numpy as np
import pytest
import torch

from recon.export.dot_splat import SPLAT_DTYPE, to_dot_splat
from recon.export.splat_ply import read_splats, splat_properties
from recon.export.splat_ply import write_splats as write
from recon.splats.gaussians import SH_C0, Gaussians


def random_gaussians(n=7, degree=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    sizes = {"means": (n, 3), "log_scales": (n, 3), "quats_wxyz": (n, 4), "logit_opacities": (n,)}
    fields = {name: torch.randn(size, generator=g) for name, size in sizes.items()}
    return Gaussians(**fields, sh=torch.randn((n, (degree + 1) ** 2, 3), generator=g))


def assert_same_bits(a, b):
    for name, value in a.tensors().items():
        other = b.tensors()[name]
        assert other.dtype == value.dtype
        assert other.shape == value.shape, name
        assert value.numpy().tobytes() == other.contiguous().numpy().tobytes(), name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip_keeps_every_bit(tmp_path, degree):
    gaussians = random_gaussians(degree=degree)
    write(tmp_path / "s.ply", gaussians)
    assert_same_bits(gaussians, read_splats(tmp_path / "s.ply"))


def test_header_is_the_inria_layout(tmp_path):
    write(tmp_path / "s.ply", random_gaussians(n=3, degree=0))
    header, _, body = (tmp_path / "s.ply").read_bytes().partition(b"end_header\n")
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2"
    names += " rot_0 rot_1 rot_2 rot_3"
    golden = ["ply", "format binary_little_endian 1.0", "element vertex 3"]
    assert header.decode().split("\n") == [
        *golden,
        *(f"property float {name}" for name in names.split()),
        "",
    ]
    assert len(body) == 3 * 17 * 4
    assert len(splat_properties(3)) == 62


def test_rest_is_channel_major(tmp_path):
    gaussians = random_gaussians(n=1, degree=1)
    write(tmp_path / "s.ply", gaussians)
    body = (tmp_path / "s.ply").read_bytes().partition(b"end_header\n")[2]
    row = np.frombuffer(body, "<f4")
    expected = gaussians.sh[0, 1:].T.reshape(-1).numpy()  # three of red, three of green, ...
    np.testing.assert_array_equal(row[9:18], expected)


def test_padding_appends_zero_harmonics(tmp_path):
    gaussians = random_gaussians(degree=1)
    write(tmp_path / "s.ply", gaussians, pad_to_degree=3)
    back = read_splats(tmp_path / "s.ply")
    assert back.sh_degree == 3
    torch.testing.assert_close(back.sh[:, :4], gaussians.sh, rtol=0, atol=0)
    assert not back.sh[:, 4:].any()


def test_reads_ascii_file_without_normals_in_another_order(tmp_path):
    names = [n for n in splat_properties(0) if n not in ("nx", "ny", "nz")][::-1]
    header = ["ply", "format ascii 1.0", "comment by another tool", "element vertex 1"]
    values = " ".join(str(i) for i in range(len(names)))
    text = [*header, *(f"property double {n}" for n in names), "end_header", values, ""]
    (tmp_path / "s.ply").write_text("\n".join(text))
    back = read_splats(tmp_path / "s.ply")
    assert back.means.tolist() == [[13.0, 12.0, 11.0]]
    assert back.quats_wxyz.tolist() == [[3.0, 2.0, 1.0, 0.0]]
    assert back.means.dtype == torch.float32


def test_empty_set_survives(tmp_path):
    write(tmp_path / "s.ply", random_gaussians(n=0, degree=1))
    assert len(read_splats(tmp_path / "s.ply")) == 0


def test_refuses_a_point_cloud_naming_what_is_missing(tmp_path):
    text = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
    (tmp_path / "p.ply").write_text(text + "property float z\nend_header\n1 2 3\n")
    with pytest.raises(ValueError, match="lacks opacity"):
        read_splats(tmp_path / "p.ply")


def test_dot_splat_record_and_order():
    gaussians = random_gaussians(n=5, degree=1)
    gaussians.logit_opacities[3] = float("nan")
    records = np.frombuffer(to_dot_splat(gaussians), SPLAT_DTYPE)
    assert SPLAT_DTYPE.itemsize == 32
    assert len(records) == 4
    importance = records["rgba"][:, 3] / 255.0 * records["scale"].prod(axis=1)
    assert (np.diff(importance) <= 0.02 * importance[:-1]).all()
    i = int(np.argmin(np.abs(gaussians.means.numpy() - records["position"][0]).sum(axis=1)))
    np.testing.assert_allclose(records["scale"][0], gaussians.scales[i].numpy(), rtol=1e-6)
    rgb = np.clip(0.5 + SH_C0 * gaussians.sh[i, 0].numpy(), 0, 1)
    np.testing.assert_allclose(records["rgba"][0, :3] / 255.0, rgb, atol=0.5 / 255 + 1e-6)
    quat = (records["rot"][0].astype(float) - 128) / 128
    unit = gaussians.quats_wxyz[i] / gaussians.quats_wxyz[i].norm()
    assert abs(quat @ unit.numpy().astype(float)) > 0.99

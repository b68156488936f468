"""The bundled sample scene: what is promised about photos, truth and the script that makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
TRUTH = json.loads((SAMPLE / "truth/transforms.json").read_text())
NAMES = [f"photo_{k:02d}.jpg" for k in range(1, 13)]
K = np.array([[TRUTH["fl_x"], 0, TRUTH["cx"]], [0, TRUTH["fl_y"], TRUTH["cy"]], [0, 0, 1]])


def _cam_from_world(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one true camera: R, t with OpenCV axes."""
    frame = next(f for f in TRUTH["frames"] if f["file_path"] == f"photos/{name}")
    world_from_cam = np.array(frame["transform_matrix"]) @ np.diag([1.0, -1.0, -1.0, 1.0])
    R = world_from_cam[:3, :3].T
    return R, -R @ world_from_cam[:3, 3]


def _read_surface() -> np.ndarray:
    head, body = (SAMPLE / "truth/surface.ply").read_bytes().split(b"end_header\n", 1)
    count = int(head.split(b"element vertex ")[1].split()[0])
    return np.frombuffer(body, "<f4").reshape(count, 6).astype(np.float64)


def _project(name: str, xyz_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    R, t = _cam_from_world(name)
    xyz_cam = xyz_world @ R.T + t
    return (xyz_cam / xyz_cam[:, 2:]) @ K[:2].T, xyz_cam[:, 2]


def test_photos_are_twelve_of_the_size_in_the_truth():
    photos = sorted((SAMPLE / "photos").glob("*.jpg"))
    assert [photo.name for photo in photos] == NAMES
    assert {Image.open(photo).size for photo in photos} == {(TRUTH["w"], TRUTH["h"])}
    assert TRUTH["cx"] == TRUTH["w"] / 2
    assert TRUTH["cy"] == TRUTH["h"] / 2
    assert [frame["file_path"] for frame in TRUTH["frames"]] == [f"photos/{name}" for name in NAMES]


def test_files_stay_small():
    sizes = [(SAMPLE / "photos" / name).stat().st_size for name in NAMES]
    assert max(sizes) < 250_000
    assert sum(sizes) < 3_000_000
    assert (SAMPLE / "truth/surface.ply").stat().st_size < 4_000_000


def test_exif_focal_agrees_with_the_true_cameras():
    for name in NAMES:
        exif = Image.open(SAMPLE / "photos" / name).getexif()
        more = exif.get_ifd(ExifTags.IFD.Exif)
        assert exif[ExifTags.Base.Orientation] == 1
        assert more[ExifTags.Base.FocalPlaneResolutionUnit] == 3
        px_per_mm = float(more[ExifTags.Base.FocalPlaneXResolution]) / 10
        focal_px = float(more[ExifTags.Base.FocalLength]) * px_per_mm
        assert focal_px == pytest.approx(TRUTH["fl_x"], rel=1e-4)
        rounded_px = more[ExifTags.Base.FocalLengthIn35mmFilm] / 36 * TRUTH["w"]
        assert rounded_px == pytest.approx(TRUTH["fl_x"], rel=0.5 / 33)


def test_held_out_photos_are_three_inner_ones_with_kept_neighbours():
    held_out = (SAMPLE / "truth/held_out.txt").read_text().split()
    numbers = [NAMES.index(name) for name in held_out]
    assert len(numbers) == 3
    assert min(numbers) > 0
    assert max(numbers) < len(NAMES) - 1
    assert min(b - a for a, b in pairwise(numbers)) > 1


def test_neighbours_on_the_arc_are_ten_to_twenty_five_degrees_apart():
    held_out = (SAMPLE / "truth/held_out.txt").read_text().split()
    for names in (NAMES, [name for name in NAMES if name not in held_out]):
        for a, b in pairwise(names):
            forward_a, forward_b = _cam_from_world(a)[0][2], _cam_from_world(b)[0][2]
            centre_a, centre_b = (-R.T @ t for R, t in (_cam_from_world(a), _cam_from_world(b)))
            rays = [centre / np.linalg.norm(centre) for centre in (centre_a, centre_b)]
            angle_deg = np.degrees(np.arccos(rays[0] @ rays[1]))
            assert 9.5 < angle_deg < 25
            assert forward_a @ forward_b > 0.85


def test_sift_matches_obey_the_true_epipolar_geometry():
    names = ("photo_05.jpg", "photo_06.jpg")
    sift = cv2.SIFT_create()
    found = [
        sift.detectAndCompute(cv2.imread(str(SAMPLE / "photos" / n), cv2.IMREAD_GRAYSCALE), None)
        for n in names
    ]
    for keypoints, _ in found:
        assert 800 < len(keypoints) < 4000
    pairs = cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2)
    pairs = [m for m, n in pairs if m.distance < 0.8 * n.distance]
    # OpenCV puts the centre of the top-left pixel at (0, 0); here it is (0.5, 0.5).
    uv_a = np.array([found[0][0][m.queryIdx].pt for m in pairs]) + 0.5
    uv_b = np.array([found[1][0][m.trainIdx].pt for m in pairs]) + 0.5
    (R_a, t_a), (R_b, t_b) = (_cam_from_world(name) for name in names)
    R = R_b @ R_a.T
    t = t_b - R @ t_a
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    F = np.linalg.inv(K).T @ cross @ R @ np.linalg.inv(K)
    a, b = (np.column_stack([uv, np.ones(len(uv))]) for uv in (uv_a, uv_b))
    line_b, line_a = a @ F.T, b @ F
    slope = np.sqrt((line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1))
    distance_px = np.abs((b * line_b).sum(1)) / slope
    inliers = distance_px < 2.0
    assert inliers.sum() > 200
    assert inliers.mean() > 0.6
    assert np.median(distance_px[inliers]) < 0.5


def test_every_surface_point_is_in_two_kept_photos_and_faces_them():
    held_out = (SAMPLE / "truth/held_out.txt").read_text().split()
    surface = _read_surface()
    xyz, normal = surface[:, :3], surface[:, 3:]
    assert 50_000 < len(xyz) < 200_000
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    seen = np.zeros(len(xyz), int)
    for name in NAMES:
        if name in held_out:
            continue
        uv, depth = _project(name, xyz)
        R, t = _cam_from_world(name)
        facing = ((-R.T @ t - xyz) * normal).sum(1) > 0
        inside = (
            (depth > 0) & (uv > -0.01).all(1) & (uv < np.add((TRUTH["w"], TRUTH["h"]), 0.01)).all(1)
        )
        seen += inside & facing
    assert seen.min() >= 2


def _make(out: Path) -> dict[str, bytes]:
    command = [sys.executable, str(SAMPLE / "make.py"), "--out", str(out)]
    command += ["--scale", "0.1", "--samples", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_maker_writes_the_same_bytes_twice(tmp_path):
    once, twice = _make(tmp_path / "a"), _make(tmp_path / "b")
    assert sorted(once) == sorted(
        [f"photos/{name}" for name in NAMES]
        + ["truth/held_out.txt", "truth/surface.ply", "truth/transforms.json"]
    )
    assert once == twice
    made, bundled = json.loads(once["truth/transforms.json"]), TRUTH["frames"]
    assert [f["transform_matrix"] for f in made["frames"]] == [
        f["transform_matrix"] for f in bundled
    ]

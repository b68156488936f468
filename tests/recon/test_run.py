"""The whole job as a user runs it, on part of the sample scene."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from recon.colmap_io import read_colmap
from recon.export.mesh import read_mesh_ply
from recon.export.splat_ply import read_splats
from recon.export.transforms import read_transforms
from recon.report.metrics import Metrics
from tests.conftest import SAMPLE, TINY, command

pytestmark = pytest.mark.weights
STAGES = ["0_photos", "1_matches", "2_cameras", "3_seeds", "4_splats", "5_mesh"]
FILES = [
    "config.yaml", "run.log", "metrics.json", "report.html", "export/splats.ply",
    "export/sparse/0/uncertainty.json",
    "export/sparse/0/cameras.txt", "export/sparse/0/images.txt", "export/sparse/0/points3D.txt",
    "export/transforms.json", "export/mesh.ply", "export/mesh.glb", "export/points.ply",
    "3_seeds/seeds.ply", "held_out/photo_05_render.png", "renders/photo_01.png",
]  # fmt: skip


def test_run_leaves_every_result(tiny_run):
    missing = [f for f in FILES if not (tiny_run / "run" / f).is_file()]
    assert not missing
    assert not list((tiny_run / "run").glob("*.partial"))


def test_run_places_every_photo_and_scores_the_held_out_one(tiny_run):
    metrics = Metrics.read(tiny_run / "run")
    assert metrics.photos.placed == 5
    assert metrics.photos.left_out == {}
    assert [s.name for s in metrics.held_out.per_photo] == ["photo_05.jpg"]
    assert metrics.held_out.psnr_mean > 17  # 160 x 120 and 40 steps: a floor, not a bar
    assert metrics.cameras.median_rotation_deg < 1.0
    assert metrics.cameras.placed_share == 1.0
    assert metrics.surface.f1_2pct > 0.3
    assert metrics.metadata.seed == 0


def test_run_says_in_the_end_what_it_did(tiny_run):
    text = (tiny_run / "stdout.txt").read_text()
    for part in ("5 of 5 photos placed", "held-out photos: PSNR", "MB at most", "report: run"):
        assert part in text


def test_exports_share_one_frame(tiny_run):
    folder = tiny_run / "run" / "export"
    colmap = {v.name: v for v in read_colmap(folder / "sparse" / "0").views}
    other = {Path(v.name).name: v for v in read_transforms(folder / "transforms.json")}
    for name, view in colmap.items():
        twin = other[name]
        assert (folder / "images" / name).is_file()
        here, there = view.cam_from_world.matrix, twin.cam_from_world.matrix
        np.testing.assert_allclose(here, there, atol=1e-9)
        np.testing.assert_allclose(view.camera.K, twin.camera.K, atol=1e-9)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert model.num_reg_images() == 5
    assert model.compute_mean_reprojection_error() < 2.0
    points = np.array([p.xyz for p in model.points3D.values()])
    splats = read_splats(folder / "splats.ply").means.numpy()
    mesh = read_mesh_ply(folder / "mesh.ply").vertices
    for cloud in (splats, mesh):
        low, high = np.percentile(points, [5, 95], axis=0)
        middle = np.median(cloud, axis=0)
        assert np.all(middle > low - (high - low))
        assert np.all(middle < high + (high - low))


def test_second_run_repeats_no_stage(tiny_run):
    before = {s: (tiny_run / "run" / s / "stage.json").stat().st_mtime_ns for s in STAGES}
    done = command(
        "recon", "run", "scene.use=every:2", "scene.hold_out=photo_05.jpg", "out=run", *TINY,
        cwd=tiny_run,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    after = {s: (tiny_run / "run" / s / "stage.json").stat().st_mtime_ns for s in STAGES}
    assert after == before
    assert all(s.reused for s in Metrics.read(tiny_run / "run").stages if s.reused is not None
               and s.name in {x[2:] for x in STAGES})  # fmt: skip


def test_eval_scores_a_finished_run_again(tiny_run):
    before = Metrics.read(tiny_run / "run")
    done = command("recon", "eval", "run=run", cwd=tiny_run)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "held-out photos: PSNR" in done.stdout
    after = Metrics.read(tiny_run / "run")
    assert after.held_out.psnr_mean == pytest.approx(before.held_out.psnr_mean, abs=1e-6)
    assert after.cameras == before.cameras


def test_eval_refuses_to_score_an_input_photo_as_held_out(tiny_run, tmp_path):
    import shutil

    done = command("recon", "eval", "run=run", "hold_out=photo_01.jpg", cwd=tiny_run)
    assert done.returncode == 1
    assert "photo_01.jpg is an input photo of this run" in done.stderr
    shutil.copy(SAMPLE / "photos" / "photo_03.jpg", tmp_path / "other_name.jpg")
    done = command("recon", "eval", "run=run", f"images={tmp_path}", cwd=tiny_run)
    assert done.returncode == 1
    assert "other_name.jpg is an input photo of this run (photo_03.jpg)" in done.stderr


def test_eval_refuses_a_folder_in_which_a_later_run_was_interrupted(tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_run / "run", tmp_path / "run")
    (tmp_path / "run" / "3_seeds.partial").mkdir()
    stage = json.loads((tmp_path / "run" / "3_seeds" / "stage.json").read_text())
    stage["key"] = "another"
    (tmp_path / "run" / "3_seeds.partial" / "stage.json").write_text(json.dumps(stage))
    done = command("recon", "eval", "run=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "interrupted" in done.stderr.strip().splitlines()[-1]


def test_moved_run_is_scored_from_another_folder(tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_run / "run", tmp_path / "moved")
    (tmp_path / "moved" / "held_out" / "old_photo.png").write_bytes(b"left over")
    done = command("recon", "eval", "run=moved", "score_height=100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "moved" / "held_out" / "old_photo.png").exists()
    assert Metrics.read(tmp_path / "moved").held_out.height == 100


@pytest.mark.slow
def test_cold_and_warm_kernel_caches_give_the_same_bits(tmp_path, monkeypatch):
    """Compiled now or loaded from disk, a kernel must compute the same: strict arithmetic."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    for out in ("cold", "warm"):
        done = command(
            "recon", "run", "scene.use=every:2", f"out={out}", *TINY, cwd=tmp_path, timeout=1200
        )
        assert done.returncode == 0, done.stderr[-3000:]
    for name in ("3_seeds/seeds.ply", "4_splats/splats.ply", "5_mesh/mesh.ply"):
        assert (tmp_path / "cold" / name).read_bytes() == (tmp_path / "warm" / name).read_bytes()


def test_killed_run_continues_without_repeating_a_stage(tmp_path):
    """Kill -9 in the seeds stage; the next run reuses photos, matches and cameras as they are."""
    arguments = ["recon", "run", "scene.use=every:3", "scene.hold_out=photo_04.jpg", "out=run"]
    arguments += TINY
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.time() + 400
    while not (tmp_path / "run" / "3_seeds.partial").exists():
        assert process.poll() is None, "ended before it could be killed"
        assert time.time() < deadline, "never reached the seeds"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = STAGES[:3]
    before = {s: (tmp_path / "run" / s / "stage.json").stat().st_mtime_ns for s in finished}
    assert not (tmp_path / "run" / "3_seeds").exists()
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    after = {s: (tmp_path / "run" / s / "stage.json").stat().st_mtime_ns for s in finished}
    assert after == before
    reused = {s.name: s.reused for s in Metrics.read(tmp_path / "run").stages}
    assert [reused[s[2:]] for s in STAGES] == [True] * 3 + [False] * 3


def test_changed_option_reruns_only_what_depends_on_it(tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_run / "run", tmp_path / "run")
    done = command(
        "recon", "run", "scene.use=every:2", "scene.hold_out=photo_05.jpg", "out=run", *TINY,
        "mesher.max_triangles=5000", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    reused = {s.name: s.reused for s in Metrics.read(tmp_path / "run").stages}
    assert [reused[s[2:]] for s in STAGES] == [True] * 5 + [False]
    facts = json.loads((tmp_path / "run" / "5_mesh" / "mesh.json").read_text())
    assert facts["triangles"] <= 5000


def test_run_says_how_sure_every_camera_is(tiny_run):
    known = Metrics.read(tiny_run / "run").uncertainty
    assert sorted(s.name for s in known.cameras) == [f"photo_0{i}.jpg" for i in (1, 3, 7, 9)] + [
        "photo_11.jpg"
    ]
    assert all(0 < s.rotation_deg < 2 and not s.unsure for s in known.cameras)
    assert 0.05 < known.reduced_chi_squared < 20
    assert "Sure within" in (tiny_run / "run" / "report.html").read_text()


def test_known_poses_stay_to_the_end(tiny_run, tmp_path):
    cameras = SAMPLE / "truth" / "transforms.json"
    shutil.copytree(tiny_run / "run", tmp_path / "run")  # photos and matches are reused
    done = command(
        "recon", "run", "scene.use=every:2", "scene.hold_out=photo_05.jpg", "out=run", *TINY,
        "poses=known", f"poses.cameras={cameras}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = Metrics.read(tmp_path / "run")
    assert metrics.cameras.median_rotation_deg < 1e-5
    found = {v.name: v for v in read_transforms(tmp_path / "run" / "export" / "transforms.json")}
    for name, view in {v.name: v for v in read_transforms(cameras)}.items():
        if f"{name}.png" in found:
            np.testing.assert_allclose(
                found[f"{name}.png"].cam_from_world.matrix, view.cam_from_world.matrix, atol=1e-12
            )

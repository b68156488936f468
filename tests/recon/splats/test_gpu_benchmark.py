"""The benchmark that needs a GPU, as far as it can be checked without one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from recon.export.points_ply import write_points
from recon.export.splat_ply import write_splats
from tests.benchmarks.splats_gpu import main, read_arguments
from tests.benchmarks.splats_gpu_contenders import Setting, contenders
from tests.benchmarks.splats_gpu_report import ratio, table
from tests.benchmarks.splats_gpu_scene import _record, load_scene
from tests.recon import scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `prepare` writes, of the ray-traced scene: three photos and one held out."""
    folder = tmp_path_factory.mktemp("scene")
    true, seeds = scenes.scene(), scenes.seeds()
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    record = []
    for i, view in enumerate(true.reconstruction.views):
        picture = PilImage.fromarray(true.pictures[view.name])
        picture.save(folder / "images" / f"{view.name}.jpg", quality=95)
        record.append(_record(view, held=i == 0))
    (folder / "cameras.json").write_text(json.dumps(record))
    write_points(folder / "points.ply", true.reconstruction.xyz_world, true.reconstruction.rgb)
    write_splats(folder / "seeds.ply", seeds.gaussians)
    np.save(folder / "confidence.npy", seeds.confidence)
    np.save(folder / "exposures.npy", seeds.exposures)
    (folder / "seeds.json").write_text("{}")
    return folder


def look(step, seconds, psnr, splats):
    return {"step": step, "seconds": seconds, "psnr": psnr, "splats": splats}


def training(name, strategy, curve, steps=100):
    last = curve[-1]
    return {
        "name": name, "strategy": strategy, "steps": steps, "asked": 100, "ms_per_step": 1.0,
        "seconds": last["seconds"], "ssim": 0.9, "psnr": last["psnr"], "splats": last["splats"],
        "memory_mb": 0.0, "curve": curve,
    }  # fmt: skip


def test_ratio_is_of_the_first_look_that_is_as_good():
    peer = training("peer", "densify", [look(0, 0.0, 10.0, 5), look(100, 30.0, 25.0, 200)])
    curve = [look(0, 0.0, 20.0, 100), look(50, 6.0, 25.5, 90), look(100, 12.0, 26.0, 80)]
    ours = training("ours", "edgs", curve)
    line = ratio(ours, peer)
    assert "after 50 steps, 6.0 s = 0.20 of its time" in line
    assert "90 splats = 0.45 of its" in line
    assert line.endswith("met")
    text = table([ours, peer])
    assert text.splitlines()[-1] == line
    slow = training("ours", "edgs", [look(100, 12.0, 25.0, 80)])
    assert ratio(slow, peer).endswith("missed")
    bad = training("ours", "edgs", [look(100, 1.0, 24.0, 80)])
    assert "not reached, 24.00 dB" in ratio(bad, peer)


def test_training_that_was_cut_off_says_so():
    text = table([training("ours", "edgs", [look(70, 1.0, 20.0, 9)], steps=70)])
    assert "cut off of 100" in text


def test_peers_start_from_the_points_and_variants_from_ours(folder):
    scene = load_scene(folder)
    changes = {"ours": {"decay_total": 0.5}, "a": {"scale_rate": 0.02}}
    found = contenders(scene, Setting(peer="7000,30000", mcmc=500), changes)
    names = [c.name for c in found]
    assert names == [
        "ours", "gsplat densify 7000", "ours a", "gsplat densify 30000", "gsplat mcmc 500",
    ]  # fmt: skip
    ours, peer, variant, _, mcmc = found
    assert (variant.options.decay_total, variant.options.scale_rate) == (0.5, 0.02)
    assert len(peer.seeds.gaussians) == len(scene.points_xyz)
    assert len(mcmc.seeds.gaussians) == len(scene.points_xyz)
    assert mcmc.options.max_splats == len(ours.seeds.gaussians)
    assert peer.seeds.gaussians.opacities.numpy() == pytest.approx(0.1)
    for other in found:
        assert other.options.pose_px == other.options.exposure_rate == 0
        assert other.options.sh_degree == 3
        assert np.array_equal(other.seeds.exposures, np.ones((3, 3)))


def test_variant_may_start_from_other_seeds(folder, tmp_path):
    for name in ("confidence.npy", "exposures.npy", "seeds.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_splats(tmp_path / "seeds.ply", scenes.seeds().gaussians.select(torch.arange(10)))
    changes = {"a": {"seeds": str(tmp_path)}}
    ours, variant = contenders(load_scene(folder), Setting(peer=""), changes)
    assert len(variant.seeds.gaussians) == 10
    assert len(ours.seeds.gaussians) == len(scenes.seeds().gaussians)
    assert variant.options == ours.options


def test_dry_run_without_gpu_trains_ours_and_writes_what_the_real_one_does(folder, tmp_path):
    words = ["device=cpu", "steps=20", "every=10", "max_side=61", f"scene={folder}"]
    assert main(["run", *words, f"out={tmp_path}", "ours.coarse_share=0"]) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    (ours,) = record["runs"]
    assert [x["step"] for x in ours["curve"]] == [0, 10, 20]
    assert ours["curve"][-1]["psnr"] > ours["curve"][0]["psnr"]
    assert ours["options"]["coarse_share"] == 0
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"results.json", "table.txt", "curve.png", "held_0.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say prepare or run"),
        (["run"], "run needs scene="),
        (["prepare"], "prepare needs source="),
        (["run", "stpes=5"], "stpes=5 is not understood"),
        (["run", "a.nothing=5"], "a.nothing=5 is not understood"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, said, capsys):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_cuda_one_line_says_what_is_missing(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["run", f"scene={folder}", f"out={tmp_path}"]) == 1
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_options_of_variants_have_their_types():
    plain, changes = read_arguments(
        ["steps=7", "ours.random_background=1", "b.sh_every=5", "b.scale_rate=0.5"], ["steps"]
    )
    assert plain == {"steps": "7"}
    assert changes == {
        "ours": {"random_background": True}, "b": {"sh_every": 5, "scale_rate": 0.5},
    }  # fmt: skip

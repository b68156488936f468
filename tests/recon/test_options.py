"""Every choice composes and builds; the options stay light; bad values are refused in one line."""

import ast
import dataclasses
import inspect
import itertools
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from corr.errors import UserError
from corr.folders import log_to, make_folder
from corr.matchers.dense.matcher import DenseMatcher
from corr.matchers.sift import Sift
from corr.matchers.xfeat import XFeatStar
from recon import workspace
from recon.options import (
    MATCHERS,
    QUALITIES,
    EvalOptions,
    RunOptions,
    SceneOptions,
    register_eval,
    register_run,
)
from recon.poses.solve import PoseSolver
from recon.splats.optimiser import Optimiser
from recon.splats.seeder import Seeder
from recon.surface.mesher import Mesher

ROOT = Path(__file__).resolve().parents[2]
STAGES = (PoseSolver, Seeder, Optimiser, Mesher, XFeatStar, Sift, DenseMatcher)


@pytest.fixture
def composed():
    """From overrides to typed options, as the command line does it."""

    def build(*overrides, config="recon_run"):
        return OmegaConf.to_object(compose(config, overrides=list(overrides)))

    register_run()
    register_eval()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield build


@pytest.mark.parametrize(("matcher", "quality"), itertools.product(MATCHERS, QUALITIES))
def test_every_matcher_and_quality_builds(composed, matcher, quality):
    options = composed(f"matcher={matcher}", f"quality={quality}")
    assert isinstance(options, RunOptions)
    assert type(options.matcher) is MATCHERS[matcher]
    assert options.quality == quality
    assert isinstance(options.seeder, Seeder)


def test_qualities_are_presets_of_numbers_in_rising_order(composed):
    quick, default, best, gpu_quick, gpu_best = (composed(f"quality={q}") for q in QUALITIES)
    assert default == RunOptions()
    assert gpu_quick.device == gpu_best.device == "cuda"
    for stage, name in (("seeder", "budget"), ("optimiser", "iterations"), ("scene", "max_side")):
        values = [getattr(getattr(o, stage), name) for o in (quick, default, best)]
        assert values[0] < values[2]
        assert values == sorted(values)
        assert getattr(getattr(gpu_quick, stage), name) < getattr(getattr(gpu_best, stage), name)


def test_every_preset_file_is_a_known_quality():
    assert {p.stem for p in (ROOT / "conf" / "quality").glob("*.yaml")} == set(QUALITIES)


def test_own_numbers_win_over_a_preset(composed):
    options = composed("optimiser.iterations=7", "quality=best")
    assert options.optimiser.iterations == 7


def test_eval_builds_once_the_run_is_named(composed):
    options = composed("run=outputs/x", config="recon_eval")
    assert options == EvalOptions(run="outputs/x")


@pytest.mark.parametrize(
    "override",
    ["seeder.budgte=5", "seeder.budget=many", "matcher=nobody", "quality=superb", "seed=1.5"],
)
def test_unknown_names_and_wrong_types_are_refused(composed, override):
    with pytest.raises(Exception) as error:  # noqa: PT011 - Hydra has several
        composed(override)
    kinds = (OmegaConfBaseException,)
    assert isinstance(error.value, kinds) or type(error.value).__module__.startswith("hydra")


@pytest.mark.parametrize("kind", [RunOptions, SceneOptions, EvalOptions, *STAGES])
def test_every_option_says_what_it_is(kind):
    source = inspect.getsource(sys.modules[kind.__module__])
    lines = source.splitlines()
    tree = next(
        n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == kind.__name__
    )
    stages = {f.name for f in dataclasses.fields(kind)
              if f.default_factory is not dataclasses.MISSING}  # fmt: skip
    silent = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.target.id not in stages:
            text = lines[node.lineno - 1 : node.end_lineno]
            above = lines[node.lineno - 2].strip()
            if not any("  # " in line for line in text) and not above.startswith("#"):
                silent.append(node.target.id)
    assert not silent


REFUSED = [
    (SceneOptions, {"frames": 1}, "scene.frames must be 2 or more, got 1"),
    (SceneOptions, {"max_side": 63}, "scene.max_side must be 64 or more, got 63"),
    (RunOptions, {"device": "tpu"}, "device must be one of auto, cpu, cuda, got tpu"),
    (RunOptions, {"score_height": 9}, "score_height must be 16 or more, got 9"),
    (Seeder, {"budget": 0}, "seeder.budget must be positive, got 0"),
    (Seeder, {"neighbours": 0}, "seeder.neighbours must be positive, got 0"),
    (Seeder, {"sh_degree": 2}, "seeder.sh_degree must be 0 or 1, got 2"),
    (PoseSolver, {"camera": "fish"}, "poses.camera must be one of"),
    (PoseSolver, {"focal_px": 0.0}, "poses.focal_px must be positive, got 0.0"),
    (PoseSolver, {"max_error_px": 0.0}, "poses.max_error_px must be positive, got 0.0"),
    (PoseSolver, {"min_inliers": 7}, "poses.min_inliers must be 8 or more, got 7"),
    (Mesher, {"max_incidence_deg": 91.0}, "mesher.max_incidence_deg must be in (0, 90], got 91.0"),
    (Mesher, {"memory_mb": 0}, "mesher.memory_mb must be positive, got 0"),
    (Mesher, {"min_views": 0}, "mesher.min_views must be 1 or more, got 0"),
    (Sift, {"max_keypoints": 0}, "matcher.max_keypoints must be positive, got 0"),
    (Sift, {"ratio": 1.5}, "matcher.ratio must lie in (0, 1], got 1.5"),
    (Sift, {"contrast": -1.0}, "matcher.contrast must not be negative, got -1.0"),
    (XFeatStar, {"top_k": 0}, "matcher.top_k must be positive, got 0"),
    (XFeatStar, {"min_cossim": 1.0}, "matcher.min_cossim must lie in [-1, 1), got 1.0"),
    (XFeatStar, {"min_confidence": 1.0}, "matcher.min_confidence must lie in [0, 1), got 1.0"),
    (XFeatStar, {"max_side": 63}, "matcher.max_side must be at least 64, got 63"),
    (DenseMatcher, {"samples": 0}, "matcher.samples must be positive, got 0"),
    (DenseMatcher, {"min_certainty": 1.0}, "matcher.min_certainty must lie in (0, 1), got 1.0"),
    (DenseMatcher, {"max_side": 63}, "matcher.max_side must be at least 64, got 63"),
    (DenseMatcher, {"device": "tpu"}, "matcher.device must be auto, cpu or cuda, got tpu"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED)
def test_impossible_value_is_refused_with_the_rule_and_the_value(kind, values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**values)


def test_importing_the_options_loads_nothing_heavy():
    heavy = ("torch", "numba", "cv2", "open3d", "scipy", "pycolmap", "kornia")
    code = "import sys, recon.options, recon.__main__; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def recon(*arguments, cwd):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "recon", *arguments],
        cwd=cwd, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return done, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_help_is_quick_and_names_every_group_and_option(tmp_path):
    done, seconds = recon("run", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert seconds < 3  # user CPU time: torch alone would take longer
    qualities = " | ".join(sorted(QUALITIES))
    for part in (" | sift | xfeat", f"quality={qualities}", "scene.frames=12"):
        assert part in done.stdout
    for field in dataclasses.fields(Seeder):
        assert f"  seeder.{field.name}=" in done.stdout
    assert not list(tmp_path.iterdir())


def test_cfg_job_prints_the_composed_options_and_runs_nothing(tmp_path):
    done, _ = recon("run", "seeder.budget=77", "matcher=sift", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    options = OmegaConf.create(done.stdout)
    assert options.seeder.budget == 77
    assert options.matcher.ratio == Sift().ratio
    assert not list(tmp_path.iterdir())


def scene_options(images, **more):
    return RunOptions(scene=SceneOptions(images=str(images), **more))


@pytest.mark.parametrize(
    ("images", "folder"),
    [
        ("shots/bike", "bike"),
        ("shots/bike/", "bike"),
        ("shots/bike/images", "bike"),
        ("photos/", "photos"),
        ("../photos", "photos"),
        ("../../images", "images"),
        ("shots/my bike!", "my_bike_"),
        ("clip.mp4", "clip"),
        (".", "scene"),
        ("..", "scene"),
    ],
)
def test_results_lie_in_a_folder_named_after_the_photos(images, folder):
    found = workspace.result_folder(scene_options(images), sample=False)
    assert found == Path("outputs") / folder


def test_folder_with_a_dot_keeps_its_whole_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set_1.5").mkdir()
    found = workspace.result_folder(scene_options("set_1.5"), sample=False)
    assert found == Path("outputs/set_1.5")


def test_results_lie_where_asked(tmp_path):
    options = RunOptions(out=str(tmp_path / "here"))
    assert workspace.result_folder(options, sample=True) == tmp_path / "here"
    assert workspace.result_folder(RunOptions(), sample=True) == Path("outputs/sample")


def test_sample_fills_in_only_what_is_not_given(monkeypatch, tmp_path):
    filled = workspace.with_sample(SceneOptions(cameras="mine.json", frames=5))
    assert filled.cameras == "mine.json"
    assert filled.frames == 5
    assert Path(filled.images).is_dir()
    assert Path(filled.hold_out.removeprefix("@")).is_file()
    assert Path(filled.surface).is_file()
    own = SceneOptions(images="mine")
    assert workspace.with_sample(own) is own
    monkeypatch.setattr(workspace, "SAMPLE", tmp_path)
    with pytest.raises(UserError, match=r"give scene\.images="):
        workspace.with_sample(SceneOptions())


def test_result_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to .*file .*choose another out="):
        make_folder(tmp_path / "file")
    make_folder(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_pictures_and_masks_are_read_by_view_name(tmp_path):
    import numpy as np
    from PIL import Image

    from corr.geometry import Camera, Rigid3
    from recon.scene import View

    rgb = np.random.default_rng(0).integers(0, 255, (9, 13, 3)).astype(np.uint8)
    for name in ("images", "masks"):
        (tmp_path / name / "sub").mkdir(parents=True)
    Image.fromarray(rgb).save(tmp_path / "images" / "sub" / "a.jpg.png")
    Image.fromarray(rgb).save(tmp_path / "images" / "b.png.png")
    mask = np.zeros((9, 13), np.uint8)
    mask[2:4] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "sub" / "a.jpg.png")
    camera = Camera.simple(13, 9, 10.0)
    views = [View(n, camera, Rigid3.identity()) for n in ("sub/a.jpg", "b.png")]
    pictures, masks = workspace.load_pictures(tmp_path, views)
    assert np.array_equal(pictures["sub/a.jpg"], rgb)
    assert list(masks) == ["sub/a.jpg"]
    assert np.array_equal(masks["sub/a.jpg"], mask > 0)


def test_log_file_receives_what_is_logged(tmp_path):
    import logging

    logging.getLogger().setLevel(logging.INFO)
    handler = log_to(tmp_path / "run.log")
    logging.getLogger("recon.test").info("seven points")
    logging.getLogger().removeHandler(handler)
    handler.close()
    assert "recon.test INFO seven points" in (tmp_path / "run.log").read_text()

"""The README keeps its word: commands and snippets run, options and files that it names exist."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from corr.semantic.datasets.tiny import TinySize, write_tiny
from tests.conftest import ROOT, SAMPLE, TINY, command

pytestmark = pytest.mark.weights
TEXT = (ROOT / "README.md").read_text()
PHOTOS = [f"photo_{i:02d}" for i in (4, 5, 6, 7)]
# On top of TINY: these tests look whether a command runs, test_run.py at what comes out of it.
SMALLER = [
    *TINY, "scene.max_side=256", "seeder.neighbours=2", "optimiser.iterations=10",
    "mesher.max_triangles=5000",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


TRAINED_HEAD = ["method.steps=2", "method.couples=1"]
TRAINED = [
    "minutes=0", "steps=1", "batch=1", "large_batch=1", "width=64", "height=64", "large_width=64",
    "large_height=64", "textures=12", "validation_pairs=1", "device=cpu",
]  # fmt: skip

SHELL = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
COMMANDS = [words[2:] for words in SHELL if words[:2] == ["python", "-m"]]
# Commands of half a minute that a test of their own runs as well, smaller: `pytest -m slow`.
LONG = ("hydra/launcher=joblib_cpu", "method=asic", "method=distill", "keypoints=5000:1000:250",
        "features=fusion", "transfer=hough")  # fmt: skip
TARGETS = {words[1] for words in SHELL if words[0] == "make"}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with everything that the README's commands name."""
    import cv2
    import numpy as np

    home = tmp_path_factory.mktemp("home")
    for folder in ("photos", "masks"):
        (home / folder).mkdir()
    film = cv2.VideoWriter(str(home / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 240))
    assert film.isOpened()
    for name in PHOTOS:
        shutil.copy(SAMPLE / "photos" / f"{name}.jpg", home / "photos")
        photo = cv2.imread(str(home / "photos" / f"{name}.jpg"))
        mask = np.full(photo.shape[:2], 255, np.uint8)
        mask[:, :30] = 0
        cv2.imwrite(str(home / "masks" / f"{name}.png"), mask)
        for _ in range(4):
            film.write(cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA))
    film.release()
    shutil.copy(SAMPLE / "truth" / "transforms.json", home)
    shutil.copy(SAMPLE / "truth" / "surface.ply", home)
    shutil.copy(SAMPLE / "photos" / "photo_03.jpg", home / "new.jpg")
    make_scans(home)
    write_tiny(home / "SPair-71k", size=TinySize((2, 1, 2), views=3, frames=4))
    shutil.copytree(home / "SPair-71k" / "Frames", home / "frames")
    return home


def make_scans(home: Path) -> None:
    """Two files to align, a folder of scans, a small benchmark."""
    from registration.datasets.threedmatch import SCENES
    from registration.files import read_cloud, write_cloud
    from tests.registration.fragment_world import write_scene

    for name, file in (("source", "a.ply"), ("target", "b.las")):
        write_cloud(home / file, read_cloud(ROOT / "data" / "scans" / f"{name}.ply"))
    scene, root = SCENES[0], home / "3dmatch"
    write_scene(root, scene, root / "benchmarks" / "3DMatch" / scene, count=2)
    shutil.copytree(root / scene, home / "scans")


@pytest.fixture(scope="module")
def finished(home) -> Path:
    """The result folder of a first run, that later commands take up."""
    done = command("recon", "run", "scene.images=photos/", *SMALLER, cwd=home)
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.copytree(home / "outputs" / "photos", home / "outputs" / "other")
    return home / "outputs" / "photos"


def small(words: list[str]) -> list[str]:
    """The command with less to do."""
    if words[:2] in (["registration", "eval"], ["registration", "multiway"]):
        return [*words, "voxel=0.11"]  # the small world has few points
    if "scale=estimate" in words:
        return [*words, "voxel=0.1"]
    if words[:2] == ["corr", "train"]:
        if "method=distill" in words or "method=asic" in words:
            return [*words, "method.steps=2"]
        return [*words, *(TRAINED if "matcher=dense" in words else TRAINED_HEAD)]
    if words[:2] == ["recon", "render"]:
        return [*words, "frames=3", "height=64"]
    if words[:2] != ["recon", "run"] or {"--help", "--cfg"} & set(words):
        return words
    if any(w.startswith("scene.frames=") for w in words):
        return [*words, *SMALLER, f"scene.frames={len(PHOTOS)}"]
    if "scale.distance=0.23" in words:  # a finished run's stages are reused
        return [*words, *SMALLER, "out=outputs/other"]
    if "-m" in words:  # one run per value: pictures half the size
        return [*words, *(w for w in SMALLER if "max_side" not in w), "scene.max_side=160"]
    return [*words, *SMALLER]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    "words",
    [pytest.param(w, marks=[pytest.mark.slow] * bool(set(LONG) & set(w))) for w in COMMANDS],
    ids=" ".join,
)
def test_command_runs(words, home):
    if words[:2] == ["recon", "view"]:
        look_until_interrupted(words, home)
        return
    done = command(*small(words), cwd=home)
    usage = len(words) == 1  # `python -m recon` alone says what there is
    assert done.returncode == (2 if usage else 0), done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    reports = re.findall(r"^report: (\S+\.(?:html|md))$", done.stdout, re.MULTILINE)
    pages = (["run"], ["eval"], ["eval-mesh"], ["compare"])
    works = words[1:2] in pages and not {"--help", "--cfg"} & set(words)
    assert len(reports) == (works and (2 if "-m" in words else 1))
    assert all((home / report).is_file() for report in reports)


def look_until_interrupted(words: list[str], home: Path) -> None:
    """`recon view` serves its page until Ctrl-C."""
    pytest.importorskip("viser", reason="viser is not installed: pip install '.[view]'")
    started = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert started.stdout is not None
    told = (re.search(r"open (http://\S+) in a browser", line) for line in started.stdout)
    address = next((found[1] for found in told if found), "")
    try:
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"<html" in page.read()
    finally:
        started.send_signal(signal.SIGINT)
    assert started.wait(timeout=30) == 0


def test_commands_are_found():
    assert ["recon", "run", "scene.images=photos/"] in COMMANDS
    assert {words[0] for words in COMMANDS} == {"corr", "recon", "registration"}
    assert {"demo", "test"} <= TARGETS
    assert all(words[0] in ("python", "make") for words in SHELL)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", sorted(TARGETS | {"benchmark"}))
def test_make_target_does_what_its_name_says(target, tmp_path):
    expected = {
        "demo": ["system-packages", "-m venv", "pip install", "-m recon run"],
        "test": ["system-packages", "-m venv", "pip install", "ruff check", "mypy", "-m pytest"],
        "benchmark": ["-m benchmark", "tests/benchmarks"],
    }[target]
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of the make that may run these tests
    done = subprocess.run(
        ["make", "-n", target, f"VENV={tmp_path / 'env'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={k: v for k, v in os.environ.items() if k not in outer},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    missing = [part for part in expected if part not in done.stdout]
    assert not missing


# The snippets call the pipeline with its default numbers; here they get the small ones.
SMALL_RUNS = f"""
import recon.pipeline
full = recon.pipeline.run
def run(options):
    for override in {SMALLER!r}:
        key, value = override.split("=")
        *path, name = key.split(".")
        owner = options
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, type(getattr(owner, name))(value))
    return full(options)
recon.pipeline.run = run
"""


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split()[-1])
def test_snippet_runs(code, home):
    done = subprocess.run(
        [sys.executable, "-c", SMALL_RUNS + code],
        cwd=home, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


def overrides_of(line: str) -> list[str]:
    """Every `key=value` of a shell line or of the text's `code`; the first one of a sweep's."""
    if re.search(r"\w\(\w+=", line):  # Python
        return []
    words = shlex.split(line, posix=True)
    found = [w for w in words if re.match(r"[a-z_]+(\.[a-z_]+)*=", w) and not w.endswith("…")]
    return [w.split(",")[0] if "-m" in words else w for w in found]


# What the options in a section's text belong to.
SECTIONS = {
    "Align two scans": "registration", "Score semantic correspondence": "corr",
    "Match photos": "corr",
}  # fmt: skip


def named_options() -> list[tuple[str, str]]:
    """Package and override, of every `key=value` that the README names."""
    found = set()
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        title = section.partition("\n")[0]
        package = SECTIONS.get(title, "recon")
        plain = re.sub(r"^```.*?^```", "", section, flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`([^`]+)`", plain):
            found |= {(package, override) for override in overrides_of(span)}
    for words in SHELL:
        package = words[2] if words[:2] == ["python", "-m"] else "recon"
        found |= {(package, override) for override in overrides_of(shlex.join(words[3:]))}
    return sorted(found)


def config_of(package: str, key: str) -> str:
    """The command whose option this is."""
    special = {
        ("recon", "run"): "eval", ("recon", "cameras"): "eval",
        ("registration", "benchmark"): "eval", ("registration", "data"): "eval",
        ("registration", "workers"): "eval", ("registration", "clouds"): "multiway",
        ("registration", "orientation"): "eval", ("registration", "keypoints"): "eval",
        ("registration", "every"): "eval",
        ("registration", "candidates"): "multiway",
        ("corr", "focal_px"): "match", ("corr", "max_side"): "match", ("corr", "masks"): "match",
        ("corr", "minutes"): "train", ("corr", "method"): "train_semantic",
        ("corr", "shared"): "train_semantic", ("corr", "method.frames"): "train_semantic",
        **{("recon", key): "features"
           for key in ("features", "on", "other", "photo", "pixel", "point")},
        ("recon", "image"): "localize",
        **{("recon", key): "export" for key in ("format", "splats", "transform", "pad_degree")},
        **{("recon", key): "render"
           for key in ("path", "frames", "fps", "height", "width", "video")},
        **{("recon", key): "eval_mesh"
           for key in ("protocol", "percent", "distances", "seen_by", "solved", "mesh", "surface",
                       "dtu.obs_mask", "dtu.plane", "dtu.masks")},
        ("recon", "host"): "view", ("recon", "port"): "view",
    }  # fmt: skip
    usual = "eval" if package == "corr" else "run"
    return f"{package}_{special.get((package, key), usual)}"


@pytest.mark.parametrize(("package", "override"), named_options())
def test_option_exists(package, override):
    import importlib

    from hydra import compose, initialize_config_dir

    main = importlib.import_module(f"{package}.__main__")
    # `corr train` is one of several commands, chosen by what it is told to train.
    for command_ in (*main.COMMANDS.values(), *getattr(main, "TRAININGS", {}).values()):
        command_.register()
    name = config_of(package, override.split("=")[0])
    override = override.replace("=~/", "=/")  # the dispatcher expands it
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        # An option of one choice alone is asked for together with that choice.
        only_with = {
            "method.frames=": ["method=asic"], "executor.gpus=": ["executor=ray"],
            "hydra.launcher.n_jobs=": ["hydra/launcher=joblib"],
            "hydra.launcher.partition=": ["hydra/launcher=slurm_gpu"],
            "hydra.launcher.cpus_per_task=": ["hydra/launcher=slurm_cpu"],
        }  # fmt: skip
        chosen = next((v for k, v in only_with.items() if override.startswith(k)), [])
        compose(name, overrides=[*chosen, override])


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    local = [t for t in targets if "://" not in t]
    assert [t for t in local if not (ROOT / t).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert "TODO" not in TEXT

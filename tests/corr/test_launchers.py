"""Presets of Hydra's launchers: they compose, run a sweep, and are refused in one line."""

import json
import multiprocessing
import shutil
import subprocess

import pytest
from hydra import compose, initialize_config_dir

from corr import launchers as presets
from corr.launchers import launchers, unusable
from corr.spawning import spawning
from recon.options import register_run
from tests.conftest import ROOT, SAMPLE, command

CONF = ROOT / "conf"
PRESETS = {
    "joblib_cpu": "hydra_joblib_launcher", "ray_cpu": "hydra_ray_launcher",
    "ray_gpu": "hydra_ray_launcher", "slurm_cpu": "hydra_submitit_launcher",
    "slurm_gpu": "hydra_submitit_launcher",
}  # fmt: skip


def test_presets_are_those():
    assert launchers(CONF) == sorted([*PRESETS, "joblib", "ray", "submitit_slurm"])


@pytest.mark.parametrize(("name", "plugin"), PRESETS.items())
@pytest.mark.filterwarnings("error")
def test_preset_fits_its_plugin(name, plugin):
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"{plugin} is not installed")
    register_run()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = compose(
            "recon_run", overrides=[f"hydra/launcher={name}"], return_hydra_config=True
        ).hydra.launcher
    assert made._target_.startswith(f"hydra_plugins.{plugin}.")
    of_ray = made.get("ray", {}).get("remote", {})
    assert ("gpu" in name) == bool(made.get("gpus_per_node") or of_ray.get("num_gpus"))


@pytest.mark.parametrize(
    ("name", "sweep", "message"),
    [
        (
            "dask",
            True,
            "hydra/launcher must be one of joblib, joblib_cpu, ray, ray_cpu, ",
        ),
        ("joblib", False, "hydra/launcher=joblib is for sweeps; add -m"),
        ("slurm_cpu", True, "needs Slurm's srun, which is not on this machine"),
    ],
)
def test_unusable_launcher_is_one_line(name, sweep, message, monkeypatch):
    monkeypatch.setattr(presets, "_installed", lambda plugin: True)
    monkeypatch.setattr(presets.shutil, "which", lambda program: None)
    assert message in unusable(CONF, name, sweep=sweep)


@pytest.mark.parametrize("name", ["joblib", "ray_gpu", "slurm_gpu", "submitit_slurm"])
def test_missing_plugin_says_how_to_get_it(name, monkeypatch):
    monkeypatch.setattr(presets, "_installed", lambda plugin: False)
    assert "needs a plugin of Hydra: pip install" in unusable(CONF, name, sweep=True)


def test_usage_error_reaches_the_command_line(tmp_path):
    done = command("recon", "run", "hydra/launcher=joblib", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "recon run: hydra/launcher=joblib is for sweeps; "
        "add -m and several values, e.g. -m seed=0,1"
    )


def test_joblib_runs_a_sweep(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="no hydra-joblib-launcher")
    done = command(
        "corr", "match", "-m", "hydra/launcher=joblib_cpu", "matcher=sift", "seed=0,1",
        "pictures=false", "max_side=320", f"photos=[{SAMPLE}/photos/photo_04.jpg,"
        f"{SAMPLE}/photos/photo_05.jpg]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = sorted(tmp_path.glob("outputs/match/*/*/matches.json"))
    assert [json.loads(path.read_text())["seed"] for path in found] == [0, 1]


BAD = (
    f"photos=[{SAMPLE}/photos/photo_04.jpg,{SAMPLE}/photos/photo_05.jpg],"
    f"[{SAMPLE}/photos/photo_04.jpg,nothere.jpg],"
    f"[{SAMPLE}/photos/photo_05.jpg,{SAMPLE}/photos/photo_06.jpg]"
)


def check_one_bad_job(done, folder):
    """The second of three jobs failed, the others are whole, and the command says so."""
    assert done.returncode == 1, done.stderr[-2000:]
    said = done.stderr[done.stderr.index("corr match: 1 of 3 jobs failed:") :].splitlines()
    assert len(said) == 2
    assert said[1].startswith("  #1 ")
    assert "nothere.jpg does not exist" in said[1]
    found = sorted(folder.glob("out/*/matches.json"))
    assert [p.parent.name[0] for p in found] == ["0", "2"]


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib_cpu", marks=pytest.mark.slow)])
def test_job_that_fails_does_not_end_the_sweep(launcher, tmp_path):
    """With joblib also: processes of our own in its jobs, which start processes their own way."""
    extra = []
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="no joblib launcher")
        extra = [f"hydra/launcher={launcher}", "workers=2"]
    done = command(
        "corr", "match", "-m", *extra, "matcher=sift", "pictures=false", "max_side=320", "out=out",
        BAD, cwd=tmp_path,
    )  # fmt: skip
    check_one_bad_job(done, tmp_path)


def slurm_answers() -> bool:
    """True where jobs can be handed to a Slurm cluster from here."""
    if shutil.which("sinfo") is None:
        return False
    ask = ["sinfo", "-h", "-o", "%a"]
    try:
        asked = subprocess.run(ask, capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and "up" in asked.stdout


@pytest.mark.skipif(not slurm_answers(), reason="no Slurm cluster here")
def test_slurm_runs_a_sweep(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="no submitit launcher")
    done = command(
        "corr", "match", "-m", "hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=4", "matcher=sift", "seed=0,1", "pictures=false", "max_side=320",
        f"photos=[{SAMPLE}/photos/photo_04.jpg,{SAMPLE}/photos/photo_05.jpg]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = sorted(tmp_path.glob("outputs/match/*/*/matches.json"))
    assert [json.loads(path.read_text())["seed"] for path in found] == [0, 1]
    assert list(tmp_path.glob("outputs/sweeps/.submitit/*/*_result.pkl"))  # by jobs of Slurm


@pytest.mark.skipif(not slurm_answers(), reason="no Slurm cluster here")
def test_job_that_fails_on_slurm_is_told_and_nobody_waits_for_it(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="no submitit launcher")
    done = command(
        "corr", "match", "-m", "hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=4", "matcher=sift", "pictures=false", "max_side=320", "out=out",
        BAD, cwd=tmp_path,
    )  # fmt: skip
    check_one_bad_job(done, tmp_path)


def test_processes_are_spawned_whatever_the_default_is():
    """In joblib's jobs it is `loky`, of which a spawned process knows nothing."""
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        multiprocessing.set_start_method("forkserver", force=True)
        with spawning() as context:
            assert context.get_start_method() == "spawn"
            assert multiprocessing.get_start_method() == "spawn"  # what a child is told
        assert multiprocessing.get_start_method() == "forkserver"
    finally:
        multiprocessing.set_start_method(before, force=True)

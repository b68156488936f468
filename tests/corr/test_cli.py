"""The dispatcher, with a command of its own that uses the options of `recon run`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from corr.cli import Command, dispatch, shared_dir
from corr.overrides import check
from tests.conftest import command

ROOT = Path(__file__).resolve().parents[2]
DEMO = """
import os
from corr.cli import Command, dispatch
from corr.errors import UserError
from recon.options import register_run, register_eval
from recon.workspace import result_folder

def main(options):
    kind = os.environ.get("DEMO")
    if kind == "user":
        raise UserError("the photos are\\n  upside down; turn them")
    if kind == "bug":
        raise RuntimeError("our own fault")
    if kind == "stop":
        raise KeyboardInterrupt
    if kind == "stop_torch":
        import sys
        class Stop:
            def find_spec(self, name, path=None, target=None):
                loaded = sys.modules.get("torch._subclasses.fake_tensor")
                if hasattr(loaded, "dump_cache_stats") and name.startswith("torch."):
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Stop())
        import torch
    if kind == "worker":
        raise BrokenPipeError("a worker is gone")
    print("seed", options.seed, "images", options.scene.images,
          "folder", result_folder(options, False))

commands = {"run": Command("recon_run", "does nothing much", main, register_run)}
dispatch("demo", commands)
"""


@pytest.fixture
def demo(tmp_path):
    """Run the demo with arguments; `kind` makes it fail."""

    def run(*arguments, kind="", home=None):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DEMO": kind}
        if home:
            environment["HOME"] = str(home)
        return subprocess.run(
            [sys.executable, "-c", DEMO, *arguments],
            cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300,
        )  # fmt: skip

    return run


def dispatched(monkeypatch, capsys, *arguments):
    """Exit code and standard output of what never reaches Hydra."""

    def never(_):
        raise AssertionError("the command ran")

    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    commands = {
        "run": Command("recon_run", "does nothing much", never, lambda: None),
        "eval": Command("recon_eval", "nor this", never, lambda: None),
    }
    with pytest.raises(SystemExit) as stop:
        dispatch("demo", commands)
    out = capsys.readouterr()
    return stop.value.code, out.out + out.err


def test_unknown_command_lists_the_known_ones(monkeypatch, capsys):
    code, text = dispatched(monkeypatch, capsys, "rnu")
    assert code == 2
    assert text.strip() == "demo: unknown command 'rnu'; known: run, eval"


@pytest.mark.parametrize(("arguments", "wanted"), [((), 2), (("--help",), 0), (("-h",), 0)])
def test_usage_names_every_command(monkeypatch, capsys, arguments, wanted):
    code, text = dispatched(monkeypatch, capsys, *arguments)
    assert code == wanted
    for part in ("usage: python -m demo", "run   does nothing much", "eval  nor this"):
        assert part in text


@pytest.mark.parametrize("override", ["+foo=1", "++seed=3", "~foo", "~/photos"])
def test_added_and_deleted_options_are_refused(monkeypatch, capsys, override):
    code, text = dispatched(monkeypatch, capsys, "run", "seed=1", override)
    assert code == 2
    assert text.strip().startswith(f"demo run: {override} must not start with + or ~")
    assert len(text.strip().splitlines()) == 1


def test_options_reach_the_command_typed(demo):
    done = demo("run", "seed=3", "scene.images=shots/bike")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "seed 3 images shots/bike folder outputs/bike"


def test_home_is_expanded_in_values(demo, tmp_path):
    done = demo("run", "scene.images=~/shots", home=tmp_path)
    assert f"images {tmp_path}/shots " in done.stdout


def one_line(done, code=1):
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sede=1"], "there is no option sede; did you mean seed?"),
        (["seeder.budgte=5"], "there is no option seeder.budgte; did you mean seeder.budget?"),
        (["budget=5"], "there is no option budget; did you mean seeder.budget?"),
        (["nonsense=5"], "there is no option nonsense; --help lists them"),
        (["seed.x=5"], "there is no option seed.x; "),
        (["seeder.budget=many"], "seeder.budget must be a whole number, got many"),
        (["seed="], "seed must be a whole number, got nothing"),
        (
            ["quality=bset"],
            "quality must be one of best, default, gpu_best, gpu_quick, quick, got bset",
        ),
        (["-m", "seed=1,x"], "seed must be a whole number, got x"),
        (
            ["-m", "quality=quick,bset"],
            "quality must be one of best, default, gpu_best, gpu_quick, quick, got bset",
        ),
        (["-m", "quality=quick,best", "sede=1,2"], "there is no option sede; did you mean seed?"),
        (["seed=1,2"], "seed=1,2 holds several values; add -m to run each"),
        (["scene.images=a (1"], "scene.images=a (1 cannot be read; quote the value: "),
        (["seed"], "seed must be key=value; --help lists the options"),
        (["--sede", "seed=1"], "there is no flag --sede; --help lists the options"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(demo, arguments, said):
    line = one_line(demo("run", *arguments), code=2)
    assert line.startswith(f"demo run: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sorce=a"], "there is no option sorce; did you mean source?"),
        (["voxel=abc"], "voxel must be a number, got abc"),
        (["pictures=maybe"], "pictures must be true or false, got maybe"),
        (
            ["registrar.no_such=1", "registrar=ransac"],
            "there is no option registrar.no_such with registrar=ransac; --help lists them",
        ),
        (
            ["registrar.itertions=1", "registrar=ransac"],
            "there is no option registrar.itertions with registrar=ransac; "
            "did you mean registrar.iterations?",
        ),
        (["registrar.colour=red"], "registrar.colour must be a number, got red"),
        (["registrar=foo"], "registrar must be one of .*hough.*ransac.*, got foo"),
        (["registrar=3"], "registrar must be one of .*, got 3"),
    ],
)
def test_registration_refuses_in_one_line(monkeypatch, capsys, arguments, said):
    from registration.__main__ import COMMANDS

    monkeypatch.setattr(sys, "argv", ["registration", "run", *arguments])
    with pytest.raises(SystemExit) as stop:
        dispatch("registration", COMMANDS)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1
    assert re.fullmatch(f"registration run: {said}".replace("?", r"\?"), lines[0])


def test_what_is_typed_rightly_passes(tmp_path):
    from registration.options import register_run

    register_run()
    conf = shared_dir() / "conf"
    for arguments in (
        [], ["source=a.ply", "target=b.ply", "voxel=0.1"], ["registrar.colour=5"],
        ["-m", "registrar=hough,ransac", "registrar.iterations=5,6", "seed=range(3)"],
        ["--cfg", "job", "seed=1"], ["hydra.run.dir=x"], ["out='a, b'"], ["seed=1", "-m"],
        ["sensor_source=1:2:3"],
    ):  # fmt: skip
        check(conf, "registration_run", arguments)


def test_bad_value_is_one_line(demo):
    line = one_line(demo("run", "seeder.budget=-1"))
    assert line == "demo run: seeder.budget must be positive, got -1"


def test_user_error_is_one_line_without_traceback(demo):
    line = one_line(demo("run", kind="user"))
    assert line == "demo run: the photos are upside down; turn them"


def test_interruption_says_how_to_go_on(demo):
    assert "the same command continues" in one_line(demo("run", kind="stop"), code=130)


def test_interruption_while_torch_is_imported_says_no_more(demo):
    done = demo("run", kind="stop_torch")
    assert "the same command continues" in one_line(done, code=130)
    assert done.stdout == ""


def test_a_wrong_value_is_told_before_what_is_missing(tmp_path):
    wrong = command("corr", "eval", "benchmark=nonsense", cwd=tmp_path)
    assert one_line(wrong).startswith("corr eval: benchmark must be one of spair71k, ")
    missing = command("corr", "eval", "benchmark=posed", cwd=tmp_path)
    assert one_line(missing) == "corr eval: missing data=…"


def test_our_own_fault_shows_where(demo):
    done = demo("run", kind="bug")
    assert done.returncode == 1
    assert "our own fault" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [(), ("--help",), ("run", "--help"), ("run",), ("rnu",)])
def test_closed_pipe_ends_quietly(tmp_path, arguments, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", DEMO, *arguments],
        cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_pipe_to_a_worker_is_our_own_fault(demo):
    done = demo("run", kind="worker")
    assert done.returncode == 1
    assert "a worker is gone" in done.stderr


def test_missing_option_is_one_line(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "recon", "eval"],
        cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert one_line(done) == "recon eval: missing run=…"
    assert not list(tmp_path.iterdir())


def test_sweep_runs_every_choice_in_a_folder_of_its_own(demo):
    done = demo("run", "-m", "seed=1,2", "scene.images=shots/bike")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("seed ")]
    assert [line.split()[1] for line in lines] == ["1", "2"]
    assert [line.split()[-1] for line in lines] == [
        "outputs/bike/0_seed=1",
        "outputs/bike/1_seed=2",
    ]


def test_shared_files_are_found_in_a_checkout():
    assert (shared_dir() / "conf" / "recon_run.yaml").is_file()

"""Commands in forks behave as commands in processes of their own."""

import subprocess
import sys

import pytest

from tests.conftest import command


@pytest.mark.parametrize(
    "arguments",
    [["recon"], ["registration", "run", "source=no.ply"], ["corr", "match"], ["corr", "nothing"]],
)
def test_a_fork_says_what_a_process_says(arguments, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    alone = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout)
    assert done.stderr == alone.stderr


def test_every_command_starts_anew(tmp_path):
    (tmp_path / "count.py").write_text("import numpy; numpy.n = getattr(numpy, 'n', 0) + 1\n"
                                       "print(numpy.n, __name__)\n")  # fmt: skip
    assert [command("count", cwd=tmp_path).stdout for _ in range(2)] == ["1 __main__\n"] * 2


def test_what_takes_too_long_is_killed(tmp_path):
    (tmp_path / "wait.py").write_text("import time; print('begun', flush=True); time.sleep(60)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        command("wait", cwd=tmp_path, timeout=1)
    (tmp_path / "fail.py").write_text("raise ValueError('so')\n")
    done = command("fail", cwd=tmp_path)
    assert done.returncode == 1
    assert "ValueError: so" in done.stderr

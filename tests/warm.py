"""The project's commands without the wait for their imports.

Most of a small command's seconds are Python's: torch, scipy and numba are read anew. A server
imports them once, does nothing else, and every command runs in a fork of it, as `python -m` would
run it: its own process, folder, arguments and output.
"""

import atexit
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

HEAVY = (
    "numpy", "torch", "scipy.sparse.csgraph", "scipy.spatial", "scipy.optimize", "scipy.ndimage",
    "numba", "PIL.Image", "cv2", "hydra", "jinja2", "kornia.feature", "pycolmap", "poselib",
)  # fmt: skip


class Warm:
    """A server of forks; `run` is `subprocess.run([python, "-m", …])` with the output captured."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        atexit.register(self.server.kill)

    def run(
        self, arguments: list[str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a module with arguments from a folder.

        Raises:
            subprocess.TimeoutExpired: It took longer; it is killed.
        """
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            ask = {
                "arguments": arguments, "cwd": str(cwd), "timeout": timeout, "to": folder,
                "environment": dict(os.environ),
            }  # fmt: skip
            self.server.stdin.write(json.dumps(ask) + "\n")
            self.server.stdin.flush()
            code = json.loads(self.server.stdout.readline())
            stdout, stderr = ((Path(folder) / name).read_text() for name in ("stdout", "stderr"))
        if code is None:
            raise subprocess.TimeoutExpired(arguments, timeout, stdout, stderr)
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)


def serve() -> None:
    """Import, then fork for every line of the standard input."""
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        ask = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(ask)
        answers.write(json.dumps(_wait(pid, ask["timeout"])) + "\n")
        answers.flush()


def _wait(pid: int, timeout: float) -> int | None:
    """The exit status of a fork; None when it had to be killed."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        os.killpg(pid, signal.SIGKILL)

    timer = threading.Timer(timeout, kill)
    timer.start()
    _, status = os.waitpid(pid, 0)
    timer.cancel()
    return None if late.is_set() else os.waitstatus_to_exitcode(status)


def _become(ask: dict) -> NoReturn:
    """Be the command, to the end of the process."""
    os.setsid()
    os.chdir(ask["cwd"])
    os.environ.clear()
    os.environ.update(ask["environment"])
    for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
        file = os.open(Path(ask["to"]) / name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    module, *words = ask["arguments"]
    sys.argv = [module, *words]
    sys.path[0] = ask["cwd"]
    code = _exit_code(module)
    threading._shutdown()  # type: ignore[attr-defined]  # as at the end of any process
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve()

"""`python -m registration run | eval | multiway`."""

import warnings

from corr.cli import Command, dispatch
from registration.options import RunOptions, register_run
from registration.options_eval import (
    EvalOptions,
    MultiwayOptions,
    register_eval,
    register_multiway,
)


def _run(options: RunOptions) -> None:
    from registration.pipeline import run

    print(run(options).text())


def _eval(options: EvalOptions) -> None:
    from registration.evaluate import evaluate

    print(evaluate(options))


def _multiway(options: MultiwayOptions) -> None:
    from registration.multiway import multiway

    print(multiway(options))


# Numba tells of a TBB that it cannot use, and takes another threading layer.
warnings.filterwarnings("ignore", message="The TBB threading layer")

COMMANDS = {
    "run": Command(
        "registration_run", "align two scans: transform, pictures, report", _run, register_run
    ),
    "eval": Command(
        "registration_eval", "recall on 3DMatch, 3DLoMatch, KITTI, ICL-NUIM", _eval, register_eval
    ),
    "multiway": Command(
        "registration_multiway", "a folder of scans into one frame", _multiway, register_multiway
    ),
}

if __name__ == "__main__":
    dispatch("registration", COMMANDS)

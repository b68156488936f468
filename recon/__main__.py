"""`python -m recon run | eval`."""

from corr.cli import Command, dispatch
from recon.options import EvalOptions, RunOptions, register_eval, register_run


def _run(options: RunOptions) -> None:
    from recon.pipeline import run

    print(run(options).text())


def _eval(options: EvalOptions) -> None:
    from recon.evaluate import evaluate

    print(evaluate(options))


COMMANDS = {
    "run": Command(
        "recon_run", "photos to cameras, splats, mesh and report", _run, register_run
    ),
    "eval": Command("recon_eval", "score a finished run", _eval, register_eval),
}

if __name__ == "__main__":
    dispatch("recon", COMMANDS)

"""`python -m corr eval`."""

from corr.cli import Command, dispatch
from corr.options import EvalOptions, register_eval


def _eval(options: EvalOptions) -> None:
    from corr.semantic.evaluate import evaluate

    print(evaluate(options))


COMMANDS = {
    "eval": Command(
        "corr_eval",
        "PCK of semantic matching on SPair-71k, PF-PASCAL, PF-WILLOW, AP-10K, own photos",
        _eval,
        register_eval,
    ),
}

if __name__ == "__main__":
    dispatch("corr", COMMANDS)

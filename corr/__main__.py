"""`python -m corr eval | train`."""

import sys
from collections.abc import Sequence

from corr.cli import Command, dispatch
from corr.options import EvalOptions, register_eval
from corr.training_options import TrainOptions, register_train


def _eval(options: EvalOptions) -> None:
    from corr.semantic.evaluate import evaluate

    print(evaluate(options))


def _train_semantic(options: TrainOptions) -> None:
    from corr.semantic.learned.train import train

    print(train(options))


# What `corr train` trains, by the group that names it on the command line.
TRAININGS = {
    "method": Command(
        "corr_train_semantic",
        "a head for semantic matching on frozen features: supervised, matchme",
        _train_semantic,
        register_train,
    ),
}


def training(arguments: Sequence[str]) -> Command:
    """The training whose group is named (`method=…`), the first one by default."""
    named = {argument.partition("=")[0].partition(".")[0] for argument in arguments}
    return next((c for group, c in TRAININGS.items() if group in named), TRAININGS["method"])


COMMANDS = {
    "eval": Command(
        "corr_eval",
        "PCK of semantic matching on SPair-71k, PF-PASCAL, PF-WILLOW, AP-10K, own photos",
        _eval,
        register_eval,
    ),
    "train": training(sys.argv[2:]),
}

if __name__ == "__main__":
    dispatch("corr", COMMANDS)

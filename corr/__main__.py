"""`python -m corr match | eval | train | weights`."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from corr.cli import Command, dispatch
from corr.matchers.dense.training.options import TrainOptions as DenseTrainOptions
from corr.matchers.dense.training.options import register_train as register_train_dense
from corr.options import TWO_VIEW, EvalOptions, register_eval
from corr.options_match import MatchOptions, WeightsOptions, register_match, register_weights
from corr.training_options import TrainOptions, register_train


def _match(options: MatchOptions) -> None:
    from corr.match_command import match

    print(match(options))


def _eval(options: EvalOptions) -> None:
    if options.benchmark in TWO_VIEW:
        from corr.evaluation.evaluate import evaluate
    else:
        from corr.semantic.evaluate import evaluate
    print(evaluate(options))


def _weights(options: WeightsOptions) -> None:
    from corr.weights import table

    print(table())


def _train_semantic(options: TrainOptions) -> None:
    from corr.semantic.learned.train import train

    print(train(options))


def _train_dense(options: DenseTrainOptions) -> None:
    from corr.matchers.dense.training.loop import train

    print(train(options))


# What `corr train` trains, by the group that names it on the command line.
TRAININGS = {
    "method": Command(
        "corr_train_semantic",
        "networks for semantic matching: supervised, matchme, distill, asic",
        _train_semantic,
        register_train,
    ),
    "matcher": Command(
        "corr_train",
        "a matcher of ours on pairs made on the fly: dense",
        _train_dense,
        register_train_dense,
    ),
}


def training(arguments: Sequence[str]) -> Command:
    """The training whose group is named (`method=…`), the first one by default."""
    named = {argument.partition("=")[0].partition(".")[0] for argument in arguments}
    return next((c for group, c in TRAININGS.items() if group in named), TRAININGS["method"])


COMMANDS = {
    "match": Command(
        "corr_match",
        "match photos: pictures, two-view geometry, files",
        _match,
        register_match,
        positional="photos",
    ),
    "eval": Command(
        "corr_eval",
        "score matchers (poses, homographies) and semantic correspondence (PCK) on benchmarks",
        _eval,
        register_eval,
    ),
    "train": replace(
        training(sys.argv[2:]),
        summary="train: method=supervised | matchme | distill | asic (semantic), or matcher=dense",
    ),
    "weights": Command(
        "corr_weights",
        "which network weights are here, and how the others are got",
        _weights,
        register_weights,
    ),
}

if __name__ == "__main__":
    dispatch("corr", COMMANDS)

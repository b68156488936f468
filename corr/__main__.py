"""`python -m corr eval | train`."""

from corr.cli import Command, dispatch
from corr.matchers.dense.training.options import TrainOptions, register_train
from corr.options import EvalOptions, register_eval


def _eval(options: EvalOptions) -> None:
    from corr.semantic.evaluate import evaluate

    print(evaluate(options))


def _train(options: TrainOptions) -> None:
    from corr.matchers.dense.training.loop import train

    print(train(options))


COMMANDS = {
    "eval": Command(
        "corr_eval",
        "PCK of semantic matching on SPair-71k, PF-PASCAL, PF-WILLOW, AP-10K, own photos",
        _eval,
        register_eval,
    ),
    "train": Command(
        "corr_train", "train a matcher of ours on pairs made on the fly", _train, register_train
    ),
}

if __name__ == "__main__":
    dispatch("corr", COMMANDS)

"""`python -m corr match | eval | weights`."""

from corr.cli import Command, dispatch
from corr.options import TWO_VIEW, EvalOptions, register_eval
from corr.options_match import MatchOptions, WeightsOptions, register_match, register_weights


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
    "weights": Command(
        "corr_weights",
        "which network weights are here, and how the others are got",
        _weights,
        register_weights,
    ),
}

if __name__ == "__main__":
    dispatch("corr", COMMANDS)

"""Hough voting against Open3D RANSAC, FGR and KISS-Matcher, same pairs, same run, one thread each.

`pytest -m benchmark -s tests/benchmarks/bench_registration.py`; EVERY=10 takes more of the pairs,
ORIENTATION=none hides the sensor position.
"""

import os
from importlib.util import find_spec

import pytest

from registration.baselines import KissMatcher, Open3DFgr, Open3DRansac
from registration.evaluate import evaluate
from registration.evaluation.predictions import read_all
from registration.evaluation.scores import Scores, score
from registration.evaluation.tables import number, percent, table
from registration.options_eval import EvalOptions
from registration.registrar import Registrar

EVERY = int(os.environ.get("EVERY", "40"))
ORIENTATION = os.environ.get("ORIENTATION", "sensor")
pytestmark = [pytest.mark.benchmark, pytest.mark.data]


def registrars() -> dict[str, Registrar]:
    from registration.hough import HoughRegistrar

    found: dict[str, Registrar] = {
        "hough": HoughRegistrar(),
        "Open3D RANSAC 50 k, mutual": Open3DRansac(),
        "Open3D RANSAC 50 k, one way": Open3DRansac(mutual=False),
        "Open3D FGR": Open3DFgr(),
    }
    if find_spec("kiss_matcher"):
        found["KISS-Matcher"] = KissMatcher()
    return found


def scored(benchmark: str, root, registrar: Registrar, out) -> Scores:
    options = EvalOptions(
        benchmark, str(root), registrar, orientation=ORIENTATION, every=EVERY, out=str(out)
    )
    evaluate(options)
    from registration.evaluate import chosen_benchmark

    return score(chosen_benchmark(options, out), read_all(out))


@pytest.mark.parametrize("benchmark", ["3dmatch", "3dlomatch"])
def test_hough_is_ahead(data_dir, tmp_path, benchmark):
    root = data_dir / "3dmatch"
    rows, recall, seconds = [], {}, {}
    for k, (name, registrar) in enumerate(registrars().items()):
        scores = scored(benchmark, root, registrar, tmp_path / str(k))
        total = scores.total
        recall[name], seconds[name] = 100 * total.recalls.a_pairs, total.seconds_pair
        rows.append(
            [name, str(total.pairs), percent(total.recalls.a_pairs), percent(total.recalls.b_pairs),
             number(total.successes.rotation_mean_deg), number(total.successes.translation_mean_cm),
             number(total.seconds_pair), f"{recall['hough'] - recall[name]:+.1f}",
             f"{seconds[name] / seconds['hough']:.2f}"]
        )  # fmt: skip
    head = ["registrar", "pairs", "A", "B", "RE deg", "TE cm", "s a pair", "hough ahead by",
            "seconds / hough's"]  # fmt: skip
    print(f"\n{benchmark}, orientation={ORIENTATION}\n{table(head, rows)}")
    peers = [v for name, v in recall.items() if name != "hough"]
    assert recall["hough"] >= max(peers) - 5  # a sample of few pairs; the bar is over all of them

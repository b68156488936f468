"""Which figures of a finished run stand in a comparison, by the kind of the run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One column.

    Args:
        name: As it is printed, with its unit.
        path: Keys and list positions in the run's JSON, dots between.
        digits: After the point.
        best: high | low | empty, where neither is better.
        factor: The value is shown times this.
    """

    name: str
    path: str
    digits: int = 2
    best: str = ""
    factor: float = 1.0

    def of(self, record: Mapping[str, Any]) -> float | None:
        """The value; None where the run has none."""
        found: Any = record
        for key in self.path.split("."):
            if isinstance(found, Mapping):
                found = found.get(key)
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                return None
        usable = isinstance(found, (int, float))
        return self.factor * float(found) if usable else None


RECONSTRUCTION_KIND = "reconstruction"
RECONSTRUCTION = (
    Figure("photos placed", "photos.placed", 0, "high"),
    Figure("PSNR held out dB", "held_out.psnr_mean", 2, "high"),
    Figure("SSIM held out", "held_out.ssim", 3, "high"),
    Figure("PSNR inputs dB", "training.psnr", 2, "high"),
    Figure("rotation deg", "cameras.median_rotation_deg", 3, "low"),
    Figure("centre %", "cameras.median_centre_percent", 3, "low"),
    Figure("F1 at 2 %", "surface.f1_2pct", 3, "high"),
    Figure("splats", "splats.count", 0),
    Figure("seconds", "total_seconds", 0, "low"),
    Figure("peak MB", "peak_mb", 0, "low"),
)
ALIGNMENT = (
    Figure("accepted", "accepted", 0, "high"),
    Figure("probability", "probability", 3, "high"),
    Figure("true rotation error deg", "true_error.rotation_deg", 3, "low"),
    Figure("true translation error", "true_error.translation", 4, "low"),
    Figure("matches that agree", "matches.inliers", 0, "high"),
)
ALIGNMENT_EVALUATION = (
    Figure("recall %", "total.recalls.a_pairs", 1, "high", 100.0),
    Figure("recall by RMSE %", "total.recalls.b_pairs", 1, "high", 100.0),
    Figure("rotation error deg", "total.successes.rotation_mean_deg", 2, "low"),
    Figure("translation error cm", "total.successes.translation_mean_cm", 2, "low"),
    Figure("pairs", "total.pairs", 0),
    Figure("seconds a pair", "total.seconds_pair", 2, "low"),
)
AUC_AT = {"pose": ("5 deg", "10 deg", "20 deg"), "homography": ("3 px", "5 px", "10 px")}
TWO_VIEW_EVALUATION = (
    Figure("median error", "headline.median_error", 2, "low"),
    Figure("right matches %", "precision", 1, "high", 100.0),
    Figure("pairs", "pairs", 0),
    Figure("seconds a pair", "seconds", 2, "low"),
)
SEMANTIC_EVALUATION = (
    Figure("PCK@0.1 by image %", "averages.2.per_image", 1, "high", 100.0),
    Figure("PCK@0.1 by point %", "averages.2.per_point", 1, "high", 100.0),
    Figure("AUC of trust", "trust.auc", 3, "high"),
    Figure("pairs", "pairs", 0),
)


def _auc(record: Mapping[str, Any]) -> Iterator[Figure]:
    for k, at in enumerate(AUC_AT.get(record.get("kind", ""), ())):
        yield Figure(f"AUC@{at} %", f"headline.auc.{k}", 1, "high", 100.0)


def kind_of(record: Mapping[str, Any]) -> tuple[str, tuple[Figure, ...]]:
    """What a run's JSON is about, and its figures; no figures: something else."""
    if "photos" in record and "metadata" in record:
        return RECONSTRUCTION_KIND, RECONSTRUCTION
    if "target_from_source" in record:
        return "alignment", ALIGNMENT
    if "registrar" in record and "total" in record:
        return f"alignment, {record['benchmark']}", ALIGNMENT_EVALUATION
    if "headline" in record:
        return f"two views, {record['benchmark']}", (*_auc(record), *TWO_VIEW_EVALUATION)
    if "averages" in record:
        return f"semantic, {record['benchmark']}", SEMANTIC_EVALUATION
    return "", ()

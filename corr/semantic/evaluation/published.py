"""Published PCK to stand beside ours, each with the average it was taken by. Quoted, not re-run."""

from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True)
class Published:
    """One row: PCK in percent at alpha 0.01, 0.05, 0.10 and 0.15; NaN = not stated."""

    method: str
    supervision: str  # none | weak (masks, poses) | full (key-points)
    average: str  # per image | per point
    pck: tuple[float, float, float, float]
    source: str
    note: str = ""


def _row(
    method: str, supervision: str, at: tuple[float, float, float], note: str = ""
) -> Published:
    """A row of the table that states three alphas per image."""
    return Published(method, supervision, "per image", (*at, NAN), "3D-SC 2026, table C1", note)


def _at_10(method: str, supervision: str, average: str, value: float, source: str, note: str = ""):
    return Published(method, supervision, average, (NAN, NAN, value, NAN), source, note)


_DIY = "DIY-SC 2025, table"
SPAIR = (
    _at_10("HPF, ResNet-101", "layers chosen on val", "per image", 28.2, "HPF 2019"),
    _at_10("ASIC", "none", "per point", 36.5, "ASIC, readme"),
    _at_10("CATs", "full", "per image", 49.9, "CATs 2021"),
    _row("DIFT", "none", (7.2, 39.7, 52.9)),
    _row("DINOv2-B, nearest neighbour", "none", (6.3, 38.4, 53.9)),
    _row("SD + DINOv2", "none", (7.9, 44.7, 59.9)),
    _at_10("SD + DINO", "none", "per point", 64.0, _DIY),
    _at_10("DistillDIFT, unsupervised", "none", "per point", 59.8, "distilldift issue 3",
           "65.1 with the threshold scaled by y"),
    _row("SphMap", "weak", (8.4, 48.2, 64.4)),
    _at_10("SphMap", "weak", "per point", 67.8, _DIY),
    _at_10("GeoAware-SC, zero-shot, pose alignment", "none", "per point", 69.6, _DIY),
    _at_10("DistillDIFT", "weak", "per point", 70.6, _DIY),
    _row("DIY-SC", "weak", (10.1, 53.8, 71.6)),
    _at_10("DIY-SC", "weak", "per point", 74.4, _DIY),
    _row("3D-SC", "weak", (10.2, 54.8, 73.0)),
    _row("DHF", "full", (8.7, 50.2, 64.9)),
    _row("SD + DINOv2", "full", (9.6, 57.7, 74.6)),
    _row("GECO", "full", (14.2, 59.6, 73.6)),
    _row("Jamais Vu", "full", (20.5, 71.9, 82.5)),
    _row("GeoAware-SC", "full", (21.7, 72.8, 83.2), "85.6 with AP-10K pre-training"),
    _row("MARCO", "full", (27.0, 77.6, 87.2)),
    _row("SemAlign3D", "full", (15.8, 77.5, 88.9)),
)  # fmt: skip
PF_PASCAL = (
    Published("HPF", "layers chosen on val", "per image", (NAN, NAN, 84.8, NAN), "HPF 2019"),
    Published("CATs", "full", "per image", (NAN, 75.4, 92.6, 96.4), "CATs 2021",
              "in squashed photos"),
)  # fmt: skip
PF_WILLOW = (
    Published("HPF", "layers chosen on val", "per image", (NAN, NAN, 74.4, NAN), "HPF 2019",
              "extent of the key-points"),
)  # fmt: skip
ROWS = {"SPair-71k": SPAIR, "PF-PASCAL": PF_PASCAL, "PF-WILLOW": PF_WILLOW}

"""Published recalls to stand beside ours, each with the definition it was measured by.

Rows of others are quoted, not re-run. "A" and "B" are the definitions of `registration.recall`;
their normals are, as far as can be told from inlier ratios, unoriented.
"""

from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True)
class Published:
    """One row: recall in percent, mean errors over successes, seconds a pair as stated there."""

    method: str
    features: str
    definition: str  # A | B | "5 deg / 60 cm" | "5 deg / 2 m"
    recall: float
    rotation_deg: float = NAN
    translation_cm: float = NAN
    seconds: float = NAN
    source: str = ""


_TRUSS = "PointTruss 2025, table (RTX 3090)"
_VBREG = "VBReg 2023"
_TURBO = "TurboReg, readme"
_GEO = "GeoTransformer, readme"

THREEDMATCH = (
    Published("FGR", "FPFH", "A", 40.91, 4.96, 10.25, 0.89, _TRUSS),
    Published("RANSAC (4 M)", "FPFH", "A", 66.10, 3.95, 11.03, 2.86, _TRUSS),
    Published("DHVR", "FPFH", "A", 67.10, 2.56, 7.67, 0.40, _VBREG),
    Published("PointDSC", "FPFH", "A", 72.95, 2.18, 6.45, 0.10, _TRUSS),
    Published("TEASER++", "FPFH", "A", 75.48, 2.48, 7.31, 0.03, _TRUSS),
    Published("VBReg", "FPFH", "A", 82.57, source=_TRUSS),
    Published("SC2-PCR", "FPFH", "A", 83.90, 2.12, 6.69, 0.12, _TRUSS),
    Published("MAC", "FPFH", "A", 83.90, 2.11, 6.80, 5.54, _TRUSS),
    Published("TurboReg", "FPFH", "A", 84.10, 2.19, 6.81, source=_TURBO),
    Published("PointTruss", "FPFH", "A", 84.70, 1.80, 6.22, 0.20, _TRUSS),
    Published("DHVR", "FCGF", "A", 89.40, 2.19, 6.95, 0.40, _VBREG),
    Published("SC2-PCR", "FCGF", "A", 93.16, 2.06, 6.53, 0.12, _TRUSS),
    Published("MAC", "FCGF", "A", 93.72, 2.07, 6.52, 5.54, _TRUSS),
    Published("PointTruss", "FCGF", "A", 93.84, 1.70, 6.13, 0.20, _TRUSS),
    Published("GeoTransformer", "learned", "B", 92.5, source=_GEO),
    Published("RoITr", "learned", "B", 91.9, source="RoITr 2023"),
    Published("PARE-Net", "learned", "B", 95.0, source="PARE-Net 2024"),
)
THREEDLOMATCH = (
    Published("RANSAC (4 M)", "FPFH", "A", 19.83, source=_TRUSS),
    Published("PointDSC", "FPFH", "A", 27.91, source=_TRUSS),
    Published("VBReg", "FPFH", "A", 30.83, source=_TRUSS),
    Published("TEASER++", "FPFH", "A", 35.15, source=_TRUSS),
    Published("SC2-PCR", "FPFH", "A", 35.93, source=_TRUSS),
    Published("MAC", "FPFH", "A", 40.88, source=_TRUSS),
    Published("TurboReg", "FPFH", "A", 40.99, source=_TURBO),
    Published("PointTruss", "FPFH", "A", 43.96, source=_TRUSS),
    Published("DHVR", "FCGF", "A", 50.4, source=_VBREG),
    Published("SC2-PCR", "FCGF", "A", 58.73, source=_TRUSS),
    Published("PointTruss", "FCGF", "A", 61.64, source=_TRUSS),
    Published("GeoTransformer", "learned", "B", 74.2, source=_GEO),
    Published("RoITr", "learned", "B", 74.8, source="RoITr 2023"),
    Published("PARE-Net", "learned", "B", 80.5, source="PARE-Net 2024"),
)
KITTI = (
    Published("FGR", "FPFH", "5 deg / 60 cm", 5.23, seconds=3.88, source=_TRUSS),
    Published("RANSAC", "FPFH", "5 deg / 60 cm", 74.41, seconds=5.43, source=_TRUSS),
    Published("TEASER++", "FPFH", "5 deg / 60 cm", 91.17, seconds=0.03, source=_TRUSS),
    Published("MAC", "FPFH", "5 deg / 60 cm", 97.66, seconds=3.29, source=_TRUSS),
    Published("TurboReg", "FPFH", "5 deg / 60 cm", 98.56, 0.47, 8.96, 0.015, _TURBO),
    Published("PointDSC", "FPFH", "5 deg / 60 cm", 98.92, seconds=0.45, source=_TRUSS),
    Published("SC2-PCR", "FPFH", "5 deg / 60 cm", 99.46, seconds=0.31, source=_TRUSS),
    Published("PointTruss", "FPFH", "5 deg / 60 cm", 99.64, 0.43, 5.31, 0.21, _TRUSS),
    Published("GeoTransformer", "learned", "5 deg / 2 m", 99.8, 0.23, 6.2, source=_GEO),
)
ROWS = {"3DMatch": THREEDMATCH, "3DLoMatch": THREEDLOMATCH, "KITTI": KITTI, "ICL-NUIM": ()}

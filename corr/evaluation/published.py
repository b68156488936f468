"""Published AUC to stand beside ours, each with its own protocol. Quoted, not re-run."""

from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True)
class Published:
    """One row: AUC in percent at the three limits (degrees or pixels); NaN = not stated."""

    method: str
    estimator: str
    protocol: str  # size of the photos, what the network was trained on
    auc: tuple[float, float, float]
    source: str


_ELOFTR = "EfficientLoFTR 2024, table 1"
_GLUE = "glue-factory, readme"
_XFEAT = "XFeat 2024, table"
_ROMA = "RoMa, readme"
_ROMAV2 = "RoMa v2 2025, table 4"
_MEGA = "1200 px, trained on MegaDepth"
_SCAN = "640 x 480, trained on MegaDepth"


def _opencv(method: str, protocol: str, at: tuple[float, float, float]) -> Published:
    return Published(method, "OpenCV 0.5 px", protocol, at, _ELOFTR)


MEGADEPTH = (
    _opencv("SuperPoint + nearest neighbour", "1600 px", (31.7, 46.8, 60.1)),
    _opencv("SuperPoint + SuperGlue", "1600 px", (49.7, 67.1, 80.6)),
    _opencv("SuperPoint + LightGlue", "1600 px", (49.9, 67.0, 80.1)),
    _opencv("LoFTR", _MEGA, (52.8, 69.2, 81.2)),
    _opencv("EfficientLoFTR", _MEGA, (56.4, 72.2, 83.5)),
    _opencv("DKM", _MEGA, (60.4, 74.9, 85.1)),
    _opencv("RoMa", _MEGA, (62.6, 76.7, 86.3)),
    Published("RoMa v2", "OpenCV 0.5 px", "800 to 1280 px", (62.8, 77.0, 86.6), _ROMAV2),
    Published("VGGT", "its own poses", "518 px", (33.5, 52.9, 70.0), _ROMAV2),
    Published("SuperPoint + LightGlue", "OpenCV", "swept threshold", (51.0, 68.1, 80.7), _GLUE),
    Published("SuperPoint + LightGlue", "pycolmap", "swept threshold", (56.7, 72.4, 83.7), _GLUE),
    Published("SuperPoint + LightGlue", "PoseLib", "swept threshold", (66.8, 79.3, 87.9), _GLUE),
    Published("ALIKED + LightGlue", "OpenCV", "swept threshold", (52.3, NAN, NAN), _GLUE),
    Published("ALIKED + LightGlue", "PoseLib", "swept threshold", (66.4, NAN, NAN), _GLUE),
    Published("SIFT + LightGlue", "PoseLib", "swept threshold", (65.9, NAN, NAN), _GLUE),
    Published("XFeat", "PoseLib 2.5 px", "1200 px", (42.6, 56.4, 67.7), _XFEAT),
    Published("XFeat*", "PoseLib 2.5 px", "1200 px", (50.2, 65.4, 77.1), _XFEAT),
    Published("XFeat + LighterGlue", "PoseLib", "1024 px, 4096 points", (56.4, 71.0, 81.9),
              "XFeat, readme"),
    Published("XFeat", "PoseLib 1 px", "1200 px", (46.4, 58.9, 69.2), _ROMA),
    Published("XFeat*", "PoseLib 1 px", "1200 px", (51.9, 67.2, 78.9), _ROMA),
)  # fmt: skip
SCANNET = (
    _opencv("SuperPoint + SuperGlue", _SCAN, (16.2, 32.8, 49.7)),
    _opencv("SuperPoint + LightGlue", _SCAN, (14.8, 30.8, 47.5)),
    _opencv("LoFTR", _SCAN, (16.9, 33.6, 50.6)),
    _opencv("EfficientLoFTR", _SCAN, (19.2, 37.0, 53.6)),
    _opencv("DKM", _SCAN, (26.6, 47.1, 64.2)),
    _opencv("RoMa", _SCAN, (28.9, 50.4, 68.3)),
    Published("LoFTR", "OpenCV 0.5 px", "640 x 480, trained on ScanNet", (22.1, 40.8, 57.6),
              "LoFTR 2021"),
    Published("SuperPoint + LightGlue", "OpenCV", "swept threshold", (17.8, 34.0, 52.0), _GLUE),
    Published("SuperPoint + LightGlue", "PoseLib", "swept threshold", (21.9, 39.8, 55.7), _GLUE),
    Published("XFeat", "PoseLib 2.5 px", "640 x 480", (16.7, 32.6, 47.8), _XFEAT),
    Published("XFeat*", "PoseLib 2.5 px", "640 x 480", (18.4, 34.7, 50.3), _XFEAT),
)  # fmt: skip
HPATCHES = (
    Published("LoFTR", "OpenCV 3 px", "shorter side 480", (65.9, 75.6, 84.6), _ELOFTR),
    Published("EfficientLoFTR", "OpenCV 3 px", "shorter side 480", (66.5, 76.4, 85.5), _ELOFTR),
)
ROWS = {"MegaDepth-1500": MEGADEPTH, "ScanNet-1500": SCANNET, "HPatches": HPATCHES}
"""By benchmark; a mixture of estimators compares nothing, so every row names its own."""

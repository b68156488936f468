"""Every matcher by the name it is chosen with."""

from corr.matchers.aliked import AlikedLightGlue
from corr.matchers.base import Matcher
from corr.matchers.dedode import DeDoDe
from corr.matchers.dense.matcher import DenseMatcher
from corr.matchers.disk import DiskLightGlue
from corr.matchers.efficient_loftr.matcher import EfficientLoftrMatcher
from corr.matchers.loftr import Loftr
from corr.matchers.roma import Roma
from corr.matchers.sift import Sift
from corr.matchers.xfeat import XFeatStar
from corr.matchers.xfeat_sparse import XFeatLighterGlue, XFeatPoints

MATCHERS: dict[str, type[Matcher]] = {
    "xfeat_star": XFeatStar,
    "xfeat": XFeatPoints,
    "xfeat_lighterglue": XFeatLighterGlue,
    "dense": DenseMatcher,
    "aliked_lightglue": AlikedLightGlue,
    "disk_lightglue": DiskLightGlue,
    "dedode": DeDoDe,
    "loftr": Loftr,
    "efficient_loftr": EfficientLoftrMatcher,
    "roma": Roma,
    "sift": Sift,
}

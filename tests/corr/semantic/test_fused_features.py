"""Two kinds of features on one grid: the cosine is the weighted mean, components are shared."""

import numpy as np
import pytest

from corr.semantic.features.cache import described, extractor_key
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.hyperpixels import Cells, hyperpixels


class Waves(Extractor):
    """A smooth function of the place in the photo and of the photo's own first pixel."""

    def __init__(self, step: float, d: int):
        rng = np.random.default_rng(d)
        self.step, self.k, self.phase = step, rng.normal(0, 0.05, (d, 2)), rng.uniform(0, 6, d)

    def settings(self):
        return {"step": self.step}

    def extract(self, rgb):
        height, width = rgb.shape[:2]
        v, u = np.mgrid[self.step / 2 : height : self.step, self.step / 2 : width : self.step]
        angle = np.stack([u, v], -1) @ self.k.T + self.phase + rgb[0, 0, 0] / 40
        step = np.full(2, float(self.step))
        cells = unit(np.sin(angle)).astype(np.float32)
        return FeatureGrid(cells, step / 2, step, width, height)


def fused(**options) -> FusionFeatures:
    made = FusionFeatures(**options)
    made.lite, made.xfeat = Waves(8, 11), Waves(5, 7)
    return made


def photo(shade: int = 0) -> np.ndarray:
    return np.full((61, 83, 3), shade, np.uint8)


@pytest.mark.parametrize("grid", ["first", "second"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_cosine_is_the_weighted_mean_of_both(grid, weight):
    made = fused(weight=weight, grid=grid)
    joined = made.extract(photo())
    first, second = made.lite.extract(photo()), made.xfeat.extract(photo())
    like = first if grid == "first" else second
    assert joined.shape == like.shape
    np.testing.assert_array_equal(joined.centres(), like.centres())
    a, b = (g.sample(like.centres()) for g in (first, second))
    wanted = (1 - weight) * a @ a.T + weight * b @ b.T
    np.testing.assert_allclose(joined.flat @ joined.flat.T, wanted, atol=1e-5)


def test_components_are_those_of_the_whole_collection():
    photos = {f"p{k}": photo(30 * k) for k in range(5)}
    made = fused(components=3, weight=0.5).for_collection(list(photos), photos.__getitem__)
    grids = [made.extract(p) for p in photos.values()]
    assert grids[0].descriptor.shape[-1] == 6
    # The first part again, by hand: all its cells, singular vectors, no eigenvectors.
    rows = np.concatenate([made.lite.extract(p).flat for p in photos.values()])
    _, _, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    low = unit((rows - rows.mean(0)) @ directions[:3].T)
    mine = unit(np.concatenate([g.flat[:, :3] for g in grids]))
    np.testing.assert_allclose(mine @ mine.T, low @ low.T, atol=1e-3)


def test_components_of_another_collection_are_other_features():
    photos = {f"p{k}": photo(30 * k) for k in range(5)}
    plain = fused(components=3)
    made = [plain.for_collection(n, photos.__getitem__) for n in (["p0", "p1"], ["p0", "p3"])]
    again = plain.for_collection(["p1", "p0"], photos.__getitem__)
    assert extractor_key(made[0]) != extractor_key(made[1])
    assert extractor_key(made[0]) == extractor_key(again)
    np.testing.assert_array_equal(
        made[0].extract(photo(7)).descriptor, again.extract(photo(7)).descriptor
    )
    with pytest.raises(ValueError, match="components needs a collection"):
        plain.extract(photo())
    assert fused().for_collection(["p0"], photos.__getitem__).settings() == fused().settings()


def test_only_the_parts_in_use_decide_where_features_are_kept():
    plain = FusionFeatures()
    other = FusionFeatures()
    other.dino.layer = 3
    assert extractor_key(plain) == extractor_key(other)
    other.xfeat.long_side = 256
    assert extractor_key(plain) != extractor_key(other)
    assert described(plain)["lite.blocks"] == plain.lite.blocks
    assert not any("device" in key for key in described(plain))


def test_hyperpixels_of_a_linear_ramp_lie_where_the_finest_cells_are():
    """A coarse map that says where it is says so at the finer cells as well."""
    import torch

    fine, coarse = Cells(4, 3.0), Cells(8, 9.0)
    ramp = coarse.centre + coarse.stride * torch.arange(9.0)
    maps = [torch.ones(1, 1, 14, 17), torch.stack([ramp.expand(7, 9), torch.full((7, 9), 90.0)])]
    joined, cells = hyperpixels([maps[0], maps[1][None]], [fine, coarse])
    assert cells == fine
    assert joined.shape == (1, 3, 14, 17)
    place = 90 * joined[0, 1] / joined[0, 2]
    wanted = 3.0 + 4 * torch.arange(17.0)
    inside = (wanted >= ramp[0]) & (wanted <= ramp[-1])
    assert inside.sum() > 12
    torch.testing.assert_close(
        place[:, inside], wanted[inside].expand(14, -1), atol=0.8, rtol=0
    )  # unit length bends the ramp a little between two cells
    with pytest.raises(ValueError, match="each map needs its cells"):
        hyperpixels(maps[:1], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": "vgg"}, "features.first must be one of lite, xfeat, dino, sd, got vgg"),
        ({"second": "lite"}, "features.second must differ from features.first"),
        ({"weight": 1.5}, "features.weight must lie in 0 … 1, got 1.5"),
        ({"grid": "both"}, "features.grid must be one of first, second, got both"),
        ({"components": -1}, "features.components must be 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FusionFeatures(**options)

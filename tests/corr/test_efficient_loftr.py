"""EfficientLoFTR with random weights: transformers' numbers, both layouts, the contract."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corr.errors import UserError
from corr.matchers.checkpoint import fill
from corr.matchers.efficient_loftr.attention import AggregatedAttention
from corr.matchers.efficient_loftr.fine import FineMap, refine
from corr.matchers.efficient_loftr.matcher import EfficientLoftrMatcher
from corr.matchers.efficient_loftr.network import EfficientLoftr, build
from corr.matchers.efficient_loftr.weights import fused, read_weights
from tests.corr.eloftr_worlds import Official, photo, picture, randomise, transformers_model
from tests.corr.test_matchers import equal, match

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def theirs():
    return transformers_model()


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    """Weights as transformers stores them."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("eloftr") / "model.safetensors"
    save_file(theirs.state_dict(), path)
    return path


def own(state, convention="official") -> EfficientLoftr:
    network = build(0.0, convention)
    fill(network, fused(state, Path("made up")), Path("made up"))
    return network


# Transformers turns queries and keys in float32 whatever the type: 1e-5 remain of that.
TYPES = [(torch.float32, 1e-4), (torch.float64, 2e-5)]


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_numbers_are_those_of_transformers(theirs, dtype, tolerance):
    ours = own({k: v.to(dtype) for k, v in theirs.state_dict().items()}, "transformers").to(dtype)
    theirs.to(dtype)
    a = photo(64, 128)[..., : 128 if dtype == torch.float32 else 96].to(dtype)
    b = torch.roll(a, 8, 3)
    try:
        with torch.inference_mode():
            pair = torch.stack([x[0].expand(3, -1, -1) for x in (a, b)])[None]
            wanted, maps = theirs(pair), theirs.efficientloftr(pair).feature_maps[0][0]
            seen = ours.see(a), ours.see(b)
            cells, found = ours.transformed(*seen), ours.slots(*seen)
    finally:
        theirs.float()
    assert 0.3 < maps.abs().mean() < 3
    for k in range(2):
        torch.testing.assert_close(cells[k].features[0], maps[k], rtol=0, atol=tolerance)
    assert (found.partner[0] >= 0).sum() >= 10
    assert torch.equal(found.partner, wanted.matches[0])
    uv = wanted.keypoints[0] * torch.tensor([a.shape[3], 64], dtype=dtype)
    torch.testing.assert_close(found.score, wanted.matching_scores[0], rtol=0, atol=tolerance)
    torch.testing.assert_close(found.uv, uv, rtol=0, atol=tolerance)


def naive_refine(half_a, half_b, i, j):
    """The authors' order of work: upsample, cut all windows, correlate, one match at a time."""
    a, b = (F.interpolate(m, scale_factor=2.0, mode="bilinear") for m in (half_a, half_b))
    a = F.unfold(a, 8, stride=8)[0].view(64, 64, -1)
    b = F.unfold(b, 10, stride=8, padding=1)[0].view(64, 100, -1)
    moved = []
    for own, other in zip(a[..., i].permute(2, 1, 0), b[..., j].permute(2, 1, 0), strict=True):
        sim = own[:, :56] @ other[:, :56].T / 64
        likely = (sim.softmax(0) * sim.softmax(1)).view(8, 8, 10, 10)[..., 1:-1, 1:-1]
        y, x, v, u = (int(k) for k in np.unravel_index(int(likely.argmax()), (8, 8, 8, 8)))
        heat = (own[8 * y + x, 56:] @ other[:, 56:].T / 8**0.5).view(10, 10)
        around = torch.stack([heat[v + d, u + e] for d in (-1, 0, 1) for e in (-1, 0, 1)])
        weight = (around / 10).softmax(0).view(3, 3)
        step = torch.tensor([-1.0, 0.0, 1.0])
        below = weight.sum(0) @ step, weight.sum(1) @ step
        moved.append([x - 3.5, y - 3.5, u - 3.5 + below[0], v - 3.5 + below[1]])
    return torch.tensor(moved)


def test_fine_stage_is_that_of_the_authors():
    """Windows at every border, and photos of different sizes."""
    generator = torch.Generator().manual_seed(3)
    half_a = 5 * torch.randn(1, 64, 16, 24, generator=generator)
    half_b = 5 * torch.randn(1, 64, 20, 16, generator=generator)
    i, j = torch.arange(24), torch.arange(24) * 7 % 20
    moved = torch.cat(refine(FineMap(half_a), FineMap(half_b), i, j), 1)
    torch.testing.assert_close(moved, naive_refine(half_a, half_b, i, j), rtol=0, atol=1e-4)


def test_official_checkpoint_is_read_and_its_branches_are_added_up(tmp_path, theirs):
    official = Official().eval()
    state = {f"matcher.{k}": v for k, v in official.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "eloftr_outdoor.ckpt")
    read = read_weights(tmp_path / "eloftr_outdoor.ckpt")
    assert {k: v.shape for k, v in read.items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    network = own(read)
    x = photo(64, 96)
    with torch.inference_mode():
        maps, found = official.maps(x), network.backbone(x)
        features = network(network.see(x), network.see(x))
    for name, wanted in zip(("half", "quarter", "eighth"), maps, strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(getattr(found, name) / scale, wanted / scale)
    assert torch.isfinite(features.uv_b).all()
    layer = network.transformer.across[2].join.weight
    assert torch.equal(layer, official.loftr_coarse.layers[5].mlp[0].weight)
    narrow = network.fusion.at_half.narrow.weight
    assert torch.equal(narrow, official.fine_preprocess.layer1_outconv2[3].weight)


def test_both_layouts_of_the_same_weights_are_the_same_network(tmp_path):
    """Written by the authors' names and by transformers', with branches or already fused."""
    from transformers import EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching

    official = Official().eval()
    torch.save(official.state_dict(), tmp_path / "a.ckpt")
    read = read_weights(tmp_path / "a.ckpt")
    model = EfficientLoFTRForKeypointMatching(EfficientLoFTRConfig()).eval()
    model.load_state_dict(read)
    x = photo(64, 64)
    with torch.inference_mode():
        wanted = model.efficientloftr.backbone(x)[-1]
        one = fused(read, Path("a"))
    torch.testing.assert_close(wanted, official.maps(x)[-1])
    deployed = {k: v for k, v in official.state_dict().items() if "rbr_" not in k}
    names = ["layer0", *(f"layer{s}.{k}" for s, n in ((1, 2), (2, 4), (3, 14)) for k in range(n))]
    for k, name in enumerate(names):
        for what in ("weight", "bias"):
            value = one[f"backbone.layers.{k}.{what}"]
            deployed[f"backbone.{name}.rbr_reparam.{what}"] = value
    torch.save(deployed, tmp_path / "b.ckpt")
    two = fused(read_weights(tmp_path / "b.ckpt"), Path("b"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_what_is_left_over_or_missing_in_a_file_is_named(tmp_path, theirs):
    state = dict(theirs.state_dict())
    with pytest.raises(UserError, match=r"x\.pt does not hold .*EfficientLoFTR \(more is unknown"):
        fused({**state, "more": torch.zeros(1)}, Path("x.pt"))
    del state["refinement_layer.out_conv.weight"]
    with pytest.raises(UserError, match=r"\(refinement_layer\.out_conv\.weight is missing\)"):
        fused(state, Path("x.pt"))
    torch.save({"matcher.x": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt does not hold the weights of EfficientLoFTR; "):
        read_weights(tmp_path / "x.ckpt")


def photos(as_image, mask=None):
    """One photo of odd size and two more, all different in size."""
    rgb = picture(104, 148)
    return [
        as_image(rgb[:99, :131], "a", mask, scale=2),
        as_image(rgb[8:102, 16:134], "b"),
        as_image(rgb[:, 8:], "c"),
    ]


def test_points_lie_in_their_cells_and_inside_the_photo(file, as_image):
    matcher = EfficientLoftrMatcher(weights=str(file), min_score=0.0)
    a, b, _ = photos(as_image)
    found = match(matcher, a, b)
    assert len(found) >= 20
    assert found.grid_a_px == 2
    cell = found.anchor_a / 2 / 8
    assert cell == pytest.approx(np.round(cell))
    # 131 x 99 network pixels are padded to 160 x 128: rows of 20 cells
    assert np.array_equal(found.id_a, np.round(cell[:, 1] * 20 + cell[:, 0]))
    move = (found.uv_a - found.anchor_a) / 2
    assert (move + 0.5) % 1 == pytest.approx(0)  # whole pixels of a
    assert np.abs(move).max() <= 3.5
    assert np.abs(found.uv_b - found.anchor_b).max() <= 4.5
    # Two cells along the border are left out, along the padding as well.
    assert found.anchor_a.min() >= 2 * 16
    assert (found.anchor_a <= 2 * np.array([131, 99]) - 2 * 16).all()
    assert (found.uv_b <= [118, 94]).all()


def test_many_pairs_answer_as_each_alone(file, as_image):
    matcher = EfficientLoftrMatcher(weights=str(file), min_score=0.0)
    images = photos(as_image)
    together = dict(matcher.match_pairs(images, [(0, 1), (0, 2)]))
    for (a, b), found in together.items():
        assert equal(found, match(matcher, images[a], images[b]))
    assert all(len(found) >= 20 for found in together.values())


def test_what_a_mask_hides_has_no_part_in_the_answer(file, as_image):
    matcher = EfficientLoftrMatcher(weights=str(file), min_score=0.0)
    mask = np.ones((99, 131), bool)
    mask[:, :40] = False
    a, b, _ = photos(as_image, mask)
    found = match(matcher, a, b)
    assert len(found) >= 20
    assert (found.uv_a[:, 0] >= 80).all()
    rgb = picture(104, 148)[:99, :131].copy()
    rgb[:, :40] = 255 - rgb[:, :40]
    assert equal(found, match(matcher, as_image(rgb, "d", mask, scale=2), b))


def test_masked_cells_are_not_heard():
    layer = AggregatedAttention()
    randomise(layer)
    generator = torch.Generator().manual_seed(0)
    x, source, other = torch.randn(3, 1, 256, 8, 16, generator=generator)
    usable = torch.ones(8, 16, dtype=torch.bool)
    usable[:, 8:] = False
    changed = torch.where(usable, source, other)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, source, usable), layer(x, changed, usable))
        assert not torch.allclose(layer(x, source), layer(x, changed), atol=1e-2)


def test_both_implementations_agree(file, as_image, caplog):
    """By transformers' convention; the official one gives the same cells, better places."""
    a, b = (as_image(picture(96, 136)[:, 8 * k : 8 * k + 128], f"{k}") for k in range(2))
    options = {"weights": str(file), "min_score": 0.0}
    theirs = match(EfficientLoftrMatcher(**options, implementation="transformers"), a, b)
    assert "right to the cell (8 px) only" in caplog.text
    ours = match(EfficientLoftrMatcher(**options, convention="transformers"), a, b)
    assert len(theirs) >= 20
    assert np.array_equal(theirs.id_a, ours.id_a)
    assert np.array_equal(theirs.id_b, ours.id_b)
    for name in ("uv_a", "uv_b", "score"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-3)


def test_photos_of_two_sizes_are_no_matter_to_transformers_itself(file, as_image):
    a, b, _ = photos(as_image)
    small = as_image(picture(64, 90), "small")
    theirs = EfficientLoftrMatcher(weights=str(file), min_score=0.0, implementation="transformers")
    found = match(theirs, a, b)
    place = found.anchor_a / 2 / 8  # 131 px have 17 columns, padded they have 20
    assert np.array_equal(found.id_a, place[:, 1] * 17 + place[:, 0])
    assert len(found) >= 10
    ours = EfficientLoftrMatcher(weights=str(file), min_score=0.0, convention="transformers")
    with pytest.raises(UserError, match=r"two photos of one size, got 20 x 16 and 12 x 8 cells"):
        match(ours, a, small)


def test_missing_weights_and_packages_are_one_line(tmp_path, file, monkeypatch, as_image):
    a = as_image(picture(75, 97), "a")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError,
        match=r"weights were not found \(tried .*eloftr_outdoor\.ckpt, .*models--zju-community--"
        r"efficientloftr\); get it by: hf download zju-community/efficientloftr model\.safe",
    ):
        match(EfficientLoftrMatcher(), a, a)
    snapshot = tmp_path / "models--zju-community--efficientloftr" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(file)
    assert EfficientLoftrMatcher()._network is not None
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"implementation=transformers needs the package transf"):
        match(EfficientLoftrMatcher(implementation="transformers", weights=str(file)), a, a)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"implementation": "theirs"}, "matcher.implementation must be one of own, transformers"),
        ({"convention": "mine"}, "matcher.convention must be one of official, transformers, got m"),
        ({"min_score": 1.0}, r"matcher.min_score must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EfficientLoftrMatcher(**options)


def test_positions_are_stretched_to_the_size_of_training():
    network = EfficientLoftr()
    randomise(network)
    assert network.see(photo(64, 96)).stretch == 832 / 96
    assert EfficientLoftr(convention="transformers").see(photo(64, 96)).stretch == 1

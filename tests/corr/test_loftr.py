"""LoFTR and DeDoDe with random weights from files, and RoMa's adapter with a warp of our own.

The official weights are not at hand; what is tested is everything around them.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.matchers.dedode import DeDoDe
from corr.matchers.loftr import CELL, Loftr, build_loftr
from corr.matchers.roma import Roma
from tests.corr.test_matchers import match

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loftr_file(tmp_path_factory):
    """A checkpoint as the authors' are: the network inside a training wrapper."""
    from kornia.feature import LoFTR

    torch.manual_seed(0)
    state = {f"matcher.{k}": v for k, v in LoFTR(None).state_dict().items()}
    file = tmp_path_factory.mktemp("loftr") / "loftr_outdoor.ckpt"
    torch.save({"state_dict": state}, file)
    return file


def random_maps(rows: int, columns: int) -> dict[str, torch.Tensor]:
    """What a backbone might say: the answers of an untrained one are all alike."""
    generator = torch.Generator().manual_seed(rows)
    return {
        "coarse": 5 * torch.randn(1, 256, rows, columns, generator=generator),
        "fine": torch.randn(1, 128, 4 * rows, 4 * columns, generator=generator),
    }


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_answer_as_the_original_does(loftr_file, monkeypatch, masked):
    from kornia.feature import LoFTR

    monkeypatch.setattr("corr.matchers.nearest.ROW_BLOCK", 17)
    original, ours = LoFTR(None).eval(), build_loftr("outdoor", 0.0).eval()
    original.coarse_matching.thr = 0.0
    state = torch.load(loftr_file)["state_dict"]
    original.load_state_dict(dict(state))
    ours.load_state_dict(dict(state))
    given = {"features0": random_maps(11, 13), "features1": random_maps(9, 15)}
    if masked:  # as padding is: full up to an edge
        for side, (rows, columns) in enumerate(((11, 13), (9, 15))):
            mask = torch.ones(1, 8 * rows, 8 * columns, dtype=torch.bool)
            mask[:, 56:] = False
            given[f"mask{side}"] = mask
    with torch.inference_mode():
        wanted, found = original(dict(given)), ours(dict(given))
    inner = [True] * len(wanted["confidence"])
    if masked:  # the original also drops a border along the padding; we along the photo only
        at = {tuple(p) for p in wanted["keypoints0"].tolist()}
        inner = [tuple(p) in at for p in found["keypoints0"].tolist()]
    assert len(wanted["confidence"]) >= 5
    for name in ("keypoints0", "keypoints1", "confidence"):
        torch.testing.assert_close(found[name][torch.tensor(inner)], wanted[name])


def test_loftr_places_cells_and_numbers_them(loftr_file, monkeypatch, texture, as_image):
    rgb = texture(211, 157)
    mask = np.ones((157, 211), bool)
    mask[:, :80] = False
    a, b = as_image(rgb, "a", mask, scale=2), as_image(texture(173, 190, 1), "b", scale=2)
    matcher = Loftr(weights=str(loftr_file), min_score=0.0)
    monkeypatch.setattr(
        matcher._network, "extract_features", lambda x: random_maps(*(n // 8 for n in x.shape[2:]))
    )
    found = match(matcher, a, b)
    assert len(found) > 5
    columns, rows = round(211 / CELL) * CELL, round(157 / CELL) * CELL
    px = 2 * np.array([211 / columns, 157 / rows])
    cell = found.uv_a / px / CELL
    assert cell == pytest.approx(np.round(cell))
    assert np.array_equal(found.id_a, np.round(cell[:, 1] * (columns // CELL) + cell[:, 0]))
    assert np.array_equal(found.anchor_a, found.uv_a)
    assert np.abs(found.uv_b - found.anchor_b).max() <= 4.5 * 2
    assert found.grid_a_px == pytest.approx(CELL * px.mean())
    assert (found.uv_a[:, 0] >= 160).all()


def test_loftr_names_missing_and_foreign_weights(tmp_path, monkeypatch, texture, as_image):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    a = as_image(texture(97, 75), "a")
    with pytest.raises(UserError, match=r"loftr_indoor weights were not found \(tried .*ds_new"):
        match(Loftr(model="indoor"), a, a)
    torch.save({"state_dict": {"matcher.x": torch.zeros(2)}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"does not hold the weights of LoFTR \(.* is missing\)"):
        match(Loftr(weights=str(tmp_path / "x.ckpt")), a, a)


def test_dedode_matches_a_photo_with_itself(monkeypatch, texture, as_image):
    """Random descriptors are good enough for that; a part of the photo is masked."""
    from kornia.feature import DeDoDe as KorniaDeDoDe

    torch.manual_seed(0)
    network = KorniaDeDoDe("L", "B", amp_dtype=torch.float32)
    monkeypatch.setattr(DeDoDe, "_network", network.eval())
    matcher = DeDoDe(max_keypoints=40, min_score=0.0)
    mask = np.ones((45, 61), bool)
    mask[:, :20] = False
    a = as_image(texture(61, 45), "a", mask)
    found = match(matcher, a, a)
    assert len(found) > 10
    assert np.array_equal(found.uv_a, found.uv_b)
    assert (found.uv_a[:, 0] >= 20).all()
    assert found.uv_a % 1 == pytest.approx(0.5, abs=1e-4)  # centres of pixels


class Warp:
    """What romatch's model answers, for photos that differ by a shift of a tenth of their width."""

    def match(self, a, b, device):
        assert max(a.size + b.size) <= 256
        y, x = torch.meshgrid(*[torch.linspace(-0.99, 0.99, 50)] * 2, indexing="ij")
        to_b = torch.stack([x + 0.2, y], -1)
        certainty = torch.where(to_b[..., 0] < 1, 0.9, 0.0)
        return torch.cat([torch.stack([x, y], -1), to_b], -1)[None], certainty[None]

    def sample(self, warp, certainty, num):
        chosen = torch.multinomial(certainty, num)
        return warp[chosen], certainty[chosen]


def test_roma_draws_matches_from_the_warp(monkeypatch, tmp_path, texture, as_image):
    asked = {}

    def roma_outdoor(**options):
        asked.update(options)
        return Warp()

    monkeypatch.setitem(sys.modules, "romatch", SimpleNamespace(roma_outdoor=roma_outdoor))
    for name in ("roma", "dino"):
        torch.save({name: torch.zeros(1)}, tmp_path / f"{name}.pth")
    matcher = Roma(
        weights=str(tmp_path / "roma.pth"), encoder_weights=str(tmp_path / "dino.pth"),
        samples=200, max_side=256, device="cpu",
    )  # fmt: skip
    mask = np.ones((200, 300), bool)
    mask[:, :90] = False
    a, b = as_image(texture(300, 200), "a", mask, scale=2), as_image(texture(250, 180), "b")
    found = match(matcher, a, b)
    assert set(asked["weights"]) == {"roma"}
    assert set(asked["dinov2_weights"]) == {"dino"}
    assert len(found) == 200
    assert (found.uv_a[:, 0] >= 180).all()
    expected = (found.uv_a / [600, 400] + [0.1, 0.0]) * [250, 180]
    assert found.uv_b == pytest.approx(expected, abs=1e-3)
    again = match(matcher, a, b)
    assert np.array_equal(found.uv_a, again.uv_a)


def test_roma_without_its_package_is_one_line(monkeypatch, texture, as_image):
    monkeypatch.setitem(sys.modules, "romatch", None)
    a = as_image(texture(97, 75), "a")
    with pytest.raises(UserError, match=r"matcher=roma needs the package romatch .*pip install"):
        match(Roma(), a, a)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Roma(coarse_px=555), "matcher.coarse_px must be a multiple of 14, got 555"),
        (lambda: Roma(samples=0), "matcher.samples must be positive, got 0"),
        (lambda: Loftr(model="space"), "matcher.model must be one of outdoor, indoor, got space"),
        (lambda: Loftr(min_score=-0.1), r"matcher.min_score must lie in \[0, 1\), got -0.1"),
        (lambda: DeDoDe(min_score=1.0), r"matcher.min_score must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_options_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()

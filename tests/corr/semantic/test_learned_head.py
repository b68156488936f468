"""The head and its losses: an untrained head changes nothing, losses are least at the truth."""

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.semantic.datasets.base import Side
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.learned.files import load_trained, read_trained, save_trained
from corr.semantic.learned.head import FeatureHead, HeadShape
from corr.semantic.learned.losses import dense_loss, sparse_loss
from corr.semantic.learned.shots import Shot, cells, couple, flat_centres, mirrored, sampled
from corr.semantic.learned.trunk import as_maps

pytestmark = pytest.mark.usefixtures("one_thread")


def grid(rows=7, columns=9, d=13, seed=0) -> FeatureGrid:
    rng = np.random.default_rng(seed)
    cell = unit(rng.normal(size=(rows, columns, d))).astype(np.float32)
    return FeatureGrid(cell, np.array([4.0, 5.0]), np.array([8.0, 9.0]), 76, 65)


def side(width=101) -> Side:
    from pathlib import Path

    return Side("cow/a", Path("a.jpg"), width, 77, uv=np.zeros((0, 2)))


def test_untrained_head_changes_nothing_and_a_moved_one_keeps_unit_length():
    torch.manual_seed(0)
    head, g = FeatureHead(HeadShape(13, 10)).eval(), grid()
    np.testing.assert_allclose(head.refined(g).descriptor, g.descriptor, atol=1e-6)
    torch.nn.init.normal_(head.leave.weight)
    out = head.refined(g)
    np.testing.assert_allclose(np.linalg.norm(out.descriptor, axis=-1), 1, rtol=1e-5)
    assert np.abs(out.descriptor - g.descriptor).max() > 0.1
    np.testing.assert_array_equal(out.first_uv, g.first_uv)
    assert out.shape == g.shape


def test_head_looks_at_a_cells_surroundings():
    torch.manual_seed(0)
    head = FeatureHead(HeadShape(13, 10)).eval()
    torch.nn.init.normal_(head.leave.weight)
    x = as_maps(grid())[None].requires_grad_()
    (seen,) = torch.autograd.grad(head(x)[0, 0, 3, 4], x)
    assert float(seen[0, :, 3, 5].abs().sum()) > 0
    assert float(seen[0, :, 0, 0].abs().sum()) > 0


def test_head_of_other_features_is_refused():
    with pytest.raises(UserError, match="trained on features of 12 numbers, these have 13"):
        FeatureHead(HeadShape(12, 10)).refined(grid())


def test_head_survives_its_file_and_other_files_are_refused(tmp_path):
    torch.manual_seed(0)
    head, file = FeatureHead(HeadShape(13, 10)), tmp_path / "head.safetensors"
    torch.nn.init.normal_(head.leave.weight)
    save_trained(head, file, {"photos": ["a"]})
    again, about = load_trained(file)
    assert about["photos"] == ["a"]
    np.testing.assert_array_equal(
        again.refined(grid()).descriptor, head.eval().refined(grid()).descriptor
    )
    with pytest.raises(UserError, match="does not exist; train it first"):
        read_trained(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged or no weights file"):
        read_trained(tmp_path / "bad.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is no trained head; python -m corr train writes"):
        read_trained(tmp_path / "other.safetensors")


def test_descriptors_are_sampled_as_the_grid_samples_them():
    g = grid()
    uv = np.array([[4.0, 5.0], [30.3, 41.7], [60.9, 20.2], [-3, 99]])
    found = sampled(as_maps(g)[None], cells(g, uv)).numpy()
    np.testing.assert_allclose(found, g.sample(uv), atol=1e-5)
    np.testing.assert_allclose(g.uv_of(flat_centres(g.shape).numpy()), g.centres())


def test_sparse_loss_is_least_for_the_right_order():
    a = torch.eye(5)
    one = torch.ones(5)
    right, wrong = sparse_loss(a, a, one), sparse_loss(a, a.roll(1, 0), one)
    assert float(right) < 1e-4
    assert float(wrong) > 10
    # What has no weight does not count.
    swapped = a[[1, 0, 2, 3, 4]]
    assert float(sparse_loss(a, swapped, torch.tensor([0.0, 0, 1, 1, 1]))) < 1e-4


def test_dense_loss_grows_with_the_distance_from_the_truth():
    d = 63
    maps = torch.eye(d).reshape(1, d, 7, 9)  # every cell is its own
    at = torch.tensor([[4.0, 3.0]])
    losses = [
        float(dense_loss(maps[0, :, row, column][None], maps, at, torch.ones(1), 0.1))
        for column, row in ((4, 3), (5, 3), (6, 3), (0, 0))
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[-1]


def test_mirrored_shot_takes_its_twins_names_and_places():
    shot = Shot(side(), "cow", {"2": np.array([10.0, 20]), "8": np.array([50.5, 7])})
    turned = mirrored(shot, {"cow": {"2": "3", "3": "2"}})
    assert turned.side.mirrored
    assert turned.side.name == "cow/a|mirror"
    assert set(turned.points) == {"3", "8"}
    np.testing.assert_allclose(turned.points["3"], [91, 20])
    np.testing.assert_allclose(turned.points["8"], [50.5, 7])
    back = mirrored(turned, {"cow": {"2": "3", "3": "2"}})
    np.testing.assert_allclose(back.points["2"], shot.points["2"])
    assert back.side.name == shot.side.name
    assert len(couple(shot, turned)) == 1
    np.testing.assert_allclose(couple(shot, turned).uv_b, [[50.5, 7]])

"""Students: adapters that start as nothing, are all that learns, and fit one network only."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.semantic.features.dino import DinoFeatures
from corr.semantic.features.vit import VisionTransformer, ViTShape
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.learned.files import load_trained, save_trained
from corr.semantic.learned.losses import matrix_loss
from corr.semantic.learned.low_rank import matrices
from corr.semantic.learned.student import student_of

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Tiny(DinoFeatures):
    """A transformer of random weights, the same ones every time."""

    width: int = 24

    @cached_property
    def _network(self) -> Any:
        torch.manual_seed(0)
        network = VisionTransformer(ViTShape(self.width, 2, 2, 8, 32, positions=17))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return network.eval()


def photo(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (53, 75, 3), dtype=np.uint8)


def moved(student) -> None:
    for adapter in student.adapters.values():
        torch.nn.init.normal_(adapter.up, std=0.5)


def test_untrained_student_changes_nothing_and_a_moved_one_leaves_the_original_alone():
    plain = Tiny(long_side=64, device="cpu")
    before = plain.extract(photo()).descriptor
    student = student_of(plain, rank=3, alpha=6.0)
    features = student.on(plain)
    np.testing.assert_allclose(features.extract(photo()).descriptor, before, atol=1e-6)
    moved(student)
    assert np.abs(features.extract(photo()).descriptor - before).max() > 0.05
    np.testing.assert_array_equal(plain.extract(photo()).descriptor, before)


def test_only_the_adapters_learn():
    plain = Tiny(long_side=64, device="cpu")
    student = student_of(plain, rank=3, alpha=6.0)
    base = student.on(plain).base
    begun, _ = base.begun(photo())
    target = torch.rand(base.finished(begun).shape)
    (base.finished(begun) * target).sum().backward()
    learning = {id(p) for p in base.network.parameters() if p.requires_grad}
    assert learning == {id(p) for p in student.parameters()}
    assert all(a.up.grad is not None and a.up.grad.abs().max() > 0
               for a in student.adapters.values())  # fmt: skip


def test_student_survives_its_file_and_fits_its_own_network_only(tmp_path):
    plain = Tiny(long_side=64, device="cpu")
    student = student_of(plain, rank=3, alpha=6.0)
    moved(student)
    save_trained(student, tmp_path / "head.safetensors", {})
    again, _ = load_trained(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(
        again.on(plain).extract(photo()).descriptor, student.on(plain).extract(photo()).descriptor
    )
    with pytest.raises(UserError, match="the adapters fit another network"):
        again.on(Tiny(long_side=64, device="cpu", width=32))
    with pytest.raises(UserError, match="the network of XFeatFeatures takes no adapters"):
        student_of(XFeatFeatures(), rank=3, alpha=6.0)


def test_matrices_are_linear_layers_and_convolutions_of_one_pixel():
    network = torch.nn.ModuleDict({
        "a": torch.nn.Linear(3, 5), "b": torch.nn.Conv2d(4, 6, 1), "c": torch.nn.Conv2d(4, 4, 3),
        "d": torch.nn.Conv2d(4, 4, 1, groups=4),
    })  # fmt: skip
    assert matrices(network, "[abcd]") == {"a": (5, 3), "b": (6, 4)}
    with pytest.raises(ValueError, match="no linear layer or 1 x 1 convolution is named like c"):
        matrices(network, "c")


def test_matrix_loss_is_least_where_student_and_teacher_agree():
    maps = torch.eye(63).reshape(1, 63, 7, 9)
    at = torch.tensor([[4.0, 3.0], [1.0, 5.0]])
    rows = torch.zeros(2, 63)
    rows[0, 3 * 9 + 4] = rows[1, 5 * 9 + 1] = 1.0
    right = matrix_loss(maps, maps, at, rows, 0.05)
    assert float(right) < 1e-4
    assert float(matrix_loss(maps, maps, at, rows.flip(0), 0.05)) > 10

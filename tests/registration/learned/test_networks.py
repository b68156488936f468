"""The descriptor and the vote refiner: shapes, invariances, files; a short training that learns."""

import json

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from corr.training.weights_file import load_network, save_network
from registration.learned import train_descriptor, train_unet
from registration.learned.descriptor import (
    INPUTS,
    DescriptorNet,
    LearnedDescriptor,
    input_features,
)
from registration.learned.descriptor_data import (
    DescribedFragment,
    mutual_inliers,
    random_rotation,
    voxel_points,
)
from registration.learned.refine import refine_votes
from registration.learned.shipped import trained_file
from registration.learned.unet6 import VoteUNet, bin_inputs, bin_lattice
from registration.learned.vote_data import VoteExample, cast_votes, example, turned


def bumpy_surface(seed: int = 0, side: int = 23) -> np.ndarray:
    """Points of a wavy sheet in front of the origin, metres."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(side) * 0.05, np.arange(side) * 0.05)
    z = 1.5 + 0.2 * np.sin(3 * x + 1) * np.cos(4 * y) + 0.15 * np.sin(7 * y * x)
    return np.column_stack([x.ravel() - 0.6, y.ravel() - 0.6, z.ravel()]) + rng.normal(
        0, 0.002, (side * side, 3)
    )


@pytest.fixture(scope="module")
def weights(fragment, tmp_path_factory) -> str:
    """A file of a network that was started but not trained."""
    network = DescriptorNet()
    network.start_from(torch.from_numpy(fragment.features))
    file = tmp_path_factory.mktemp("weights") / "descriptor.safetensors"
    save_network(network, file, {"radii_voxels": [3.0, 5.0, 8.0]})
    return str(file)


@pytest.fixture(scope="module")
def fragment() -> DescribedFragment:
    xyz, normals = voxel_points(bumpy_surface(), 0.05)
    return DescribedFragment(xyz, normals, input_features(xyz, normals, 0.05), Rigid3.identity())


def some_bins(seed: int = 0, count: int = 37) -> VoteExample:
    """Scattered light bins, one heavy lonely bin, and a denser heap around the target."""
    rng = np.random.default_rng(seed)
    target = rng.integers(-6, 7, 6)
    steps = np.vstack([np.zeros((1, 6), int), np.eye(6, dtype=int), -np.eye(6, dtype=int)])
    heap, stray = target + steps, rng.integers(-12, 13, (count, 6))
    keys, first = np.unique(np.vstack([heap, stray]), axis=0, return_index=True)
    mass = np.r_[2.0, np.full(12, 1.5), rng.uniform(0.2, 1.0, count)][first]
    mass[np.argmax(first)] = 3.0
    return VoteExample(keys, mass, np.flatnonzero(first == 0), 0.0)


def test_untrained_descriptor_is_the_projected_fpfh(fragment):
    network = DescriptorNet()
    features = torch.from_numpy(fragment.features)
    network.start_from(features)
    xyz = torch.from_numpy((fragment.xyz / 0.05).astype(np.float32))
    with torch.no_grad():
        out = network(features, xyz, torch.from_numpy(fragment.normals.astype(np.float32)))
        plain = torch.nn.functional.normalize(network.project(features), dim=1)
    assert torch.allclose(out, plain, atol=1e-6)
    assert torch.allclose(out.norm(dim=1), torch.ones(len(out)), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_descriptor_does_not_depend_on_units_or_position(fragment, weights, scale):
    save = LearnedDescriptor(weights)
    a = save.describe(fragment.xyz, fragment.normals, 0.05)
    b = save.describe(fragment.xyz * scale + 7 * scale, fragment.normals, 0.05 * scale)
    assert a.shape == (len(fragment.xyz), 32)
    assert a.dtype == np.float32
    # Points on a voxel's border may change sides with the last bit.
    assert (np.abs(a - b).max(1) < 1e-3).mean() > 0.95


def test_descriptor_of_a_turned_cloud_still_matches(fragment, weights):
    R = random_rotation(np.random.default_rng(2))
    found = LearnedDescriptor(weights)
    a = found.describe(fragment.xyz, fragment.normals, 0.05)
    b = found.describe(fragment.xyz @ R.T, fragment.normals @ R.T, 0.05)
    distance = np.linalg.norm(fragment.xyz[:, None] - fragment.xyz[None], axis=2)
    total, right = mutual_inliers(torch.from_numpy(a), torch.from_numpy(b), distance)
    assert right > 0.9 * total
    assert right > 0.5 * len(a)


def test_descriptor_of_no_points_is_empty(weights):
    none = np.zeros((0, 3))
    assert LearnedDescriptor(weights).describe(none, none, 0.05).shape == (0, 32)


@pytest.mark.parametrize("kernel", ["cross", "separable"])
def test_refiner_learns_to_prefer_a_heap_over_a_heavy_bin(kernel):
    torch.manual_seed(0)
    network = VoteUNet(kernel, widths=(8, 8, 8))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-2)
    for step in range(18):
        loss = train_unet.example_loss(network, some_bins(step), "softmax")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    tests = [some_bins(seed) for seed in range(1000, 1006)]
    assert train_unet.share_right(None, tests) < 0.3
    assert train_unet.share_right(network, tests) > 0.8


def test_refiner_with_hypercube_kernels_runs_and_seven_dimensions_too():
    one = some_bins(count=11)
    logits = VoteUNet("hypercube", (4, 4, 4))(
        bin_inputs(torch.from_numpy(one.mass)), bin_lattice(torch.from_numpy(one.keys))
    )
    assert logits.shape == one.mass.shape
    keys = torch.from_numpy(np.hstack([one.keys, one.keys[:, :1]]))
    seven = VoteUNet("cross", (4, 4, 4), dimension=7)
    assert seven(bin_inputs(torch.from_numpy(one.mass)), bin_lattice(keys)).shape == logits.shape


def test_jitter_moves_bins_as_a_change_of_axes_moves_motions():
    one = some_bins()
    for seed in range(5):
        moved = train_unet._jittered(one, np.random.default_rng(seed))
        assert np.array_equal(moved.targets, one.targets)
        before = np.abs(one.keys - one.keys[one.targets])
        after = np.abs(moved.keys - moved.keys[moved.targets])
        assert np.array_equal(np.sort(before[:, :3], 1), np.sort(after[:, :3], 1))
        assert np.array_equal(np.sort(before[:, 3:], 1), np.sort(after[:, 3:], 1))


def test_refine_votes_is_equivariant_to_row_order_and_to_the_scale_of_the_weights():
    one = some_bins()
    logits = refine_votes(one.keys, one.mass)
    order = np.random.default_rng(0).permutation(len(one.mass))
    assert logits.dtype == np.float32
    assert np.allclose(refine_votes(one.keys[order], one.mass[order]), logits[order], atol=1e-4)
    assert np.allclose(refine_votes(one.keys, 50 * one.mass), logits, atol=1e-4)
    assert refine_votes(np.zeros((0, 6), np.int64), np.zeros(0)).shape == (0,)


def test_votes_of_a_turned_copy_hold_the_true_motion(fragment):
    for seed, scale in ((1, 1.0), (2, 0.5)):
        source = turned(fragment, random_rotation(np.random.default_rng(seed)))
        votes = cast_votes(source, fragment, bin_scale=scale)
        assert votes is not None
        truth = fragment.world_from_fragment.inverse() @ source.world_from_fragment
        assert np.allclose(truth.apply(source.xyz), fragment.xyz)
        one = example(votes, truth, scale)
        assert one.distance < 3
        assert one.mass[one.targets].max() > 0.3 * one.mass.max()


def test_weights_survive_a_file_and_foreign_ones_are_refused(tmp_path):
    network, file = DescriptorNet(context=False), tmp_path / "a.safetensors"
    save_network(network, file, {"seed": 3})
    again = DescriptorNet(context=False)
    assert load_network(again, file) == {"seed": 3}
    assert torch.equal(again.project.weight, network.project.weight)
    with pytest.raises(UserError, match="does not fit"):
        load_network(DescriptorNet(context=True), file)
    with pytest.raises(UserError, match="does not exist"):
        load_network(again, tmp_path / "b.safetensors")


def test_descriptor_loss_falls_within_a_few_steps(fragment):
    torch.manual_seed(0)
    network = DescriptorNet()
    network.start_from(torch.from_numpy(fragment.features))
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for step in range(8):
        rng = np.random.default_rng(step)
        loss = train_descriptor.pair_loss(network, fragment, fragment, 64, rng)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_shipped_weights_are_small_and_say_how_they_were_trained():
    file = trained_file("votes")
    assert file.stat().st_size < 2.5e6
    about = json.loads(file.with_suffix(".json").read_text())
    assert about["options"]["seed"] == 0
    assert file.with_suffix(".csv").is_file()
    assert file.with_suffix(".svg").read_text().startswith("<svg")
    assert INPUTS == 99

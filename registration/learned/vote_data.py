"""Votes to train the refiner on: what the estimator itself casts for simulated pairs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from registration.compatibility import Pairing, compatibility_graph, strongest_cliques
from registration.kabsch import kabsch
from registration.learned.descriptor_data import (
    VOXEL_M,
    DescribedFragment,
    DescribedRoom,
    random_rotation,
)
from registration.matching import match_features
from registration.voting.space import ANTIPODE_MARGIN, VoteSpace, rotation_vectors, vote

ROTATION_BIN = 0.15  # radians
TRANSLATION_BIN_VOXELS = 3.0
MOST_MATCHES = 2500
CLIQUES = 2000
MOST_BINS_OFF = 3.0  # a pair whose nearest bin is farther from the truth (L1) teaches nothing


@dataclass(frozen=True, eq=False)
class CastVotes:
    """Votes for motions of the centred source, and the space they were gathered in."""

    R: Float[np.ndarray, "k 3 3"]
    t: Float[np.ndarray, "k 3"]
    weights: Float[np.ndarray, " k"]
    centre: Float[np.ndarray, " 3"]  # of the source, its own frame
    space: VoteSpace


@dataclass(frozen=True, eq=False)
class VoteExample:
    """Occupied bins of one pair and the true motion's place among them."""

    keys: Int[np.ndarray, "n 6"]
    mass: Float[np.ndarray, " n"]
    targets: Int[np.ndarray, " w"]  # the bin nearest to the truth; one more near half a turn
    distance: float  # of the truth from the nearest, L1, bins


def cast_votes(
    source: DescribedFragment, target: DescribedFragment, *, bin_scale: float = 1.0
) -> CastVotes | None:
    """Mutual matches, compatibility graph, three-cliques, one weighted vote each; None = none.

    Args:
        source: Points, normals towards the sensor and features; metres.
        target: The same.
        bin_scale: Edge of the bins over the usual one.
    """
    matches = match_features(source.features, target.features)
    best = np.sort(np.argsort(-matches.weight, kind="stable")[:MOST_MATCHES])
    i, j = matches.source[best], matches.target[best]
    centre = source.xyz.mean(0)
    pairs = Pairing(
        source.xyz[i] - centre, target.xyz[j], source.normals[i], target.normals[j], True
    )
    if len(pairs) < 3:
        return None
    graph = compatibility_graph(pairs, tolerance=1.5 * VOXEL_M, shortest=3 * VOXEL_M)
    cliques = strongest_cliques(graph, CLIQUES)
    m = cliques.members
    if not len(m):
        return None
    R, t, spread = kabsch(
        pairs.source[m], pairs.target[m], None, source.normals[i][m], target.normals[j][m],
        direction_weight=(4 * VOXEL_M) ** 2,
    )  # fmt: skip
    weights = cliques.strength * np.sqrt(spread[:, 1])
    space = vote(
        R, t, weights, rotation_bin=ROTATION_BIN * bin_scale,
        translation_bin=TRANSLATION_BIN_VOXELS * VOXEL_M * bin_scale,
    )  # fmt: skip
    return CastVotes(R, t, weights, centre, space)


def example(votes: CastVotes, target_from_source: Rigid3, bin_scale: float) -> VoteExample:
    """Label the bins with the truth."""
    keys = votes.space.indices
    omega = rotation_vectors(target_from_source.R[None])[0]
    angle = float(np.linalg.norm(omega))
    ways = [omega]
    if angle > np.pi - ANTIPODE_MARGIN:
        ways.append(omega * (1 - 2 * np.pi / angle))
    t = target_from_source.apply(votes.centre) / (TRANSLATION_BIN_VOXELS * VOXEL_M * bin_scale)
    places = [np.concatenate([way / (ROTATION_BIN * bin_scale), t]) for way in ways]
    away = np.array([np.abs(keys + 0.5 - place).sum(1) for place in places])
    targets, distance = away.argmin(1), away.min(1)
    near = distance <= max(distance.min(), MOST_BINS_OFF)
    return VoteExample(keys, votes.space.mass, targets[near], float(distance.min()))


def turned(part: DescribedFragment, R: Float[np.ndarray, "3 3"]) -> DescribedFragment:
    """The same fragment in axes turned by R; its features do not change."""
    fragment_from_old = Rigid3(R, np.zeros(3))
    return DescribedFragment(
        part.xyz @ R.T, part.normals @ R.T, part.features,
        part.world_from_fragment @ fragment_from_old.inverse(),
    )  # fmt: skip


def vote_examples(rooms: list[DescribedRoom], cache: Path, seed: int) -> list[list[VoteExample]]:
    """Examples of every overlapping pair, at both bin sizes, half of them turned; by room."""
    cache.mkdir(parents=True, exist_ok=True)
    return [
        _room_examples(room, cache / f"votes_{k:03d}.npz", np.random.default_rng([seed, k]))
        for k, room in enumerate(tqdm(rooms, desc="votes", unit="room"))
    ]


def _room_examples(room: DescribedRoom, kept: Path, rng: np.random.Generator) -> list[VoteExample]:
    if kept.is_file():
        with np.load(kept) as data:
            count = len(data["distance"])
            return [
                VoteExample(
                    data[f"keys_{k}"].astype(np.int64), data[f"mass_{k}"],
                    data["targets"][k][data["targets"][k] >= 0], float(data["distance"][k]),
                )
                for k in range(count)
            ]  # fmt: skip
    examples = []
    for i, j in room.pairs:
        a, b = room.parts[i], room.parts[j]
        if rng.random() < 0.5:
            a = turned(a, random_rotation(rng))
        scale = 1.0 if rng.random() < 0.5 else 0.5
        votes = cast_votes(a, b, bin_scale=scale)
        if votes is not None:
            truth = b.world_from_fragment.inverse() @ a.world_from_fragment
            examples.append(example(votes, truth, scale))
    arrays: dict[str, np.ndarray] = {
        "targets": np.array([[*e.targets, -1][:2] for e in examples]),
        "distance": np.array([e.distance for e in examples]),
    }
    for k, one in enumerate(examples):
        arrays |= {f"keys_{k}": one.keys.astype(np.int16), f"mass_{k}": one.mass}
    with kept.open("wb") as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]
    return examples

"""Training pairs of described fragments, and the measure of how well descriptors match them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from registration.described import voxelised
from registration.learned.descriptor import RADII_VOXELS, DescriptorNet, input_features
from registration.learned.scans import load_fragments

VOXEL_M = 0.05


@dataclass(frozen=True, eq=False)
class DescribedFragment:
    """Voxel points of a fragment with normals towards its camera and network inputs, metres."""

    xyz: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    features: Float[np.ndarray, "n d"]
    world_from_fragment: Rigid3


@dataclass(frozen=True, eq=False)
class DescribedRoom:
    """Fragments of a room and the pairs (a, b) that overlap enough to learn from."""

    parts: list[DescribedFragment]
    pairs: list[tuple[int, int]]


def voxel_points(
    xyz: Float[np.ndarray, "n 3"], voxel: float
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
    """Voxel means and their normals (radius 2 voxels, 30 neighbours) facing the origin."""
    points = voxelised(xyz, voxel, np.zeros(3))
    return np.asarray(points.points).copy(), np.asarray(points.normals).copy()


def described_rooms(
    folder: Path,
    cache: Path,
    *,
    limit: int = 0,
    min_overlap: float = 0.1,
    radii: tuple[float, ...] = RADII_VOXELS,
) -> list[DescribedRoom]:
    """All finished rooms of a scan folder, in order of their names; inputs are cached as NPZ."""
    cache.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.glob("room_*.npz"))[: limit or None]
    return [
        _room(file, cache, min_overlap, radii) for file in tqdm(files, desc="inputs", unit="room")
    ]


def _room(file: Path, cache: Path, min_overlap: float, radii: tuple[float, ...]) -> DescribedRoom:
    parts, shares = load_fragments(file)
    kept = cache / file.name
    if not kept.is_file():
        arrays: dict[str, np.ndarray] = {}
        for k, part in enumerate(parts):
            xyz, normals = voxel_points(part.cloud.xyz, VOXEL_M)
            features = input_features(xyz, normals, VOXEL_M, radii).astype(np.float16)
            arrays |= {f"xyz_{k}": xyz, f"normals_{k}": normals, f"features_{k}": features}
        with kept.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
    with np.load(kept) as data:
        described = [
            DescribedFragment(
                data[f"xyz_{k}"], data[f"normals_{k}"],
                data[f"features_{k}"].astype(np.float32), part.world_from_fragment,
            )
            for k, part in enumerate(parts)
        ]  # fmt: skip
    rows, columns = np.nonzero(np.triu(shares >= min_overlap, 1))
    usable = [len(part.xyz) >= 500 for part in described]
    pairs = [
        (int(i), int(j)) for i, j in zip(rows, columns, strict=True) if usable[i] and usable[j]
    ]
    return DescribedRoom(described, pairs)


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Uniform over all rotations."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def network_input(
    part: DescribedFragment, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, positions (voxels) and normals of a fragment under a random rotation and shift."""
    R = random_rotation(rng)
    xyz = part.xyz @ R.T / VOXEL_M + rng.uniform(-1, 1, 3)
    return (
        torch.from_numpy(part.features),
        torch.from_numpy(xyz.astype(np.float32)),
        torch.from_numpy((part.normals @ R.T).astype(np.float32)),
    )


def true_distances(a: DescribedFragment, b: DescribedFragment) -> Float[np.ndarray, "n m"]:
    """Distances between all points of two fragments in the world, metres, float32."""
    p = torch.from_numpy(a.world_from_fragment.apply(a.xyz).astype(np.float32))
    q = torch.from_numpy(b.world_from_fragment.apply(b.xyz).astype(np.float32))
    return torch.cdist(p, q).numpy()


def mutual_inliers(
    a: torch.Tensor, b: torch.Tensor, distance: Float[np.ndarray, "n m"], bound: float = 0.1
) -> tuple[int, int]:
    """Mutual nearest neighbours of two descriptor sets: how many, and how many within `bound`."""
    likeness = a @ b.T
    there, back = likeness.argmax(1), likeness.argmax(0)
    rows = torch.nonzero(back[there] == torch.arange(len(a)))[:, 0]
    right = distance[rows.numpy(), there[rows].numpy()] < bound
    return len(rows), int(right.sum())


def inlier_ratio(
    network: DescriptorNet, rooms: list[DescribedRoom], count: int, seed: int
) -> tuple[float, float]:
    """Mean mutual inlier ratio at 10 cm and mean number of inliers over drawn pairs."""
    rng = np.random.default_rng(seed)
    ratios, inliers = [], []
    with torch.inference_mode():
        for _ in range(count):
            room = rooms[rng.integers(len(rooms))]
            i, j = room.pairs[rng.integers(len(room.pairs))]
            a, b = room.parts[i], room.parts[j]
            da, db = network(*network_input(a, rng)), network(*network_input(b, rng))
            total, right = mutual_inliers(da, db, true_distances(a, b))
            ratios.append(right / max(total, 1))
            inliers.append(right)
    return float(np.mean(ratios)), float(np.mean(inliers))

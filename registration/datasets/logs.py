"""The text files of the 3DMatch and Redwood benchmarks: `.log`, `.info` and `gt_overlap.log`.

A `.log` file is a list of records: a line `i j n` and a 4x4 matrix that maps fragment j into
fragment i. As a trajectory (Redwood), i = j and the matrix is `world_from_fragment`. An `.info`
file has 6x6 matrices instead.

Source: redwood-data.org/indoor/fileformat.html; github.com/andyzeng/3dmatch-toolbox.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, umeyama
from corr.store import write_atomic

Key = tuple[int, int]


def read_records(path: Path, rows: int) -> dict[Key, np.ndarray]:
    """`{(i, j): matrix}` in file order.

    Args:
        path: A `.log` (4 rows) or `.info` (6 rows) file.
        rows: Rows and columns of each matrix.

    Raises:
        UserError: The file is missing, cut short, or is something else.
    """
    try:
        values = np.array(path.read_text().split(), dtype=np.float64)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path} is not a list of `i j n` and {rows}x{rows} matrices") from None
    size = 3 + rows * rows
    if len(values) % size:
        raise UserError(
            f"{path} is cut short: {len(values)} numbers are no multiple of {size} "
            f"(`i j n` and a {rows}x{rows} matrix); fetch it again"
        )
    records = values.reshape(-1, size)
    if not np.isfinite(values).all() or (records[:, :2] % 1).any():
        raise UserError(f"{path} is not a list of `i j n` and {rows}x{rows} matrices")
    return {(int(r[0]), int(r[1])): r[3:].reshape(rows, rows) for r in records}


def read_poses(path: Path) -> dict[Key, Rigid3]:
    """`{(i, j): i_from_j}` of a `.log` file.

    Raises:
        UserError: The file does not fit, or a matrix is no rigid transform.
    """
    poses = {}
    for key, matrix in read_records(path, 4).items():
        R = matrix[:3, :3]
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-2) or np.linalg.det(R) < 0:
            raise UserError(f"{path}: the matrix of {key[0]} {key[1]} is no rigid transform")
        poses[key] = Rigid3(nearest_rotation(R), matrix[:3, 3])
    return poses


def nearest_rotation(R: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation nearest to a matrix in the Frobenius norm (files round to a few digits)."""
    return umeyama(np.vstack([np.eye(3), -np.eye(3)]), np.vstack([R.T, -R.T]), with_scale=False).R


def read_overlaps(path: Path) -> dict[Key, float]:
    """`{(i, j): share}` of a `gt_overlap.log` (lines `i,j,share`); empty when there is none.

    Raises:
        UserError: A line is something else.
    """
    if not path.is_file():
        return {}
    overlaps = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            i, j, share = line.split(",")
            overlaps[int(i), int(j)] = float(share)
        except ValueError:
            raise UserError(f"{path}:{number}: not `i,j,share`: {line[:40]!r}") from None
    return overlaps


def write_poses(path: Path, poses: Mapping[Key, Rigid3], count: int) -> None:
    """Write a `.log` file; `count` is the third number of each record (fragments in the scene)."""
    lines = []
    for (i, j), pose in poses.items():
        lines.append(f"{i}\t{j}\t{count}")
        lines += ["\t".join(f"{v:.10e}" for v in row) for row in pose.matrix]
    write_atomic(path, "\n".join(lines) + "\n")

"""From stored matches to poses and homographies, by several estimators and thresholds."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage

from corr.evaluation.predict import PAIRS_PER_SHARD, load
from corr.evaluation.sets import PairSet, PhotoFile, TruePair
from corr.geometry.epipolar import normalised, pose_error_deg, symmetric_epipolar_sq
from corr.geometry.robust import homography, relative_pose
from corr.lines import appended, complete_lines
from corr.matches import Matches
from corr.sharding import Parallel, Store, Task, map_sharded, refuse_failures, split

CORRECT_PX = 3.0  # of homographies: transfer error up to which a match is right


@dataclass(frozen=True)
class Estimate:
    """What one estimator made of one pair's matches, with its error."""

    key: str
    estimator: str
    threshold: float  # pixels at the set's size
    error: float  # degrees (the larger of rotation and direction) or pixels (mean of corners)
    inliers: int
    seconds: float


Job = tuple[str, str, float]


def from_line(line: str) -> Estimate:
    """The reverse of a line of estimates; null is an infinite error.

    Raises:
        ValueError: It is something else.
    """
    values = json.loads(line)
    try:
        error = values["error"]
        return Estimate(**{**values, "error": float("inf") if error is None else float(error)})
    except (TypeError, KeyError) as error_:
        raise ValueError(f"not an estimate: {error_}") from None


def to_line(estimate: Estimate) -> str:
    """One line of JSON."""
    values = asdict(estimate)
    if not np.isfinite(estimate.error):
        values["error"] = None
    return json.dumps(values)


def read_estimates(folder: Path) -> dict[Job, Estimate]:
    """The estimates of all shards."""
    files = sorted(folder.glob("estimates*.jsonl"))
    found = [e for file in files for e in complete_lines(file, from_line)]
    return {(e.key, e.estimator, e.threshold): e for e in found}


Way = tuple[str, float]
Todo = tuple[TruePair, tuple[Way, ...]]


@dataclass
class Estimating:
    """Estimates by several ways from the stored matches of pairs; lines of each pair."""

    whole: PairSet
    folder: Path
    seed: int

    def __call__(self, items: Sequence[Todo]) -> Iterator[bytes]:
        """Lines of estimates, all of a pair together."""
        for pair, ways in items:
            seen = Seen.of(pair, load(self.folder, pair.key), self.whole)
            yield "\n".join(to_line(seen.estimate(*way, self.seed)) for way in ways).encode()


@dataclass
class Lines(Store):
    """Keeps payloads as lines of a file."""

    add: Callable[[str], None]

    def holds(self, items: Sequence[Todo]) -> bool:
        """Never: what is estimated is not asked for."""
        return False

    def keep(self, items: Sequence[Todo], payloads: Sequence[bytes]) -> None:
        """Add the lines of a shard."""
        for payload in payloads:
            for line in payload.decode().splitlines():
                self.add(line)


def estimate(
    pairs: Sequence[TruePair], whole: PairSet, folder: Path, file: Path,
    *, estimators: Sequence[str], thresholds: Sequence[float], seed: int,
    parallel: Parallel | None = None,
) -> None:  # fmt: skip
    """Estimate what is still missing, keeping each answer as it comes.

    Raises:
        UserError: Pairs failed; the others are kept.
    """
    parallel = parallel or Parallel()
    done = read_estimates(folder)
    every = list(itertools.product(estimators, thresholds))
    todo = [(p, tuple(way for way in every if (p.key, *way) not in done)) for p in pairs]
    todo = [(pair, ways) for pair, ways in todo if ways]
    own = [to_line(e) for e in complete_lines(file, from_line)]
    size = parallel.executor.shard_size or (1 if parallel.here else PAIRS_PER_SHARD)
    with appended(file, own) as add:
        failures = map_sharded(
            Task(Estimating(whole, folder, seed)), split(todo, size), Lines(add),
            parallel.executor, workers=parallel.workers, label="estimate",
        )  # fmt: skip
    refuse_failures(failures, len(todo), name=lambda item: item[0].key)


@dataclass(frozen=True, eq=False)
class Seen:
    """A pair's matches at the size that its set states errors at, lens distortion removed."""

    pair: TruePair
    uv_a: Float[np.ndarray, "n 2"]
    uv_b: Float[np.ndarray, "n 2"]
    scale_a: float
    scale_b: float
    size_a: tuple[int, int]  # width and height of the file, pixels

    @classmethod
    def of(cls, pair: TruePair, matches: Matches, whole: PairSet) -> "Seen":
        """Scale the matches of a pair."""
        size_a, scale_a = _scale(pair.a, whole.side, whole.side_of)
        _, scale_b = _scale(pair.b, whole.side, whole.side_of)
        uv_a, uv_b = _undistorted(matches.uv_a, pair.a), _undistorted(matches.uv_b, pair.b)
        return cls(pair, uv_a * scale_a, uv_b * scale_b, scale_a, scale_b, size_a)

    def estimate(self, estimator: str, threshold: float, seed: int) -> Estimate:
        """One estimate and its error."""
        start = perf_counter()
        if self.pair.b_from_a is not None:
            pose = relative_pose(
                estimator, self.uv_a, self.uv_b, *self._calibrations(), max_error_px=threshold,
                seed=seed,
            )  # fmt: skip
            seconds = perf_counter() - start
            found = None if pose is None else pose.b_from_a
            error = max(pose_error_deg(found, self.pair.b_from_a))
            inliers = 0 if pose is None else int(pose.inliers.sum())
        else:
            plane = homography(estimator, self.uv_a, self.uv_b, max_error_px=threshold, seed=seed)
            seconds = perf_counter() - start
            error = self._corner_error(None if plane is None else plane.H)
            inliers = 0 if plane is None else int(plane.inliers.sum())
        return Estimate(self.pair.key, estimator, threshold, error, inliers, round(seconds, 5))

    def correct(self, epipolar: float) -> np.ndarray:
        """Which matches are right: by the epipolar distance, or within `CORRECT_PX`."""
        if self.pair.b_from_a is not None:
            K_a, K_b = self._calibrations()
            xy_a, xy_b = normalised(self.uv_a, K_a), normalised(self.uv_b, K_b)
            error = symmetric_epipolar_sq(xy_a, xy_b, self.pair.b_from_a)
            return error < epipolar
        return np.linalg.norm(transfer(self._true_H(), self.uv_a) - self.uv_b, axis=-1) < CORRECT_PX

    def _calibrations(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.pair.a.K is not None
        assert self.pair.b.K is not None
        return (
            np.diag([self.scale_a, self.scale_a, 1]) @ self.pair.a.K,
            np.diag([self.scale_b, self.scale_b, 1]) @ self.pair.b.K,
        )

    def _true_H(self) -> np.ndarray:
        assert self.pair.H is not None
        to_b, from_a = (np.diag([s, s, 1.0]) for s in (self.scale_b, 1 / self.scale_a))
        return to_b @ self.pair.H @ from_a

    def _corner_error(self, H: np.ndarray | None) -> float:
        """Mean distance of photo a's corners from where they belong in photo b."""
        if H is None:
            return float("inf")
        width, height = np.array(self.size_a) * self.scale_a
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        off = transfer(H, corners) - transfer(self._true_H(), corners)
        error = float(np.linalg.norm(off, axis=-1).mean())
        return error if np.isfinite(error) else float("inf")


def transfer(H: Float[np.ndarray, "3 3"], uv: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Points mapped by a homography."""
    xyw = np.concatenate([uv, np.ones((len(uv), 1))], -1) @ H.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return xyw[:, :2] / xyw[:, 2:]


def _scale(photo: PhotoFile, side: int, side_of: str) -> tuple[tuple[int, int], float]:
    """The file's size, and pixels at the stated size per pixel of the file."""
    with PilImage.open(photo.path) as file:
        size = file.size
    return size, side / (max(size) if side_of == "long" else min(size))


def _undistorted(uv: Float[np.ndarray, "n 2"], photo: PhotoFile) -> np.ndarray:
    if photo.distortion is None or not len(uv):
        return uv
    import cv2

    K = np.asarray(photo.K)
    points = cv2.undistortPoints(uv[:, None], K, np.array(photo.distortion), P=K)
    return points[:, 0]

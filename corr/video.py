"""Pick sharp, well-spread frames out of a video."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from corr.errors import UserError

if TYPE_CHECKING:
    import cv2

log = logging.getLogger(__name__)

CANDIDATES_PER_FRAME, MIN_CANDIDATES, MAX_CANDIDATES = 12, 120, 480
TRACK_PX, SHARPNESS_PX = 320, 640  # long side of the copies that motion and blur are judged on
LOST_MOTION = 0.25  # of the long side: taken as moved when too little can be tracked
MIN_TRACKED = 12  # points


@dataclass(frozen=True, eq=False)
class _Candidates:
    frame: Int[np.ndarray, " n"]  # number in the video
    sharpness: Float[np.ndarray, " n"]
    path: Float[np.ndarray, " n"]  # motion since the start, long sides


def extract_frames(video: Path, folder: Path, *, frames: int) -> list[Path]:
    """Write the chosen frames of a video as `frame_00042.png` (numbers count from 0).

    Raises:
        UserError: The video cannot be decoded, or has fewer than two frames.
    """
    candidates = _survey(video, frames)
    chosen = choose_frames(candidates.path, candidates.sharpness, frames)
    numbers = {int(candidates.frame[i]) for i in chosen}
    log.info("%s: frames %s of %d looked at", video.name, sorted(numbers), len(candidates.frame))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("frame_*.png"):
        old.unlink()
    return _write(video, numbers, folder)


def choose_frames(
    path: Float[np.ndarray, " n"], sharpness: Float[np.ndarray, " n"], frames: int
) -> list[int]:
    """Indices of sharp candidates, evenly spread over the camera's motion, in order.

    The motion is cut into as many stretches as frames are wanted and the best candidate of each
    is taken, so a pause counts once. Sharpness is judged against the whole video's range and
    weighed against the distance from the stretch's middle.

    Args:
        path: Motion since the start of each candidate, not falling.
        sharpness: Higher is sharper.
        frames: How many to choose; fewer come back if there are fewer candidates.
    """
    n = len(path)
    if n <= frames:
        return list(range(n))
    if path[-1] <= 0:  # no motion seen: spread over time
        path = np.arange(n, dtype=np.float64)
    rank = np.argsort(np.argsort(sharpness, kind="stable"), kind="stable") / (n - 1)
    middles = (np.arange(frames) + 0.5) * path[-1] / frames
    step = path[-1] / frames
    free = np.ones(n, dtype=bool)
    chosen = []
    for middle in middles:
        distance = np.abs(path - middle) / step
        inside = free & (distance <= 0.5)
        if not inside.any():
            inside = free & (distance <= distance[free].min())
        # Inside a stretch blur matters most; the far ends of it cost half of the range.
        value = np.where(inside, rank - distance**2 * 2.0, -np.inf)
        best = int(value.argmax())
        free[best] = False
        chosen.append(best)
    return sorted(chosen)


def _survey(video: Path, frames: int) -> _Candidates:
    """Sharpness and motion of evenly spaced frames, in one pass over the video."""
    import cv2

    count = _count(video)
    if count < 2:
        raise UserError(f"video {video} has fewer than two frames that can be decoded")
    wanted = int(np.clip(frames * CANDIDATES_PER_FRAME, MIN_CANDIDATES, MAX_CANDIDATES))
    step = max(1, count // wanted)
    numbers, sharpness, path = [], [], []
    last, travelled = None, 0.0
    capture = _open(video)
    for number in range(count):
        if not capture.grab():
            break
        if number % step:
            continue
        decoded, picture = capture.retrieve()
        if not decoded:
            continue
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        sharpness.append(_sharpness(_shrink(grey, SHARPNESS_PX)))
        small = _shrink(grey, TRACK_PX)
        if last is not None:
            travelled += _motion(last, small)
        last = small
        numbers.append(number)
        path.append(travelled)
    capture.release()
    if len(numbers) < 2:
        raise UserError(f"video {video} has fewer than two frames that can be decoded")
    return _Candidates(np.array(numbers), np.array(sharpness), np.array(path))


def _write(video: Path, numbers: set[int], folder: Path) -> list[Path]:
    import cv2

    capture = _open(video)
    written = []
    for number in range(max(numbers) + 1):
        if not capture.grab():
            break
        if number in numbers:
            decoded, picture = capture.retrieve()
            if decoded:
                path = folder / f"frame_{number:05d}.png"
                cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                written.append(path)
    capture.release()
    return written


def _open(video: Path) -> "cv2.VideoCapture":
    import cv2

    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise UserError(f"video {video} cannot be opened; convert it to MP4 (H.264)")
    return capture


def _count(video: Path) -> int:
    """Frames that can be reached; counted, because headers are often wrong."""
    capture = _open(video)
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _shrink(grey: np.ndarray, long_side: int) -> np.ndarray:
    import cv2

    scale = long_side / max(grey.shape)
    if scale >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian relative to the picture's own contrast."""
    import cv2

    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8)  # sensor noise is not sharpness
    return float(cv2.Laplacian(smooth, cv2.CV_64F).var() / (grey.astype(np.float64).var() + 1.0))


def _motion(before: np.ndarray, after: np.ndarray) -> float:
    """Median displacement of tracked corners, long sides."""
    import cv2

    corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 6)
    if corners is None or len(corners) < MIN_TRACKED:
        return 0.0

    def track(start: np.ndarray, end: np.ndarray, points: np.ndarray) -> tuple:
        guess = points.copy()
        there, found, _ = cv2.calcOpticalFlowPyrLK(
            start, end, points, guess, winSize=(21, 21), maxLevel=4
        )
        return np.asarray(there), np.asarray(found)

    corners = np.asarray(corners)
    there, found = track(before, after, corners)
    back, found_back = track(after, before, there)
    returned = np.linalg.norm((back - corners).reshape(-1, 2), axis=1) < 1.0
    good = returned & (found.ravel() == 1) & (found_back.ravel() == 1)
    if good.sum() < MIN_TRACKED:
        return LOST_MOTION
    distance = np.linalg.norm((there - corners).reshape(-1, 2)[good], axis=1)
    moved = float(np.median(distance)) / max(before.shape)
    return moved if moved > 5e-4 else 0.0  # compression alone shakes a still picture that much

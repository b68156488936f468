"""Pictures to an MP4 that plays: H.264 where an encoder for it is installed, else VP9."""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from corr.errors import UserError

log = logging.getLogger(__name__)
Pictures = Iterable[UInt8[np.ndarray, "h w 3"]]
_QUALITY = "18"  # H.264's constant rate factor: hardly to be told from the pictures


def write_video(path: Path, pictures: Pictures, size: tuple[int, int], fps: int) -> str:
    """Write an MP4 and count its frames by reading it back.

    Args:
        path: Where to write; either complete or absent afterwards.
        pictures: RGB, all of `size`.
        size: Width and height, px, both even.
        fps: Pictures a second.

    Returns:
        The codec that was used.

    Raises:
        UserError: No encoder works here, or the file does not play to its end.
    """
    partial = path.with_name(path.stem + ".tmp.mp4")
    codec, put = _encoder(partial, size, fps)
    count = 0
    with put as write:
        for picture in pictures:
            write(np.ascontiguousarray(picture))
            count += 1
    found = count_frames(partial)
    if found != count:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{codec} wrote a video that ends after {found} of {count} frames; the pictures are "
            f"complete. Try pip install 'few-view-recon[video]', or video=false"
        )
    partial.replace(path)
    return codec


def count_frames(path: Path) -> int:
    """Frames that can be decoded."""
    import cv2

    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def _encoder(path: Path, size: tuple[int, int], fps: int):
    """Name of the codec and a context that gives a function to put pictures in."""
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        return "H.264", _with_ffmpeg(path, size, fps)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # it would print its attempts
    import cv2

    for code, name in (("vp09", "VP9"), ("mp4v", "MPEG-4")):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size)
        if writer.isOpened():
            log.info("video: %s (H.264 needs pip install 'few-view-recon[video]')", name)
            return name, _with_opencv(writer)
    raise UserError(
        "no video encoder works here: OpenCV has neither VP9 nor MPEG-4; "
        "pip install 'few-view-recon[video]', or video=false for the pictures alone"
    )


@contextmanager
def _with_ffmpeg(path: Path, size: tuple[int, int], fps: int) -> Iterator[Callable]:
    import imageio_ffmpeg

    stream = imageio_ffmpeg.write_frames(
        str(path), size, fps=fps, codec="libx264", macro_block_size=2,
        output_params=["-crf", _QUALITY, "-movflags", "+faststart"],
    )  # fmt: skip
    stream.send(None)
    try:
        yield stream.send
    finally:
        stream.close()


@contextmanager
def _with_opencv(writer) -> Iterator[Callable]:
    try:
        yield lambda picture: writer.write(picture[..., ::-1].copy())
    finally:
        writer.release()

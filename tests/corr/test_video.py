import numpy as np
import pytest
from PIL import Image as PilImage

from corr.errors import UserError
from corr.photo_input import prepare_photos
from corr.video import choose_frames, extract_frames

STEP, WIDTH, HEIGHT = 3, 321, 241  # px a frame


@pytest.fixture(params=[("MJPG", ".avi"), ("mp4v", ".mp4")])
def clip(request, tmp_path, texture):
    """120 frames: a pan with a pause in frames 40 … 79; two of three moving frames are blurred.

    Returns the path, the pan position of each frame and which frames are sharp.
    """
    import cv2

    code, suffix = request.param
    world = texture(WIDTH + STEP * 90 + 10, HEIGHT, 3)
    path = tmp_path / f"clip{suffix}"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*code), 30, (WIDTH // 2 * 2, HEIGHT // 2 * 2)
    )
    position = np.concatenate([np.arange(40), np.full(40, 39), np.arange(39, 79)]) * STEP
    sharp = np.arange(120) % 3 == 1
    for x, clear in zip(position, sharp, strict=True):
        frame = world[: HEIGHT // 2 * 2, x : x + WIDTH // 2 * 2, ::-1]
        writer.write(np.ascontiguousarray(frame) if clear else cv2.GaussianBlur(frame, (0, 0), 3))
    writer.release()
    return path, position, sharp


def test_sharp_frames_spread_over_the_motion_are_picked(clip, tmp_path):
    path, position, sharp = clip
    files = extract_frames(path, tmp_path / "frames", frames=8)
    numbers = np.array([int(f.stem.removeprefix("frame_")) for f in files])
    assert len(numbers) == 8
    assert sharp[numbers].all()
    gaps = np.diff(position[numbers])
    even = (position[-1] - position[0]) / 8
    assert gaps.min() >= 0.4 * even  # at most one frame of the pause
    assert gaps.max() <= 1.8 * even


def test_video_prepares_as_photos_do(clip, tmp_path):
    path, _, _ = clip
    photos = prepare_photos(path, tmp_path / "out", max_side=200, frames=5)
    assert len(photos.images) == 5
    assert photos.images[0].name.startswith("frame_000")
    assert photos.images[0].path.parent == tmp_path / "out" / "frames"
    with PilImage.open(photos.images[0].path) as frame:
        assert frame.size == (320, 240)


def test_choice_takes_everything_when_there_is_no_more():
    assert choose_frames(np.arange(3.0), np.ones(3), 5) == [0, 1, 2]


def test_choice_spreads_over_time_when_nothing_moves():
    assert choose_frames(np.zeros(100), np.ones(100), 4) == pytest.approx([12, 37, 62, 87], abs=2)


def test_choice_never_repeats_a_frame_after_a_jump():
    path = np.r_[np.zeros(5), np.full(5, 10.0)]
    assert len(set(choose_frames(path, np.arange(10.0), 6))) == 6


def test_unreadable_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"a\.mp4 cannot be opened; convert it to MP4"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "frames", frames=3)

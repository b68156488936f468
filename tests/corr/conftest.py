"""Made-up pictures for the tests of photos and matchers: no file from outside is needed."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.photos import Image


def _texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Noise of many scales with discs and boxes on it: corners and edges everywhere."""
    import cv2

    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cell in (4, 8, 16, 32, 64):
        small = rng.standard_normal((height // cell + 2, width // cell + 2, 3))
        big = cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        picture += big * cell**0.5
    picture = (picture - picture.mean()) / picture.std() * 35 + 128
    for _ in range(width * height // 1500):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        r = int(rng.integers(3, 16))
        if rng.random() < 0.5:
            cv2.circle(picture, (x, y), r, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, (x, y), (x + 2 * r, y + r), colour, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def texture() -> Callable[..., np.ndarray]:
    """`texture(width, height, seed=0)`: an RGB picture with plenty to match."""
    return _texture


@pytest.fixture
def as_image(tmp_path) -> Callable[..., Image]:
    """`as_image(rgb, name, mask=None, scale=1)`: a picture as a prepared photo.

    The original is taken to be `scale` times as large as the working copy.
    """

    def write(rgb: np.ndarray, name: str, mask: np.ndarray | None = None, scale: float = 1):
        path = tmp_path / f"{name}.png"
        PilImage.fromarray(rgb).save(path)
        mask_path = None
        if mask is not None:
            mask_path = tmp_path / f"{name}_mask.png"
            PilImage.fromarray(mask.astype(np.uint8) * 255).save(mask_path)
        height, width = rgb.shape[:2]
        size = (round(width * scale), round(height * scale))
        return Image(name, path, *size, None, path, width, height, mask_path)

    return write


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos, or a skip."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("CORR_DATA", beside))
    if not (folder / "photos").is_dir():
        pytest.skip(f"no real photos at {folder} (set CORR_DATA)")
    return folder


@pytest.fixture
def one_thread():
    """Threads that wait for each other make small networks crawl on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

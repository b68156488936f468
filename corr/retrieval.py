"""Which photos look alike: local features of a matcher's network, pooled to one vector a photo."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from corr.photos import Image
from corr.sharding import ItemFiles, Parallel, Task, map_sharded, refuse_failures, split

if TYPE_CHECKING:
    import torch

SIDE_PX = 416  # longer side of what the network sees
FEATURES = 400  # per photo, the most reliable ones
WORDS = 32
ROUNDS = 8  # of k-means
SAMPLE = 20_000  # local features that the words are made from
PHOTOS_PER_SHARD = 8


@dataclass
class LocalFeatures:
    """Computes what is pooled of photos."""

    images: Sequence[Image]
    xfeat: Any = None  # kornia's XFeat with weights; None = loaded in the process that needs it

    def __call__(self, photos: Sequence[int]) -> Iterator[bytes]:
        """The bytes of a NumPy file per photo."""
        if self.xfeat is None:
            from corr.matchers.xfeat import load_xfeat

            self.xfeat = load_xfeat()
        for photo in photos:
            buffer = io.BytesIO()
            np.save(buffer, _local(self.images[photo], self.xfeat))
            yield buffer.getvalue()


def pooled_features(
    images: Sequence[Image],
    xfeat: Any,
    folder: Path | None = None,
    parallel: Parallel | None = None,
) -> Float32[np.ndarray, "n d"]:
    """A unit vector per photo; the inner product says how much two photos have in common.

    Args:
        images: The photos.
        xfeat: Kornia's XFeat with weights.
        folder: Keeps local features of these photos; None = they are computed anew.
        parallel: Where they are computed; None = in this process.

    Raises:
        UserError: Photos failed.
    """
    if folder is None:
        with TemporaryDirectory() as temporary:
            return pooled_features(images, xfeat, Path(temporary), parallel)
    parallel = parallel or Parallel()
    folder.mkdir(parents=True, exist_ok=True)
    size = parallel.executor.shard_size or (1 if parallel.here else PHOTOS_PER_SHARD)
    failures = map_sharded(
        Task(LocalFeatures(images, xfeat if parallel.here else None)),
        split(range(len(images)), size), ItemFiles(lambda k: folder / f"{k}.npy"),
        parallel.executor, workers=parallel.workers, label="look at photos", unit="photo",
    )  # fmt: skip
    refuse_failures(failures, len(images), name=lambda k: images[k].name, unit="photo")
    return pool([folder / f"{k}.npy" for k in range(len(images))])


def pool(files: Sequence[Path]) -> Float32[np.ndarray, "n d"]:
    """Unit vectors from photos' local features, which stay on disk behind memory maps.

    Residuals of local features to the words of a vocabulary that is made from these photos are
    summed per word, so that no training set is needed; deterministic. In memory are 8 kB a photo.

    Args:
        files: NumPy files of m x d unit vectors, one per photo.

    Source: Jégou et al., VLAD, CVPR 2010; per-word normalisation: Arandjelović and Zisserman,
    CVPR 2013.
    """
    counts = [len(np.load(file, mmap_mode="r")) for file in files]
    step = max(1, sum(counts) // SAMPLE)
    sample, first = [], 0
    for file, count in zip(files, counts, strict=True):
        # Every step-th of all features in a row, as if they were one array.
        sample.append(np.array(np.load(file, mmap_mode="r")[-first % step :: step]))
        first += count
    words = _words(np.concatenate(sample))
    return np.stack([_vlad(np.load(file), words) for file in files])


def _local(image: Image, xfeat: Any) -> Float32[np.ndarray, "m d"]:
    """The most reliable unit features of a photo, masked places left out."""
    import torch
    import torch.nn.functional as F

    rgb = torch.from_numpy(image.load().copy()).permute(2, 0, 1)[None] / 255.0
    scale = SIDE_PX / max(rgb.shape[-2:])
    size = [max(32, round(s * scale / 32) * 32) for s in rgb.shape[-2:]]
    with torch.inference_mode():
        small = F.interpolate(rgb, size, mode="bilinear", antialias=True, align_corners=False)
        maps, _, reliability = xfeat.net(small)
        score = reliability[0, 0]
        mask = image.load_mask()
        if mask is not None:
            usable = torch.from_numpy(mask.astype(np.float32))[None, None]
            score = score * (F.adaptive_avg_pool2d(usable, score.shape[-2:])[0, 0] > 0.5)
        best = _best(score.flatten())
        return F.normalize(maps[0].flatten(1).T[best], dim=1).numpy()


def _best(score: "torch.Tensor") -> "torch.Tensor":
    import torch

    order = torch.sort(score, descending=True, stable=True).indices[:FEATURES]
    return order[score[order] > 0] if bool((score > 0).any()) else order[:1]


def _words(features: Float32[np.ndarray, "m d"]) -> Float32[np.ndarray, "w d"]:
    """Spherical k-means, started from evenly spaced features."""
    words = features[np.linspace(0, len(features) - 1, min(WORDS, len(features))).astype(int)]
    for _ in range(ROUNDS):
        nearest = (features @ words.T).argmax(1)
        sums = np.zeros_like(words)
        np.add.at(sums, nearest, features)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        words = np.where(length > 0, sums / np.maximum(length, 1e-12), words)
    return words


def _vlad(
    features: Float32[np.ndarray, "m d"], words: Float32[np.ndarray, "w d"]
) -> Float32[np.ndarray, " wd"]:
    nearest = (features @ words.T).argmax(1)
    sums = np.zeros_like(words)
    np.add.at(sums, nearest, features - words[nearest])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return sums.ravel() / max(float(np.linalg.norm(sums)), 1e-12)

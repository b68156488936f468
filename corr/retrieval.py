"""Which photos look alike: local features of a matcher's network, pooled to one vector a photo."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32
from tqdm import tqdm

from corr.photos import Image

if TYPE_CHECKING:
    import torch

SIDE_PX = 416  # longer side of what the network sees
FEATURES = 400  # per photo, the most reliable ones
WORDS = 32
ROUNDS = 8  # of k-means
SAMPLE = 20_000  # local features that the words are made from


def pooled_features(images: Sequence[Image], xfeat: Any) -> Float32[np.ndarray, "n d"]:
    """A unit vector per photo; the inner product says how much two photos have in common.

    Residuals of local features to the words of a vocabulary that is made from these photos are
    summed per word, so that no training set is needed; deterministic.

    Args:
        images: The photos.
        xfeat: Kornia's XFeat with weights.

    Source: Jégou et al., VLAD, CVPR 2010; per-word normalisation: Arandjelović and Zisserman,
    CVPR 2013.
    """
    local = [
        _local(image, xfeat)
        for image in tqdm(images, desc="look at photos", unit="photo", leave=False)
    ]
    stacked = np.concatenate(local)
    words = _words(stacked[:: max(1, len(stacked) // SAMPLE)])
    return np.stack([_vlad(features, words) for features in local])


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
) -> Float[np.ndarray, " wd"]:
    nearest = (features @ words.T).argmax(1)
    sums = np.zeros_like(words)
    np.add.at(sums, nearest, features - words[nearest])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return sums.ravel() / max(float(np.linalg.norm(sums)), 1e-12)

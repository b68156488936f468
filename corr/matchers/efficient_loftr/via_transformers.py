"""The same weights run by transformers' own class, for comparison with ours."""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.errors import UserError
from corr.matchers.checkpoint import fill
from corr.matchers.efficient_loftr.backbone import MULTIPLE
from corr.matchers.efficient_loftr.coarse import CELL
from corr.matchers.efficient_loftr.network import Found
from corr.matchers.efficient_loftr.weights import read_weights
from corr.matchers.nearest import SoftMatches


def classes() -> tuple[Any, Any]:
    """Transformers' configuration and model.

    Raises:
        UserError: The package is missing.
    """
    try:
        from transformers import EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching
    except ImportError as error:
        raise UserError(
            f"matcher.implementation=transformers needs the package transformers ({error}); "
            "pip install 'transformers>=5,<6', or matcher.implementation=own"
        ) from None
    return EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching


def build_transformers(threshold: float, file: Path) -> Any:
    """Transformers' model with the weights of either layout.

    Raises:
        UserError: The package or something in the file is missing.
    """
    config, model_class = classes()
    model = model_class(config(coarse_matching_threshold=threshold))
    fill(model, read_weights(file), file)
    return model.eval().requires_grad_(False)


def run_transformers(model: Any, a: Tensor, b: Tensor) -> Found:
    """Matches of two photos, each put together from the two slots that hold its ends.

    Its `post_process_keypoint_matching` lists photo a's ends by b's cells and photo b's by a's,
    which pairs the wrong ones up wherever the order differs.

    Args:
        model: From `build_transformers`.
        a: 1 1 h w, grey, in [0, 1].
        b: The same; both are padded to one size by repeating their edges.
    """
    height = max(x.shape[2] + -x.shape[2] % MULTIPLE for x in (a, b))
    width = max(x.shape[3] + -x.shape[3] % MULTIPLE for x in (a, b))
    padded = [
        F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate") for x in (a, b)
    ]
    given = torch.stack([x[0].expand(3, -1, -1) for x in padded])[None]
    answer = model(given)
    partner, uv = answer.matches[0], answer.keypoints[0] * given.new_tensor([width, height])
    i = (partner[1] >= 0).nonzero()[:, 0]
    j = partner[1, i]
    columns = width // CELL
    place = [torch.stack([k % columns, k // columns], -1) for k in (i, j)]
    inside, number = torch.ones_like(i, dtype=torch.bool), []
    for p, x in zip(place, (a, b), strict=True):
        # A cell's number must not depend on what the other photo's size is.
        number.append(p[:, 1] * math.ceil(x.shape[3] / CELL) + p[:, 0])
        inside &= (p * CELL < p.new_tensor([x.shape[3], x.shape[2]])).all(1)
    score = answer.matching_scores[0, 1, i]
    cells = SoftMatches(number[0][inside], number[1][inside], score[inside])
    points = [p.to(uv.dtype) * CELL for p in place]
    return Found(cells, *(t[inside] for t in (uv[0, j], uv[1, i], *points)))

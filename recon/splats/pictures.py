"""Photos and cameras at the sizes the training looks at them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from corr.geometry import Camera
from recon.scene import View
from recon.splats.losses import Target


@dataclass
class Picture:
    """A photo at training size with its camera."""

    camera: Camera
    target: Target


def prepare(
    view: View,
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    max_side: int,
    device: torch.device,
) -> Picture:
    """The view's photo and camera at training size."""
    import cv2

    factor = min(1.0, max_side / max(view.camera.width, view.camera.height))
    width = max(1, round(view.camera.width * factor))
    height = max(1, round(view.camera.height * factor))
    small = cv2.resize(pictures[view.name], (width, height), interpolation=cv2.INTER_AREA)
    rgb = torch.from_numpy(small.astype(np.float32) / 255.0).to(device)
    weight = None
    if view.name in masks:
        mask = masks[view.name].astype(np.float32)
        share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        weight = torch.from_numpy((share > 0.999).astype(np.float32)).to(device)
    return Picture(view.camera.resized(width, height), Target(rgb, weight))


def halved(
    full: list[Picture],
    views: tuple[View, ...],
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    device: torch.device,
) -> list[Picture]:
    """The photos at half of their training size."""
    sides = [max(1, max(p.camera.width, p.camera.height) // 2) for p in full]
    return [prepare(v, pictures, masks, side, device) for v, side in zip(views, sides, strict=True)]


def median_depths(means: Tensor, views: tuple[View, ...]) -> Tensor:
    """Median depth of the splats in front of each view, scene units."""
    depths = []
    for view in views:
        uv, z = view.camera.project(view.cam_from_world.apply(means.cpu().double().numpy()))
        inside = (z > 0) & (uv > 0).all(1)
        inside &= (uv[:, 0] < view.camera.width) & (uv[:, 1] < view.camera.height)
        depths.append(float(np.median(z[inside])) if inside.any() else 1.0)
    return torch.tensor(depths)


def sparable(views: tuple[View, ...]) -> int:
    """The photo whose neighbours are nearest: it can best be spared."""
    centres = np.array([v.cam_from_world.centre for v in views])
    distance = np.linalg.norm(centres[:, None] - centres, axis=-1)
    two_nearest = np.sort(distance, axis=1)[:, 1:3].sum(1)
    return int(np.argmin(two_nearest))

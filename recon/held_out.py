"""Score photos that were kept from the reconstruction: register, then render, then compare."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from tqdm import tqdm

from corr.matchers.base import Matcher
from corr.matchers.photo_matcher import PhotoMatcher
from corr.matches import Matches
from corr.photos import Image
from corr.store import write_atomic
from recon.render.base import Renderer
from recon.scene import Reconstruction, View
from recon.splats.cameras import CameraCorrections
from recon.splats.fitted import SavedSplats
from recon.splats.gaussians import Gaussians
from recon.splats.losses import Target, photometric_loss
from recon.splats.pictures import median_depths
from recon.workspace import picture_stems

log = logging.getLogger(__name__)
REFINE_STEPS = 60
REFINE_PX = 0.25  # first step of the pose search, pixels; falls to a tenth


@dataclass(frozen=True)
class PhotoScore:
    """How well one held-out photo was predicted, at the size it was compared at."""

    name: str
    psnr: float  # dB, all channels pooled, no colour correction
    psnr_corrected: float  # dB after one gain per channel
    ssim: float
    mse: float
    width: int
    height: int
    inliers: int  # 2D-3D matches that registered the photo
    moved_px: float  # how far the photometric refinement moved the picture


def score_held_out(
    held: list[Image],
    placed: list[Image],
    reconstruction: Reconstruction,
    splats: SavedSplats,
    matcher: Matcher,
    renderer: Renderer,
    cameras_folder: Path,
    folder: Path,
    *,
    score_height: int,
) -> tuple[list[PhotoScore], dict[str, str], list[View]]:
    """Register every held-out photo against the frozen reconstruction and score its render.

    A photo that cannot be registered is tried once more in four quarter turns.

    The pose comes from 2D-3D matches and is refined on the picture itself, splats frozen. Writes
    `<stem>_photo.png`, `<stem>_render.png` (the whole name where photos share a stem) and
    `scores.json` into `folder`.

    Returns:
        Scores, photos that could not be registered with the reason, and the registered views.
    """
    from recon.poses.localise import localise

    matches = _match(held, placed, matcher)
    stems = picture_stems(image.name for image in held)
    scores, reasons, views = [], {}, []
    for image in tqdm(held, desc="held-out photos", unit="photo"):
        found = localise(image, matches[image.name], reconstruction, cameras_folder)
        if isinstance(found, str) and isinstance(matcher, PhotoMatcher) and not matcher.rotate:
            turned = _match([image], placed, replace(matcher, rotate=True))[image.name]
            again = localise(image, turned, reconstruction, cameras_folder)
            found = found if isinstance(again, str) else again
        if isinstance(found, str):
            reasons[image.name] = found
            continue
        factor = min(1.0, score_height / found.view.camera.height)
        score, view = _score_one(
            found.view, found.picture, found.valid, found.inliers, splats, renderer,
            folder / stems[image.name], factor,
        )  # fmt: skip
        scores.append(score)
        views.append(view)
    record = {"photos": [asdict(s) for s in scores], "not_registered": reasons}
    write_atomic(folder / "scores.json", json.dumps(record, indent=1))
    return scores, reasons, views


def _match(
    held: list[Image], placed: list[Image], matcher: Matcher
) -> dict[str, dict[str, Matches]]:
    images = [*held, *placed]
    pairs = [(i, len(held) + j) for i in range(len(held)) for j in range(len(placed))]
    found: dict[str, dict[str, Matches]] = {image.name: {} for image in held}
    for (i, j), matches in tqdm(
        matcher.match_pairs(images, pairs), total=len(pairs), desc="match held-out", unit="pair"
    ):
        found[images[i].name][images[j].name] = matches
    return found


def _score_one(
    view: View,
    picture: np.ndarray,
    valid: np.ndarray | None,
    inliers: int,
    splats: SavedSplats,
    renderer: Renderer,
    picture_base: Path,
    factor: float,
) -> tuple[PhotoScore, View]:
    import cv2

    from recon.image_metrics import colour_corrected, masked_ssim, psnr

    width, height = round(view.camera.width * factor), round(view.camera.height * factor)
    photo = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) / 255.0
    mask = np.ones((height, width), bool)
    if valid is not None:
        small = cv2.resize(valid.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        mask = small > 0.999
    small_view = View(view.name, view.camera.resized(width, height), view.cam_from_world)
    behind = splats.background
    refined, moved = refine_pose(small_view, photo, mask, splats.gaussians, renderer, behind)
    render = draw(splats.gaussians, refined, renderer, background=behind)
    base = str(picture_base)
    save_picture(Path(base + "_photo.png"), photo)
    save_picture(Path(base + "_render.png"), render)
    # Scores are of what was written: 8-bit pictures.
    photo, render = np.round(photo * 255) / 255, np.round(np.clip(render, 0, 1) * 255) / 255
    corrected = colour_corrected(render, photo, mask=mask)
    score = PhotoScore(
        name=view.name,
        psnr=psnr(render, photo, mask=mask),
        psnr_corrected=psnr(corrected, photo, mask=mask),
        ssim=masked_ssim(render, photo, mask),
        mse=float(((render - photo) ** 2)[mask].mean()),
        width=width,
        height=height,
        inliers=inliers,
        moved_px=moved,
    )
    return score, View(view.name, view.camera, refined.cam_from_world)


def refine_pose(
    view: View,
    photo: np.ndarray,
    mask: np.ndarray,
    gaussians: Gaussians,
    renderer: Renderer,
    background: np.ndarray,
) -> tuple[View, float]:
    """Move the camera until the render of the frozen splats fits the photo best.

    Gains per channel are fitted along, so that brightness does not pull the pose; they are not
    applied to what is scored. Returns the view and the size of the correction, pixels.
    """
    device = "cuda" if renderer.name == "cuda" else "cpu"
    depths = median_depths(gaussians.means, (view,)).to(device)
    corrections = CameraCorrections((view,), depths, torch.zeros(1, 3))
    frozen = gaussians.detached().to(device)
    rgb = torch.from_numpy(photo.astype(np.float32)).to(device)
    target = Target(rgb, torch.from_numpy(mask.astype(np.float32)).to(device))
    behind = torch.tensor(background, dtype=torch.float32, device=device)
    gains = torch.zeros(3, requires_grad=True, device=device)
    adam = torch.optim.Adam(
        [
            {"params": [corrections.twist_px], "lr": REFINE_PX},
            {"params": [gains], "lr": 0.01},
        ],
        betas=(0.8, 0.99),
    )
    best, best_loss = corrections.twist_px.detach().clone(), float("inf")
    for step in range(REFINE_STEPS):
        decay = 0.1 ** (step / REFINE_STEPS)
        adam.param_groups[0]["lr"] = REFINE_PX * decay
        before = corrections.twist_px.detach().clone()
        pose = corrections.cam_from_world(0)
        rendered = renderer.render(frozen, view.camera, pose, background=behind)
        loss = photometric_loss(rendered.rgb * gains.exp(), target)
        if float(loss.detach()) < best_loss:
            best, best_loss = before, float(loss.detach())
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        corrections.twist_px.copy_(best)
    return corrections.view(0, view), float(best.norm())


@torch.no_grad()
def draw(
    gaussians: Gaussians,
    view: View,
    renderer: Renderer,
    *,
    background: np.ndarray,
    gains: np.ndarray | None = None,
) -> np.ndarray:
    """The picture of a view, h w 3 in [0, 1] and beyond, optionally with a photo's gains.

    `background` (3 colours) stands where no splat is: nothing is known there, and the mean colour
    of the photos is a better guess than black.
    """
    device = "cuda" if renderer.name == "cuda" else "cpu"
    matrix = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32, device=device)
    behind = torch.tensor(background, dtype=torch.float32, device=device)
    picture = renderer.render(gaussians.to(device), view.camera, matrix, background=behind)
    rgb = picture.rgb.cpu().numpy()
    return rgb if gains is None else rgb * gains


def save_picture(path: Path, rgb: np.ndarray) -> None:
    """Write h w 3 in [0, 1] as an 8-bit PNG."""
    PilImage.fromarray(np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)).save(path)


def summarise(scores: list[PhotoScore]) -> Mapping[str, float]:
    """Mean and pooled figures; pooled is the PSNR of the mean squared error of all photos."""
    mean = {k: float(np.mean([getattr(s, k) for s in scores])) for k in
            ("psnr", "psnr_corrected", "ssim")}  # fmt: skip
    pooled = -10 * np.log10(max(float(np.mean([s.mse for s in scores])), 1e-10))
    return {**mean, "psnr_pooled": float(pooled)}

"""A run folder as the report sees it: whatever is there, None or empty for what is not."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError
from corr.matches import Matches
from recon.report.metrics import Metrics
from recon.scene import Reconstruction, View

log = logging.getLogger(__name__)


@dataclass
class Photo:
    """An input photo, what became of it, and its pictures on disk."""

    name: str
    width: int  # original pixels; 0 = never looked at
    height: int
    status: str  # "placed", "held out" or "left out"
    reason: str = ""
    work: Path | None = None  # upright working copy
    undistorted: Path | None = None
    render: Path | None = None
    view: View | None = None  # refined where the splat stage refined it


@dataclass
class Pair:
    """Two photos and their matches, original pixels; `inlier` is all False if not verified."""

    a: int
    b: int
    matches: Matches
    inlier: np.ndarray
    label: str  # "general", "planar", "rotation" (taken from one place) or "unverified"

    @property
    def num_inliers(self) -> int:
        """Matches that agree with the two-view geometry."""
        return int(self.inlier.sum())


@dataclass
class RunFiles:
    """Everything that the report draws."""

    run: Path
    metrics: Metrics
    photos: list[Photo]
    pairs: list[Pair]
    reconstruction: Reconstruction | None
    history: list[dict[str, float]]
    config: str
    problems: list[str] = field(default_factory=list)  # parts that could not be read, for the page

    @property
    def num_prepared(self) -> int:
        """Photos that could take part in matching: the first ones of `photos`."""
        return sum(photo.width > 0 for photo in self.photos)

    def held_out_pictures(self, name: str) -> tuple[Path, Path] | None:
        """Photo and render of a held-out photo, if both were written."""
        photo = find_picture(self.run / "held_out", name, suffix="_photo")
        render = find_picture(self.run / "held_out", name, suffix="_render")
        return (photo, render) if photo and render else None


def load_run(run: Path) -> RunFiles:
    """Read a run folder; a part that is missing or damaged is named in `problems`."""
    problems: list[str] = []
    metrics = Metrics.read(run)
    listed = _try(problems, "photos", _photo_entries, run) or {"images": [], "left_out": {}}
    reconstruction = _try(problems, "cameras", _cameras, run)
    photos = _photos(run, listed, metrics, reconstruction)
    pairs = _try(problems, "matches", _pairs, run, photos) or []
    history = _try(problems, "training history", _history, run) or []
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return RunFiles(run, metrics, photos, pairs, reconstruction, history, text, problems)


def find_picture(folder: Path, name: str, suffix: str = "") -> Path | None:
    """The PNG or JPEG that belongs to a photo, by name or stem, folders kept or flattened."""
    plain = str(Path(name).with_suffix(""))
    tried = (name, plain, name.replace("/", "_"), plain.replace("/", "_"), Path(name).stem)
    for candidate in tried:
        for extension in (".png", ".jpg", ""):
            path = folder / f"{candidate}{suffix}{extension}"
            if path.is_file():
                return path
    return None


def _try(problems: list[str], what: str, read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except FileNotFoundError as error:
        problems.append(f"{what}: {Path(str(error.filename)).name} is not in the run folder")
    except UserError as error:
        problems.append(f"{what}: {error}")
    except (ValueError, KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        problems.append(f"{what}: could not be read ({error})")
    log.warning("report: %s", problems[-1])
    return None


def _photo_entries(run: Path) -> dict:
    return json.loads((run / "0_photos" / "photos.json").read_text(encoding="utf-8"))


def _history(run: Path) -> list[dict[str, float]]:
    return json.loads((run / "4_splats" / "history.json").read_text(encoding="utf-8"))


def _cameras(run: Path) -> Reconstruction:
    """The solved cameras; where the splat stage refined a pose, the refined one."""
    from recon.colmap_io import read_colmap

    solved = read_colmap(run / "2_cameras")
    refined = run / "4_splats" / "sparse"
    if not refined.is_dir():
        return solved
    views = {view.name: view for view in read_colmap(refined).views}
    return Reconstruction(
        views=tuple(views.get(view.name, view) for view in solved.views),
        xyz_world=solved.xyz_world,
        rgb=solved.rgb,
        tracks=solved.tracks,
        left_out=solved.left_out,
    )


def _photos(
    run: Path, listed: dict, metrics: Metrics, reconstruction: Reconstruction | None
) -> list[Photo]:
    """The prepared photos in their order (matches count on it), then the ones never prepared."""
    views = {v.name: v for v in reconstruction.views} if reconstruction else {}
    reasons = {**listed["left_out"], **(reconstruction.left_out if reconstruction else {})}
    left_out = run / "2_cameras" / "left_out.json"
    if left_out.exists():
        reasons |= json.loads(left_out.read_text(encoding="utf-8"))
    reasons |= metrics.photos.left_out
    photos = []
    for entry in listed["images"]:
        name = entry["name"]
        photo = Photo(name, int(entry["width"]), int(entry["height"]), "left out")
        photo.work = find_picture(run / "0_photos", entry["work_path"])
        photo.undistorted = find_picture(run / "2_cameras" / "images", name)
        photo.render = find_picture(run / "renders", name)
        photo.view = views.get(name)
        if photo.view is not None:
            photo.status = "placed"
        photos.append(photo)
    known = {photo.name for photo in photos}
    photos += [Photo(name, 0, 0, "left out") for name in reasons if name not in known]
    for photo in photos:
        if photo.status == "left out":
            photo.reason = str(reasons.get(photo.name, "no reason was recorded"))
    return photos + _held_out_photos(run, metrics)


def _held_out_photos(run: Path, metrics: Metrics) -> list[Photo]:
    if metrics.held_out is None:
        return []
    scored = [Photo(score.name, 0, 0, "held out") for score in metrics.held_out.per_photo]
    lost = [Photo(n, 0, 0, "held out", reason=r) for n, r in metrics.held_out.unlocated.items()]
    for photo in scored:
        photo.work = find_picture(run / "held_out", photo.name, suffix="_photo")
    return scored + lost


def _pairs(run: Path, photos: list[Photo]) -> list[Pair]:
    """Match files joined with the verified pairs, best first."""
    folder = run / "1_matches"
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    if not any(photo.width for photo in photos):
        raise ValueError("matches need the list of photos")
    verified = _two_views(run)
    pairs = []
    for path in sorted(folder.glob("*_*.npz")):
        first, _, second = path.stem.partition("_")
        a, b = int(first), int(second)
        matches = Matches.load(path)
        inlier = np.zeros(len(matches), dtype=bool)
        chosen, label = verified.get((a, b), (np.zeros(0, dtype=int), "unverified"))
        inlier[chosen] = True
        pairs.append(Pair(a, b, matches, inlier, label))
    return sorted(pairs, key=lambda p: (p.num_inliers, len(p.matches)), reverse=True)


def _two_views(run: Path) -> dict[tuple[int, int], tuple[np.ndarray, str]]:
    """Inlier indices and kind of every verified pair, by photo indices."""
    from recon.poses.two_view_file import load_two_views

    if not (run / "2_cameras" / "two_view.json").exists():
        return {}
    pairs = load_two_views(run / "2_cameras")
    return {(p.a, p.b): (p.inliers, p.label) for p in pairs if p.verified}

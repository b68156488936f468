"""`corr match`: photos in; matches, their geometry and pictures of them out."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from tqdm import tqdm

from corr.errors import UserError
from corr.folders import job_folder, log_to, make_folder
from corr.match_files import write_colmap_text
from corr.match_pictures import matches_picture
from corr.matches import Matches
from corr.matching import load_matches, match_photos
from corr.options import choice_name
from corr.options_match import PAIR_MATCHERS, MatchOptions
from corr.pairs import all_pairs, choose_pairs
from corr.photo_files import list_photos, unique_names
from corr.photo_input import PhotoSet, load_photos, prepare_files
from corr.photos import Image
from corr.sharding import Parallel
from corr.store import digest, file_digest, reuse_or_run, write_atomic
from corr.two_view import PairGeometry, pair_geometry

log = logging.getLogger(__name__)
MOST_LINES = 40  # pairs that are printed; all of them stand in matches.json
VERSION = 3  # of what the matchers write; raise it when their code changes that
Pair = tuple[int, int]


def match(options: MatchOptions) -> str:
    """Match photos pair by pair; returns what is printed.

    Writes `matches.json`, `matches/<i>_<j>.npz`, `colmap/` and `pictures/`. What is finished is not
    computed again.

    Raises:
        UserError: A photo or its mask is not usable, or fewer than two are.
    """
    options.executor.check(options.workers)
    paths = chosen_files(options.photos)
    name = choice_name(options.matcher, PAIR_MATCHERS)
    out = result_folder(options, paths, name)
    make_folder(out)
    handler = log_to(out / "run.log")
    try:
        photos = _photos(options, paths, out)
        pairs = _pairs(photos, options, out / "photos" / "looks")
        matches = _matches(photos, pairs, options, out)
        geometry = _geometry(photos.images, matches, options) if options.matcher.RIGID else {}
        record = _record(photos, matches, geometry, options, name)
        write_atomic(out / "matches.json", json.dumps(record, indent=1))
        write_colmap_text(out / "colmap", [i.name for i in photos.images], matches)
        if options.pictures:
            _pictures(photos.images, matches, geometry, out / "pictures")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    return summary(record, out)


def chosen_files(photos: list[str]) -> list[Path]:
    """The photo files: those of one folder, or those that are named.

    Raises:
        UserError: There are fewer than two, one is missing, or one was given twice.
    """
    given = [Path(p).expanduser() for p in photos]
    if len(given) == 1 and given[0].is_dir():
        files = list_photos(given[0])
    else:
        if missing := [p for p in given if not p.is_file()]:
            what = "is a folder; give it alone" if missing[0].is_dir() else "does not exist"
            raise UserError(f"photo {missing[0]} {what}")
        files = [list_photos(p)[0] for p in given]
    if len(files) < 2:
        raise UserError(f"two photos or a folder are needed, got {' '.join(photos) or 'nothing'}")
    places = Counter(f.resolve() for f in files)
    if twice := [place for place, count in places.items() if count > 1]:
        raise UserError(f"{twice[0]} was given twice; give two different photos")
    return files


def result_folder(options: MatchOptions, paths: list[Path], matcher: str) -> Path:
    """`out`, or `outputs/match/<photos>_<matcher>`."""
    if options.out:
        folder = Path(options.out)
    else:
        folder_name = Path(options.photos[0]).resolve().name
        stems = folder_name if len(options.photos) == 1 else "-".join(p.stem for p in paths[:2])
        plain = re.sub(r"[^\w.-]+", "_", stems)[:80].strip(".") or "photos"
        folder = Path("outputs") / "match" / f"{plain}_{matcher}"
    return job_folder(folder)


def _photos(options: MatchOptions, paths: list[Path], out: Path) -> PhotoSet:
    masks = Path(options.masks).expanduser() if options.masks else None
    mask_files = sorted(masks.iterdir()) if masks and masks.is_dir() else []
    key = digest(
        VERSION, [[str(p.resolve()), file_digest(p)] for p in paths], options.max_side,
        [file_digest(m) for m in mask_files if m.is_file()],
    )  # fmt: skip

    def work(folder: Path) -> None:
        options.matcher.check()  # before minutes go into photos that nothing can match
        prepare_files(
            paths, folder, source=paths[0].parent, max_side=options.max_side, masks=masks,
            names=unique_names(paths),
        )  # fmt: skip

    return load_photos(reuse_or_run(out / "photos", key, work).folder)


def _pairs(photos: PhotoSet, options: MatchOptions, folder: Path) -> list[Pair]:
    if len(options.photos) > 1 and not options.max_pairs:
        return all_pairs(len(photos.images))
    return choose_pairs(
        photos.images, max_pairs=options.max_pairs, per_photo=options.pairs_per_photo,
        folder=folder, parallel=Parallel(options.executor, options.workers),
    )  # fmt: skip


def _matches(
    photos: PhotoSet, pairs: list[Pair], options: MatchOptions, out: Path
) -> dict[Pair, Matches]:
    stage = json.loads((out / "photos" / "stage.json").read_text())
    key = digest(VERSION, options.matcher, stage["key"], pairs)

    def work(folder: Path) -> None:
        parallel = Parallel(options.executor, options.workers)
        match_photos(photos.images, options.matcher, folder, pairs, parallel)

    return load_matches(reuse_or_run(out / "matches", key, work).folder)


def _geometry(
    images: tuple[Image, ...], matches: Mapping[Pair, Matches], options: MatchOptions
) -> dict[Pair, PairGeometry]:
    bar = tqdm(matches.items(), desc="geometry", unit="pair", disable=len(matches) < 20)
    return {
        (a, b): pair_geometry(
            images[a], images[b], m, estimator=options.estimator, max_error_px=options.max_error,
            focal_px=options.focal_px, seed=options.seed,
        )
        for (a, b), m in bar
    }  # fmt: skip


def _record(
    photos: PhotoSet,
    matches: Mapping[Pair, Matches],
    geometry: Mapping[Pair, PairGeometry],
    options: MatchOptions,
    matcher: str,
) -> dict[str, Any]:
    """Everything that `matches.json` says."""
    pairs = []
    for (a, b), m in matches.items():
        row: dict[str, Any] = {
            "a": photos.images[a].name, "b": photos.images[b].name, "matches": len(m),
            "file": f"matches/{a}_{b}.npz",
        }  # fmt: skip
        if (found := geometry.get((a, b))) is not None:
            pose = found.b_from_a
            row |= {
                "inliers": int(found.inliers.sum()),
                "needed": found.needed,
                "verified": found.verified,
                "inlier_rows": np.flatnonzero(found.inliers).tolist(),
                "b_from_a": None if pose is None else pose.matrix.tolist(),
                "rotation_deg": None if pose is None else round(found.rotation_deg, 3),
                "focal_a_px": round(found.focal_a_px, 2),
                "focal_b_px": round(found.focal_b_px, 2),
                "focal_known": found.focal_known,
            }
        pairs.append(row)
    return {
        "matcher": matcher, "estimator": options.estimator if geometry else None,
        "max_error_px_at_1200": options.max_error, "seed": options.seed,
        "photos": [i.name for i in photos.images], "left_out": photos.left_out, "pairs": pairs,
    }  # fmt: skip


def _pictures(
    images: tuple[Image, ...],
    matches: Mapping[Pair, Matches],
    geometry: Mapping[Pair, PairGeometry],
    folder: Path,
) -> None:
    folder.mkdir(exist_ok=True)
    for (a, b), m in tqdm(matches.items(), desc="pictures", unit="pair", disable=len(matches) < 20):
        found = geometry.get((a, b))
        picture = matches_picture(
            images[a].load(), images[b].load(), images[a].to_work(m.uv_a),
            images[b].to_work(m.uv_b), m.score, None if found is None else found.inliers,
        )  # fmt: skip
        name = f"{Path(images[a].name).stem}--{Path(images[b].name).stem}_{a}_{b}.jpg"
        PilImage.fromarray(picture).save(folder / name, quality=88)


def summary(record: Mapping[str, Any], out: Path) -> str:
    """One line per pair, and where everything lies."""
    lines = [f"{name} is left out: {why}" for name, why in record["left_out"].items()]
    lines += [_pair_line(row) for row in record["pairs"][:MOST_LINES]]
    if len(record["pairs"]) > MOST_LINES:
        lines.append(f"… and {len(record['pairs']) - MOST_LINES} more pairs in matches.json")
    if any(row.get("focal_known") is False for row in record["pairs"]):
        lines.append(
            "the focal length was guessed as 1.2 times the longer side: inliers hold without it, "
            "rotations are rough; give focal_px=… if you know it"
        )
    return "\n".join([*lines, f"results: {out}"])


def _pair_line(row: Mapping[str, Any]) -> str:
    text = f"{row['a']} {row['b']}: {row['matches']} matches"
    if "inliers" not in row:
        return text
    text += f", {row['inliers']} fit one rigid scene"
    if not row["verified"]:
        return f"{text}: may be chance, {row['needed']} are needed to be sure"
    if row["b_from_a"] is None:
        return f"{text}, no pose"
    return f"{text}, turned by {row['rotation_deg']:.1f} deg"

"""Cameras of few photos: ours against pycolmap's default SIFT pipeline, same subsets, same run.

`python -m tests.benchmarks.cameras out=cameras/ [sets=fox,lego] [sizes=2,3,5] [count=3]` runs on
the posed sets of $CORR_DATA (evaluation only). Subsets: random, every photo adequate with another
one (`camera_subsets`). Focal lengths are unknown to both. Results are stored per subset, so that an
interrupted run continues. Seconds: matching of the subset's pairs (ours: features of a photo
shared out among the set's pairs) and cameras, two cores.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from corr.errors import UserError
from corr.geometry import Rigid3
from corr.matchers.base import Matcher
from corr.matchers.choices import MATCHERS
from corr.matches import Matches
from corr.photo_input import prepare_photos
from corr.photos import Image
from recon.poses.solve import PoseSolver
from recon.relative_metrics import score_relative
from recon.rescue import Rescue, count_inliers
from tests.benchmarks.camera_subsets import SETS, SIZES, PosedSet, read_set, subsets

SIDE, PEER_SIDE = 1024, 1600  # px; ours is the default of `recon run`
ADEQUATE_MAA = 80.0  # where the peer is below it, or places fewer, ours must be far ahead
Poses = dict[str, Rigid3]


def data_folder() -> Path:
    """Where the real photos lie."""
    return Path(os.environ.get("CORR_DATA", "../shared/data")).resolve()


class Ours:
    """Matches of a pair are computed once per set and kept; cameras are solved per subset."""

    def __init__(self, name: str, posed: PosedSet, folder: Path):
        self.name, self.matcher = name, MATCHERS[name]()
        self.rescue = Rescue(MATCHERS["dense"]()) if name == "xfeat_star" else None
        source = posed.photos[0].path.parent
        wanted = [p.path.name for p in posed.photos]
        self.folder = folder / f"{posed.name}_{name}"
        self.images = {
            i.name: i
            for i in prepare_photos(source, self.folder / "p", max_side=SIDE, names=wanted).images
        }

    def pairs(self, images: list[Image]) -> dict[tuple[int, int], tuple[Matches, float]]:
        """Matches and seconds of every pair of a subset."""
        from corr.pairs import choose_pairs

        found = self.match(self.matcher, self.name, images, choose_pairs(images))
        if self.rescue is not None:
            rescue, again = self.rescue, dict[tuple[int, int], tuple[Matches, float]]()

            def match(pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Matches]:
                dense = self.match(rescue.matcher, "dense", images, list(pairs))
                again.update({p: (m, s + found[p][1]) for p, (m, s) in dense.items()})
                return {p: m for p, (m, _) in dense.items()}

            counts = count_inliers(images, {p: m for p, (m, _) in found.items()})
            good = rescue.densely(images, counts, match)
            found |= {p: again[p] if p in good else (found[p][0], again[p][1]) for p in again}
        return found

    def match(
        self, matcher: Matcher, tag: str, images: list[Image], chosen: list[tuple[int, int]]
    ) -> dict[tuple[int, int], tuple[Matches, float]]:
        """Matches of the pairs, those that are kept from before included, and their seconds."""
        stem = {i: f"{tag}--{images[i].name}" for i in range(len(images))}
        file = {(i, j): self.folder / f"{stem[i]}--{images[j].name}.npz" for i, j in chosen}
        missing = [p for p in chosen if not file[p].with_suffix(".seconds").exists()]
        start = perf_counter()
        for pair, matches in tqdm(
            matcher.match_pairs(images, missing), total=len(missing), desc=tag,
            unit="pair", leave=False,
        ):  # fmt: skip
            matches.save(file[pair])
        if missing:
            each = (perf_counter() - start) / len(missing)
            for pair in missing:
                file[pair].with_suffix(".seconds").write_text(str(each))
        return {
            p: (Matches.load(f), float(f.with_suffix(".seconds").read_text()))
            for p, f in file.items()
        }

    def __call__(self, names: list[str]) -> tuple[Poses, float]:
        """Poses by name, and seconds."""
        images = [self.images[n] for n in names]
        pairs = self.pairs(images)
        matches = {p: m for p, (m, _) in pairs.items()}
        start = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = PoseSolver().solve(images, matches, Path(folder))
            except UserError as error:
                print(f"{self.name}: {error}", file=sys.stderr)
                return {}, sum(s for _, s in pairs.values()) + perf_counter() - start
        seconds = sum(s for _, s in pairs.values()) + perf_counter() - start
        return {v.name: v.cam_from_world for v in found.views}, seconds


class Colmap:
    """pycolmap with its own SIFT and default options; the model with most photos."""

    name = "pycolmap SIFT"

    def __init__(self, posed: PosedSet):
        self.source = posed.photos[0].path.parent

    def __call__(self, names: list[str]) -> tuple[Poses, float]:
        """Poses by name, and seconds."""
        import pycolmap

        pycolmap.logging.minloglevel = 3
        pycolmap.set_random_seed(0)
        start = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "database.db"
            extraction = pycolmap.FeatureExtractionOptions()
            extraction.max_image_size = PEER_SIDE
            pycolmap.extract_features(
                database, self.source, names, camera_mode=pycolmap.CameraMode.SINGLE,
                extraction_options=extraction,
            )  # fmt: skip
            pycolmap.match_exhaustive(database)
            models = pycolmap.incremental_mapping(database, self.source, folder).values()
            best = max(models, key=lambda m: m.num_reg_images(), default=None)
        poses = {} if best is None else {
            best.images[k].name: Rigid3.from_matrix(best.images[k].cam_from_world().matrix())
            for k in best.reg_image_ids()
        }  # fmt: skip
        return poses, perf_counter() - start


def solve(
    who: Callable[[list[str]], tuple[Poses, float]], names: list[str], truth: Poses, file: Path
) -> dict:
    """Scores of one subset, from the file if it is there."""
    if not file.exists():
        poses, seconds = who(names)
        score = score_relative(poses, truth, names)
        record = {
            "photos": names, "placed": len(poses), "seconds": seconds,
            "rra5": score.rra(5), "rra15": score.rra(15), "rta5": score.rta(5),
            "rta15": score.rta(15), "maa30": score.maa(30),
            "rotation_deg": score.rotation_deg.tolist(),
            "direction_deg": score.direction_deg.tolist(),
        }  # fmt: skip
        file.write_text(json.dumps(record))
    return json.loads(file.read_text())


def row(label: str, name: str, records: list[dict]) -> str:
    """A line of the table: means over the subsets."""
    placed = sum(r["placed"] for r in records), sum(len(r["photos"]) for r in records)
    mean = {k: np.mean([r[k] for r in records]) for k in
            ("rra5", "rra15", "rta5", "rta15", "maa30", "seconds")}  # fmt: skip
    return (
        f"{label:22s} {name:18s} {placed[0]:4d}/{placed[1]:<4d}"
        f"{mean['rra5']:7.1f}{mean['rra15']:7.1f}{mean['rta5']:7.1f}{mean['rta15']:7.1f}"
        f"{mean['maa30']:7.1f}{mean['seconds']:8.1f}"
    )


def verdict(ours: list[dict], peer: list[dict]) -> list[str]:
    """The bars, met or not."""
    behind = [
        (p["maa30"] - o["maa30"], o["photos"])
        for o, p in zip(ours, peer, strict=True) if o["maa30"] < p["maa30"] - 1
    ]  # fmt: skip
    hard = [
        (o, p) for o, p in zip(ours, peer, strict=True)
        if p["placed"] < len(p["photos"]) or p["maa30"] < ADEQUATE_MAA
    ]  # fmt: skip
    ahead = np.mean([o["maa30"] - p["maa30"] for o, p in hard]) if hard else float("nan")
    fewer = sum(o["placed"] < p["placed"] for o, p in zip(ours, peer, strict=True))
    lines = [
        f"photos placed: {sum(o['placed'] for o in ours)} of {sum(len(o['photos']) for o in ours)}"
        f" (peer {sum(p['placed'] for p in peer)}); fewer than the peer in {fewer} subsets",
        f"more than 1 point of mAA@30 behind the peer in {len(behind)} of {len(ours)} subsets",
        f"ahead by {ahead:.1f} points on the {len(hard)} subsets where the peer fails",
    ]
    return lines + [f"  behind by {d:.1f}: {' '.join(names)}" for d, names in sorted(behind)[::-1]]


def main(arguments: list[str]) -> None:
    """Run what is missing, print the tables."""
    given = dict(a.split("=", 1) for a in arguments)
    out = Path(given.get("out") or tempfile.mkdtemp())
    names = given["sets"].split(",") if "sets" in given else SETS
    sizes = [int(s) for s in given["sizes"].split(",")] if "sizes" in given else SIZES
    matchers = given.get("matchers", "xfeat_star").split(",")
    if given.get("fresh"):
        for file in out.glob("*_ours-*.json"):
            file.unlink()
    out.mkdir(parents=True, exist_ok=True)
    ours: dict[str, list[dict]] = {m: [] for m in matchers}
    peer: list[dict] = []
    head = f"{'subset':22s} {'who':18s} {'placed':9s}  RRA@5    @15  RTA@5    @15 mAA@30 seconds"
    print(head)
    for name in names:
        posed = read_set(data_folder(), name)
        colmap = Colmap(posed)
        solvers = {m: Ours(m, posed, out) for m in matchers}
        for size in sizes:
            chosen = subsets(posed, size, int(given.get("count", 3)))
            photos = [[posed.photos[i].path.name for i in s] for s in chosen]
            label = f"{name} {size or 'all'} x{len(chosen)}"
            if not photos:
                continue

            def stored(who, tag, photos=photos, name=name, size=size, posed=posed):
                return [
                    solve(who, p, posed.truth, out / f"{name}_{size}_{k}_{tag}.json")
                    for k, p in enumerate(photos)
                ]

            for m, solver in solvers.items():
                records = stored(solver, f"ours-{m}")
                ours[m] += records
                print(row(label, m, records), flush=True)
            records = stored(colmap, "colmap")
            peer += records
            print(row(label, colmap.name, records), flush=True)
    for m in matchers:
        print(f"\n{m} against {Colmap.name}:", *verdict(ours[m], peer), sep="\n")
    if "out" not in given:
        shutil.rmtree(out)


if __name__ == "__main__":
    main(sys.argv[1:])

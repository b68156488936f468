"""The main job: the stages in order, each kept on disk and reused while nothing has changed."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.errors import UserError
from corr.folders import log_to, make_folder
from corr.options import choice_name
from corr.photo_input import PhotoSet, list_photos, load_photos, prepare_photos
from corr.sharding import EXECUTORS, Parallel
from corr.store import Stage, digest, file_digest, peak_memory_mb, reuse_or_run, write_atomic
from recon import workspace
from recon.options import MATCHERS, QUALITIES, RunOptions, SceneOptions
from recon.photo_choice import choose
from recon.scale import check_scale
from recon.scene import Reconstruction

if TYPE_CHECKING:
    from recon.rescue import Rescue

log = logging.getLogger(__name__)
# Raise a stage's number when its code changes what it writes: old results are then not reused.
VERSIONS = {"photos": 1, "matches": 5, "cameras": 6, "seeds": 2, "splats": 2, "mesh": 2, "held": 1}


@dataclass(frozen=True)
class Summary:
    """What a run leaves behind, for the last lines on the screen."""

    out: Path
    lines: tuple[str, ...]

    def text(self) -> str:
        """The lines to print."""
        return "\n".join([*self.lines, f"report: {self.out / 'report.html'}"])


class Source:
    """Where the photos come from: a folder, or a video from which frames are picked."""

    def __init__(self, scene: SceneOptions):
        self.scene = scene
        self.path = Path(scene.images)
        files = list_photos(self.path)
        self.video = len(files) == 1 and files[0] == self.path
        self.names = [f.name for f in files]

    def split(self, use: str, hold_out: str) -> tuple[list[str], list[str]]:
        """Input and held-out photos; a video's frames are all input."""
        if not self.video:
            return choose(self.names, use, hold_out)
        if use != "all" or hold_out:
            raise UserError(
                "a video's frames have no names before they are picked: scene.use and "
                "scene.hold_out need a folder of photos (a run leaves them in 0_photos/frames)"
            )
        return self.names, []

    def keys(self, names: list[str]) -> list[str]:
        """What the prepared photos depend on."""
        if self.video:
            return [file_digest(self.path)]
        keys = [f"{n}:{file_digest(self.path / n)}" for n in names]
        if self.scene.masks:
            folder = Path(self.scene.masks)
            keys += [f"{f.name}:{file_digest(f)}" for f in sorted(folder.glob("*")) if f.is_file()]
        return keys

    def prepare(self, names: list[str], folder: Path, *, at_least: int = 2) -> PhotoSet:
        """Working copies of some of the photos, into a folder."""
        return prepare_photos(
            self.path,
            folder,
            max_side=self.scene.max_side,
            masks=Path(self.scene.masks) if self.scene.masks else None,
            frames=self.scene.frames,
            names=None if self.video else names,
            at_least=at_least,
        )


class Run:
    """One run folder and the stages in it; every method is one stage."""

    def __init__(self, options: RunOptions):
        if options.quality not in QUALITIES:
            raise UserError(f"quality must be one of {', '.join(QUALITIES)}, got {options.quality}")
        options.executor.check(options.workers)
        sample = not options.scene.images
        self.scene = workspace.absolute(workspace.with_sample(options.scene))
        self.options = hold_known_poses(replace(options, scene=self.scene))
        workspace.check_truth(self.scene.cameras, self.scene.surface)
        workspace.check_given(options.poses.cameras)
        workspace.check_points(options.seeder.points)
        self.source = Source(self.scene)
        self.inputs, self.held_names = self.source.split(self.scene.use, self.scene.hold_out)
        check_scale(options.scale, self.inputs)
        self.out = workspace.result_folder(options, sample)
        make_folder(self.out)
        self.stages: list[tuple[str, Stage]] = []
        self.start = perf_counter()

    def keep_options(self) -> None:
        """Write what this run was told beside its results, once it is known to be possible."""
        from omegaconf import OmegaConf

        config = OmegaConf.to_yaml(OmegaConf.structured(self.options))
        write_atomic(self.out / "config.yaml", config)
        choices = {
            "matcher": choice_name(self.options.matcher, MATCHERS),
            "executor": choice_name(self.options.executor, EXECUTORS),
        }
        write_atomic(self.out / "choices.json", json.dumps(choices))

    def _stage(self, name: str, key: str, work: Callable[[Path], None]) -> Stage:
        number = len(self.stages)
        stage = reuse_or_run(self.out / f"{number}_{name}", key, work)
        self.stages.append((name, stage))
        return stage

    def photos(self) -> PhotoSet:
        """Working copies of the input photos."""
        s = self.scene
        key = digest(VERSIONS["photos"], self.source.keys(self.inputs), s.max_side, s.frames)

        def work(folder: Path) -> None:
            self.source.prepare(self.inputs, folder)

        return load_photos(self._stage("photos", key, work).folder)

    def matches(self, photos: PhotoSet) -> dict:
        """Matches of every chosen pair."""
        from corr.matching import load_matches, match_photos
        from corr.pairs import choose_pairs

        parallel = Parallel(self.options.executor, self.options.workers)
        pairs = choose_pairs(
            photos.images, per_photo=self.options.pairs_per_photo,
            folder=self.folder("photos") / "looks", parallel=parallel,
        )  # fmt: skip
        matcher = self.options.matcher
        rescue = self.rescue()
        key = digest(VERSIONS["matches"], matcher, rescue, self.stages[-1][1].key, pairs)

        def work(folder: Path) -> None:
            match_photos(photos.images, matcher, folder, pairs, parallel)
            if rescue is not None:
                rescue.run(photos.images, folder, parallel)

        return load_matches(self._stage("matches", key, work).folder)

    def rescue(self) -> "Rescue | None":
        """What matches weak pairs again; only a semi-dense matcher's counts tell which are weak."""
        from corr.matchers.dense.matcher import DenseMatcher
        from corr.matchers.xfeat import XFeatStar
        from recon.rescue import Rescue

        matcher = self.options.matcher
        if not (self.options.rescue and isinstance(matcher, XFeatStar)):
            return None
        return Rescue(DenseMatcher(), replace(matcher, rotate=True))

    def cameras(self, photos: PhotoSet, matches: dict) -> Reconstruction:
        """Poses, tracks and undistorted photos."""
        from recon.colmap_io import read_colmap
        from recon.rescue import mirrored_photos

        poses = self.options.poses
        key = digest(
            VERSIONS["cameras"], poses, given_digest(poses.cameras), self.stages[-1][1].key,
            self.options.seed,
        )  # fmt: skip

        def work(folder: Path) -> None:
            reasons = mirrored_photos(self.folder("matches"))
            poses.solve(photos.images, matches, folder, reasons)

        return read_colmap(self._stage("cameras", key, work).folder)

    def seeds(self, reconstruction: Reconstruction) -> Any:
        """First splats."""
        from recon.splats.seeds import Seeds

        options, cameras = self.options.seeder, self.folder("cameras")

        def work(folder: Path) -> None:
            pictures, masks = workspace.load_pictures(cameras, reconstruction.views)
            rng = np.random.default_rng(self.options.seed)
            options.seed(reconstruction, pictures, masks, folder, rng)

        key = digest(
            VERSIONS["seeds"], options, given_digest(options.points, "seeder.points"),
            self.stages[-1][1].key, self.options.seed,
        )  # fmt: skip
        return Seeds.load(self._stage("seeds", key, work).folder)

    def splats(self, seeds: Any, reconstruction: Reconstruction, renderer: Any) -> Path:
        """Optimised splats with refined cameras."""
        from recon.splats.batch import with_batch
        from recon.splats.fitted import save_fitted

        options = with_batch(self.options.optimiser, self.options.gpus)
        cameras = self.folder("cameras")

        def work(folder: Path) -> None:
            pictures, masks = workspace.load_pictures(cameras, reconstruction.views)
            fitted = options.fit(
                seeds, reconstruction.views, pictures, masks, renderer, folder, self.options.seed,
                self.options.gpus,
            )  # fmt: skip
            save_fitted(folder, fitted, reconstruction)

        key = digest(
            VERSIONS["splats"], options, self.stages[-1][1].key, self.options.seed, renderer.name
        )
        return self._stage("splats", key, work).folder

    def mesh(self, gaussians: Any, views: Any, renderer: Any) -> Path:
        """The surface."""
        from recon.mesh_stage import write_mesh_stage

        options, cameras = self.options.mesher, self.folder("cameras")

        def work(folder: Path) -> None:
            pictures, masks = workspace.load_pictures(cameras, views)
            mesh, facts = options.mesh(gaussians, views, pictures, renderer, masks)
            write_mesh_stage(folder, options, mesh, facts, views, pictures, masks)

        key = digest(VERSIONS["mesh"], options, self.stages[-1][1].key)
        return self._stage("mesh", key, work).folder

    def folder(self, name: str) -> Path:
        """Folder of a finished stage."""
        return next(stage.folder for n, stage in self.stages if n == name)


def given_digest(path: str, option: str = "poses.cameras") -> list[str]:
    """What a given file depends on: itself, or the files of a folder."""
    if not path:
        return []
    source = Path(path).expanduser()
    files = sorted(f for f in source.rglob("*") if f.is_file()) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        what = option.rpartition(".")[2]
        raise UserError(f"there are no {what} at {path}; correct {option}")
    names = (".txt", ".bin", ".json")
    return [file_digest(f) for f in files if not source.is_dir() or f.suffix in names]


def hold_known_poses(options: RunOptions) -> RunOptions:
    """Known poses are not refined along with the splats either."""
    if options.poses.use != "known" or options.optimiser.pose_px == 0:
        return options
    log.info("poses are known: the optimiser leaves them as they are (optimiser.pose_px=0)")
    return replace(options, optimiser=replace(options.optimiser, pose_px=0.0))


def run(options: RunOptions) -> Summary:
    """Photos to cameras, splats, mesh, exports and report.

    Raises:
        UserError: The photos or the options cannot work; the message says what to change.
    """
    from recon.render.select import check_gpus, renderer_for
    from recon.results import finish
    from recon.splats.batch import with_batch
    from recon.splats.fitted import load_fitted
    from recon.splats.strategies import check_strategy

    job = Run(options)
    handler = log_to(job.out / "run.log")
    try:
        renderer = renderer_for(options.device)
        check_gpus(options.gpus, renderer)
        check_strategy(options.optimiser, renderer.name)
        with_batch(options.optimiser, options.gpus)
        job.keep_options()
        photos = job.photos()
        matches = job.matches(photos)
        reconstruction = job.cameras(photos, matches)
        seeds = job.seeds(reconstruction)
        splats = load_fitted(job.splats(seeds, reconstruction, renderer))
        job.mesh(splats.gaussians, splats.views, renderer)
        lines = finish(job, photos, reconstruction, splats, renderer)
        log.info("total %.1f s, peak memory %.0f MB", perf_counter() - job.start, peak_memory_mb())
        return Summary(job.out, lines)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def photo_preparer(used: RunOptions, images: str, hold_out: str):
    """The held-out photos of a run (or of another folder) and the function that prepares them."""
    scene = replace(used.scene, images=images or used.scene.images)
    source = Source(scene)
    if images and not hold_out:
        names = source.names
    else:
        _, names = source.split(scene.use, hold_out or scene.hold_out)
    return names, lambda chosen, folder: source.prepare(chosen, folder, at_least=1)

"""Registration by voting: matches, compatible triangles, a Hough space, checked peaks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.confidence import (
    RIGHT_DEGREES,
    RIGHT_VOXELS,
    RIVAL_INPUTS,
    evidence_row,
    probability,
    share_among,
)
from registration.registrar import Registrar
from registration.result import Degeneracy, Hypothesis, Registration

CHECKED = 24  # hypotheses that are held against the clouds
REFINED = 3  # of them, refined and checked again on more points
DESCRIPTORS = ("auto", "fpfh", "learned", "given")
PEAK_SCORES = ("mass", "learned")
LARGEST_SCALE = 4.0
RIGHT_TURN = np.radians(RIGHT_DEGREES)
NEAR_TIE = 0.5  # log-odds
VOTES = ("triangles", "pairs", "points")


@dataclass
class HoughRegistrar(Registrar):
    """Deep Hough Voting without its old stack; see `voting/` for the steps."""

    VERSION: ClassVar[int] = 2  # of what the same options answer; stored predictions note it

    radii: list[float] = field(default_factory=lambda: [4.0, 8.0, 13.0])  # voxels, descriptors
    descriptor: str = "auto"  # fpfh | learned | given (the files') | auto: given, else fpfh
    weights: str = ""  # of descriptor=learned: what registration.learned.train_descriptor made
    peak_scores: str = "mass"  # what bins are ranked by: mass of their votes | learned
    candidates: int = 2  # matches per point, in each direction
    mutual: bool = True  # keep a match only where both sides have it among their candidates
    max_ratio: float = 1.0  # drop matches whose rival is nearer than this; 1 = keep all
    max_matches: int = 4000  # least ambiguous ones kept
    colour: float = 0.0  # largest CIELAB difference of two matched points; 0 = colours don't count
    votes: str = "triangles"  # matches per vote: triangles (3) | pairs (2) | points (1)
    cliques: int = 2000  # strongest edges of the compatibility graph (points: matches) that vote
    peaks: int = 30  # of the Hough space, per resolution
    scale_range: float = 1.0  # the source may be 1/this to this times its true size; 1 = rigid
    refine: bool = True  # generalised ICP on the clouds at the end
    keypoints: int = 0  # points per cloud that are matched, drawn at random; 0 = all
    min_probability: float = 0.5  # below it the answer is not accepted

    def __post_init__(self):
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability must be 0 to 1, got {self.min_probability}")
        for name, choices in (
            ("descriptor", DESCRIPTORS),
            ("peak_scores", PEAK_SCORES),
            ("votes", VOTES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)}"
                )
        if (self.descriptor == "learned") != bool(self.weights):
            raise ValueError(
                "descriptor=learned and weights=<descriptor.safetensors> go together; `python -m "
                "registration.learned.train_descriptor` makes the file"
            )
        if not self.radii or min(self.radii) < 2:
            raise ValueError(f"radii must be 2 voxels or more, got {list(self.radii)}")
        for name in ("candidates", "max_matches", "cliques", "peaks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 1 <= self.scale_range <= LARGEST_SCALE:
            raise ValueError(
                f"scale_range must be 1 (rigid) to {LARGEST_SCALE:g}, got {self.scale_range}"
            )
        if self.colour < 0:
            raise ValueError(f"colour must be 0 (off) or positive, got {self.colour}")

    def prepare(self, cloud: PointCloud, voxel: float):
        """Voxels, normals, descriptors and what the sensor saw."""
        from registration.prepare import prepare

        return prepare(
            cloud, voxel, tuple(self.radii), descriptor=self.descriptor, weights=self.weights
        )

    def register(self, source, target, *, seed: int = 0) -> Registration:
        """Vote, check the peaks on the clouds, refine the best.

        Where it is open which side of a cloud was seen, both are tried.
        """
        from registration.sides import sides

        _check_comparable(source, target)
        answers = [self._register_sides(a, b, seed) for a, b in sides(source, target)]
        best = max(answers, key=lambda a: a.hypotheses[0].score if a.hypotheses else -np.inf)
        return self._judged(best, source, target)

    def _register_sides(self, source, target, seed: int) -> Registration:
        voted = self.voted(source, target, seed=seed)
        start = perf_counter()
        answer = self._checked(source, target, voted.pairs, voted.candidates)
        seconds = {**voted.seconds, "check": perf_counter() - start}
        return replace(answer, matches=voted.rows, seconds=seconds)

    def voted(self, source, target, *, seed: int = 0) -> "Voted":
        """Match and vote: what the answer is chosen from."""
        from registration.evidence import pairing_of
        from registration.matching import alike, match_features
        from registration.voting.hypotheses import VoteSettings, hypothesise

        start = perf_counter()
        rng = np.random.default_rng(seed)
        index_a, index_b = (_drawn(len(p.features), self.keypoints, rng) for p in (source, target))
        matches = match_features(
            source.features[index_a], target.features[index_b],
            per_point=self.candidates, mutual=self.mutual, max_ratio=self.max_ratio,
        )  # fmt: skip
        rows = np.stack([index_a[matches.source], index_b[matches.target]], 1)
        weight = matches.weight
        if self.colour:
            same = alike(source.keys.lab, target.keys.lab, rows, self.colour)
            rows, weight = rows[same], weight[same]
        rows = rows[np.sort(np.argsort(-weight, kind="stable")[: self.max_matches])]
        matched = perf_counter()
        pairs = pairing_of(source.keys, target.keys, rows)
        settings = VoteSettings(
            target.voxel, votes=self.votes, cliques=self.cliques, peaks=self.peaks,
            learned=self.peak_scores == "learned", scale_range=self.scale_range,
        )  # fmt: skip
        candidates = hypothesise(pairs, settings)[:CHECKED]
        seconds = {"match": matched - start, "vote": perf_counter() - matched}
        return Voted(rows, pairs, candidates, seconds)

    def _checked(self, source, target, pairs, candidates) -> Registration:
        from registration.evidence import MATCH_BOUND, Checked, distinct, evidence_of, scores, sized

        if not candidates:
            none = np.zeros(len(pairs), bool)
            return Registration(None, 0.0, False, _no_hypothesis(len(pairs)), inlier=none)

        def judged(R, t, scale: float, share: float, sample: int) -> Checked:
            moving, matched = sized(source, pairs, scale)
            e = evidence_of(moving, target, matched, R, t, share, sample)
            return Checked(R, t, scale, share, e)

        found = [judged(c.R, c.t, c.scale, c.share, 600) for c in candidates]
        order = np.argsort(-scores(found), kind="stable")
        checked = []
        for c in (found[k] for k in order[:REFINED]):
            R, t, scale = self._refined(source, target, c)
            checked.append(judged(R, t, scale, c.share, 2000))
        checked += [found[k] for k in order[REFINED:]]
        hypotheses, evidence = distinct(checked, target.voxel)
        rival = hypotheses[1].score if len(hypotheses) > 1 else hypotheses[0].score - 10
        evidence["margin"] = float(np.clip(hypotheses[0].score - rival, 0, 10))
        first = hypotheses[0]
        aligned = first.target_from_source.apply(first.scale * pairs.source)
        return Registration(
            first.target_from_source, 0.0, False, "", hypotheses, scale=first.scale,
            evidence=evidence, margin=float(1 - np.exp(-evidence["margin"])),
            inlier=np.linalg.norm(aligned - pairs.target, axis=1)
            < pairs.bounds(MATCH_BOUND * target.voxel),
        )  # fmt: skip

    def _refined(self, source, target, c):
        """Rotation, translation and scale, after ICP on the clouds if that is wanted."""
        from registration.refine import gicp, similarity_icp

        if not self.refine:
            return c.R, c.t, c.scale
        moving = source if c.scale == 1.0 else source.scaled(c.scale)
        R, t = gicp(moving, target, c.R, c.t)
        if self.scale_range == 1.0:
            return R, t, 1.0
        R, t, factor = similarity_icp(moving.surface, target.surface, R, t, target.voxel)
        return R, t, c.scale * factor

    def _judged(self, answer: Registration, source, target) -> Registration:
        """The answer in the clouds' own frames, with its probability and what it leaves open."""
        from registration.degeneracy import chance_within, covariance, degeneracies
        from registration.evidence import NEAR
        from registration.refine import uncertainty

        if answer.target_from_source is None:
            return answer
        local = answer.target_from_source
        p = probability(evidence_row(answer.evidence, RIVAL_INPUTS))
        p = min(p, share_among(np.array([h.score for h in answer.hypotheses])))
        moving = source.surface if answer.scale == 1.0 else source.surface.scaled(answer.scale)
        u = uncertainty(moving, target.surface, local.R, local.t, near=NEAR * target.voxel)
        free = () if u is None else degeneracies(u)
        p *= chance_within(free, turn=RIGHT_TURN, slide=RIGHT_VOXELS * target.voxel)
        accepted = p >= self.min_probability

        def restored(h: Hypothesis) -> Hypothesis:
            m = h.target_from_source
            t = m.t + target.centre - h.scale * (m.R @ source.centre)
            return replace(h, target_from_source=Rigid3(m.R, t))

        hypotheses = tuple(restored(h) for h in answer.hypotheses)
        return replace(
            answer,
            target_from_source=hypotheses[0].target_from_source,
            hypotheses=hypotheses,
            probability=p,
            accepted=accepted,
            reason="" if accepted else _doubt(answer, self.min_probability, free, target.voxel),
            rmse=float("nan") if u is None else u.rmse,
            covariance=None if u is None else covariance(u),
            covariance_about=None if u is None else u.centre + target.centre,
            degeneracies=tuple(replace(d, through=d.through + target.centre) for d in free),
        )


@dataclass(frozen=True, eq=False)
class Voted:
    """Matches and the motions that they vote for.

    Args:
        rows: m x 2, indices of matched key-points.
        pairs: The key-points themselves, a `Pairing`.
        candidates: Motions, most support first.
        seconds: By step.
    """

    rows: np.ndarray
    pairs: Any
    candidates: list
    seconds: dict[str, float]


def _drawn(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    if not 0 < wanted < count:
        return np.arange(count)
    return np.sort(rng.choice(count, wanted, replace=False))


def _check_comparable(source, target) -> None:
    kinds = [(p.descriptor, p.features.shape[1]) for p in (source, target)]
    if kinds[0] != kinds[1]:
        (a, n), (b, m) = kinds
        raise ValueError(
            f"features of {source.name} ({a}, {n} numbers) and {target.name} ({b}, {m}) cannot be "
            "compared; give both the same kind, or descriptor=fpfh"
        )


def _no_hypothesis(matches: int) -> str:
    return (
        f"no three of {matches} matches agree; the clouds may not overlap, or have too little "
        "relief at this resolution: try a smaller voxel, or scans that share more"
    )


def _doubt(answer: Registration, wanted: float, free: Sequence[Degeneracy], voxel: float) -> str:
    best = answer.hypotheses[0]
    says = (
        f"below {wanted:g}: {best.inliers} of {len(answer.matches)} matches agree, "
        f"overlap {100 * best.overlap:.0f} %"
    )
    limit: dict[str, float] = {"sliding": RIGHT_VOXELS * voxel}
    loose = sorted({d.kind for d in free if d.sigma > limit.get(d.kind, float(RIGHT_TURN))})
    if loose:
        return f"{says}; {' and '.join(loose)} is left open: give scans that share more surfaces"
    if answer.evidence["margin"] < NEAR_TIE and len(answer.hypotheses) > 1:
        return f"{says}; another answer fits as well: give scans that share what tells them apart"
    return f"{says}; scans that share more, known sensor positions or a smaller voxel may help"

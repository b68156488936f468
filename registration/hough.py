"""Registration by voting: matches, compatible triangles, a Hough space, checked peaks."""

from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.confidence import INPUTS, RIVAL_INPUTS, evidence_row, probability, score
from registration.registrar import Registrar
from registration.result import Hypothesis, Registration

NEAR = 1.5  # voxels within which surfaces touch
CHECKED = 24  # hypotheses that are held against the clouds
REFINED = 3  # of them, refined and checked again on more points
DESCRIPTORS = ("fpfh", "learned")
PEAK_SCORES = ("mass", "learned")
VOTES = ("triangles", "pairs", "points")
MATCH_BOUND = 2.0  # voxels, residual of a true match


@dataclass
class HoughRegistrar(Registrar):
    """Deep Hough Voting without its old stack; see `voting/` for the steps."""

    radii: list[float] = field(default_factory=lambda: [4.0, 8.0, 13.0])  # voxels, descriptors
    descriptor: str = "fpfh"  # fpfh | learned
    peak_scores: str = "mass"  # what bins are ranked by: mass of their votes | learned
    candidates: int = 2  # matches per point, in each direction
    mutual: bool = True  # keep a match only where both sides have it among their candidates
    max_ratio: float = 1.0  # drop matches whose rival is nearer than this; 1 = keep all
    max_matches: int = 4000  # least ambiguous ones kept
    votes: str = "triangles"  # matches per vote: triangles (3) | pairs (2) | points (1)
    cliques: int = 2000  # strongest edges of the compatibility graph (points: matches) that vote
    peaks: int = 30  # of the Hough space, per resolution
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
        if not self.radii or min(self.radii) < 2:
            raise ValueError(f"radii must be 2 voxels or more, got {list(self.radii)}")
        for name in ("candidates", "max_matches", "cliques", "peaks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")

    def prepare(self, cloud: PointCloud, voxel: float):
        """Voxels, normals, descriptors and what the sensor saw."""
        from registration.prepare import prepare

        return prepare(cloud, voxel, tuple(self.radii), learned=self.descriptor == "learned")

    def register(self, source, target, *, seed: int = 0) -> Registration:
        """Vote, check the peaks on the clouds, refine the best.

        Where it is open which side of a cloud was seen, both are tried.
        """
        from registration.sides import sides

        answers = [self._register_sides(a, b, seed) for a, b in sides(source, target)]
        best = max(answers, key=lambda a: a.hypotheses[0].score if a.hypotheses else -np.inf)
        return self._judged(best, source, target)

    def _register_sides(self, source, target, seed: int) -> Registration:
        from registration.matching import match_features
        from registration.voting.hypotheses import VoteSettings, hypothesise

        start = perf_counter()
        rng = np.random.default_rng(seed)
        index_a, index_b = (_drawn(len(p.features), self.keypoints, rng) for p in (source, target))
        matches = match_features(
            source.features[index_a], target.features[index_b],
            per_point=self.candidates, mutual=self.mutual, max_ratio=self.max_ratio,
        )  # fmt: skip
        keep = np.sort(np.argsort(-matches.weight, kind="stable")[: self.max_matches])
        rows = np.stack([index_a[matches.source[keep]], index_b[matches.target[keep]]], 1)
        matched = perf_counter()
        pairs = pairing_of(source.surface, target.surface, rows)
        settings = VoteSettings(
            target.voxel, votes=self.votes, cliques=self.cliques, peaks=self.peaks,
            learned=self.peak_scores == "learned",
        )  # fmt: skip
        candidates = hypothesise(pairs, settings)[:CHECKED]
        voted = perf_counter()
        answer = self._checked(source, target, pairs, candidates)
        return replace(
            answer, matches=rows,
            seconds={"match": matched - start, "vote": voted - matched,
                     "check": perf_counter() - voted},
        )  # fmt: skip

    def _checked(self, source, target, pairs, candidates) -> Registration:
        from registration.refine import gicp
        from registration.voting.peaks import same_motion

        if not candidates:
            return Registration(None, 0.0, False, _no_hypothesis(len(pairs)))
        found = [evidence_of(source, target, pairs, c.R, c.t, c.share, 600) for c in candidates]
        logit = score(np.stack([evidence_row(e, INPUTS) for e in found]))
        order = np.argsort(-logit, kind="stable")
        refined = []
        for k in order[:REFINED]:
            R, t = candidates[k].R, candidates[k].t
            if self.refine:
                R, t = gicp(source, target, R, t)
            share = candidates[k].share
            refined.append((R, t, evidence_of(source, target, pairs, R, t, share, 2000)))
        refined += [(candidates[k].R, candidates[k].t, found[k]) for k in order[REFINED:]]
        values = score(np.stack([evidence_row(e, INPUTS) for _, _, e in refined]))
        hypotheses: list[Hypothesis] = []
        evidence: dict[str, float] = {}
        for k in np.argsort(-values, kind="stable"):
            R, t, e = refined[k]
            if hypotheses and same_motion(
                R, t, np.stack([h.target_from_source.R for h in hypotheses]),
                np.stack([h.target_from_source.t for h in hypotheses]),
                angle=0.26, distance=6 * target.voxel,
            ).any():  # fmt: skip
                continue
            evidence = evidence or e
            hypotheses.append(
                Hypothesis(
                    Rigid3(R, t), e["vote_share"], int(e["inliers"]), e["overlap"],
                    e["violations"], float(values[k]),
                )
            )  # fmt: skip
        rival = hypotheses[1].score if len(hypotheses) > 1 else hypotheses[0].score - 10
        evidence["margin"] = float(np.clip(hypotheses[0].score - rival, 0, 10))
        best = hypotheses[0].target_from_source
        residual = np.linalg.norm(best.apply(pairs.source) - pairs.target, axis=1)
        return Registration(
            best, 0.0, False, "", tuple(hypotheses), evidence=evidence,
            margin=float(1 - np.exp(-evidence["margin"])),
            inlier=residual < MATCH_BOUND * target.voxel,
        )  # fmt: skip

    def _judged(self, answer: Registration, source, target) -> Registration:
        """The answer in the clouds' own frames, with its probability and what it leaves open."""
        from registration.degeneracy import covariance, degeneracies
        from registration.refine import uncertainty

        if answer.target_from_source is None:
            return answer
        local = answer.target_from_source
        p = probability(evidence_row(answer.evidence, RIVAL_INPUTS))
        u = uncertainty(source.surface, target.surface, local.R, local.t, near=NEAR * target.voxel)
        accepted = p >= self.min_probability
        free = () if u is None else degeneracies(u)

        def restored(h: Hypothesis) -> Hypothesis:
            m = h.target_from_source
            t = m.t + target.centre - m.R @ source.centre
            return replace(h, target_from_source=Rigid3(m.R, t))

        hypotheses = tuple(restored(h) for h in answer.hypotheses)
        return replace(
            answer,
            target_from_source=hypotheses[0].target_from_source,
            hypotheses=hypotheses,
            probability=p,
            accepted=accepted,
            reason="" if accepted else _doubt(answer, self.min_probability),
            rmse=float("nan") if u is None else u.rmse,
            covariance=None if u is None else covariance(u),
            degeneracies=tuple(replace(d, through=d.through + target.centre) for d in free),
        )


def _drawn(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    if not 0 < wanted < count:
        return np.arange(count)
    return np.sort(rng.choice(count, wanted, replace=False))


def pairing_of(source, target, rows):
    """The points and normals of matched rows (m x 2, source and target) of two surfaces."""
    from registration.compatibility import Pairing

    a, b = rows[:, 0], rows[:, 1]
    return Pairing(source.xyz[a], target.xyz[b], source.normals[a], target.normals[b], signed=True)


def evidence_of(source, target, pairs, R, t, share: float, sample: int) -> dict[str, float]:
    """What speaks for and against a motion; the inputs of the confidence."""
    from registration.verify import surface_fit

    residual = np.linalg.norm(pairs.source @ R.T + t - pairs.target, axis=1)
    bound = MATCH_BOUND * target.voxel
    support = float(np.maximum(1 - (residual / bound) ** 2, 0).sum())
    fit = surface_fit(source.surface, target.surface, R, t, near=NEAR * target.voxel, sample=sample)
    return {
        "log_support": float(np.log1p(support)),
        "support_share": support / max(len(pairs), 1),
        "vote_share": float(share),
        "overlap": fit.overlap,
        "contradicted": fit.contradicted,
        "violations": fit.violations,
        "inliers": float((residual < bound).sum()),
    }


def _no_hypothesis(matches: int) -> str:
    return (
        f"no three of {matches} matches agree; the clouds may not overlap, or have too little "
        "relief at this resolution: try a smaller voxel, or scans that share more"
    )


def _doubt(answer: Registration, wanted: float) -> str:
    best = answer.hypotheses[0]
    return (
        f"below {wanted:g}: {best.inliers} of {len(answer.matches)} matches "
        f"agree, overlap {100 * best.overlap:.0f} %; scans that share more, known sensor positions "
        "or a smaller voxel may help"
    )

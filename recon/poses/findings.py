"""What is weak about the photos themselves, in words that a photographer understands."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from corr.geometry import rotation_angle
from recon.poses.bundle import Bundle
from recon.poses.evidence import CONTRADICTS, Evidence
from recon.poses.two_view import TwoView
from recon.poses.whitened import PosePrior

PLANAR_SHARE = 0.8  # of the verified pairs
FORWARD = 0.94  # cosine between the step and the direction of view: within 20 degrees
ON_A_LINE = 0.03  # second extent of the cameras over the first
SCALE = 2.5  # times larger in one photo than in every other one it matches
KNOWN_SHARE = 0.6  # of the matches that fit any geometry: fewer fit given poses that are wrong
OFF_SIGMAS = 5.0  # median distance from the priors, beyond which they were wrong
MANY = 100  # verified matches of a pair that chance does not give
NAMED = 3  # photos or pairs named in a sentence


def findings(
    bundle: Bundle,
    pairs: Sequence[TwoView],
    names: Sequence[str],
    evidence: Evidence,
    alike: Sequence[TwoView] = (),
) -> list[str]:
    """Sentences about degenerate input; none for good photos.

    Args:
        bundle: The final cameras.
        pairs: All two-view results.
        names: Of all photos.
        evidence: Verified matches by pair, of pairs that were used.
        alike: Pairs that were set aside since triplets contradict them.
    """
    verified = [p for p in pairs if p.verified]
    found = [
        _one_place(verified, names),
        _plane(verified),
        _forward(bundle, verified),
        _line(bundle),
        _set_aside(alike, names),
        _look_alike(bundle, names, evidence),
        *_scales(evidence, names),
    ]
    return [sentence for sentence in found if sentence]


def given_findings(
    bundle: Bundle,
    pairs: Sequence[TwoView],
    free: Sequence[TwoView],
    priors: Mapping[int, PosePrior],
) -> list[str]:
    """Sentences about given poses that the photos contradict.

    Args:
        bundle: The final cameras.
        pairs: Pairs as the known poses verify them, or as they verify themselves under priors.
        free: The same pairs as they verify themselves.
        priors: Given poses by photo; empty when they are known.
    """
    known = {(p.a, p.b): len(p.inliers) for p in pairs}
    own = {(p.a, p.b): len(p.inliers) for p in free if p.verified and (p.a, p.b) in known}
    share = sum(known[pair] for pair in own) / max(sum(own.values()), 1)
    if own and share < KNOWN_SHARE:
        return [
            f"only {share:.0%} of the matches that fit a rigid scene fit the poses of "
            "poses.cameras: check that they belong to these photos and that their axes are right "
            "(transforms.json: OpenGL's)"
        ]
    common = sorted(bundle.poses.keys() & priors.keys())
    off = float(np.median([_sigmas_off(bundle, p, priors[p]) for p in common] or [0.0]))
    if off <= OFF_SIGMAS:
        return []
    return [
        f"the photos put cameras {off:.0f} sigmas from the poses of "
        "poses.cameras, so their world is only roughly kept: raise poses.sigma_deg and "
        "poses.sigma_percent, or take poses.use=intrinsics"
    ]


def _sigmas_off(bundle: Bundle, photo: int, prior: PosePrior) -> float:
    pose, known = bundle.poses[photo], prior.cam_from_world
    turn = float(np.degrees(rotation_angle(pose.R @ known.R.T))) / prior.sigma_deg
    shift = float(np.linalg.norm(pose.centre - known.centre)) / prior.sigma_centre
    return max(turn, shift)


def _listed(items: Sequence[str]) -> str:
    more = len(items) - NAMED
    return ", ".join(items[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _one_place(verified: Sequence[TwoView], names: Sequence[str]) -> str:
    same = [f"{names[p.a]} and {names[p.b]}" for p in verified if p.label == "rotation"]
    if not same:
        return ""
    return (
        f"taken from one place: {_listed(same)}; such a pair measures no depth, step sideways "
        "between photos"
    )


def _plane(verified: Sequence[TwoView]) -> str:
    flat = sum(p.label == "planar" for p in verified)
    if not verified or flat < PLANAR_SHARE * len(verified):
        return ""
    return (
        "the scene is nearly flat: focal length and depth are weakly determined; give "
        "poses.focal_px or poses.cameras if you know them"
    )


def _forward(bundle: Bundle, verified: Sequence[TwoView]) -> str:
    placed = [p for p in verified if p.a in bundle.poses and p.b in bundle.poses]
    if not placed:
        return ""
    along = [_along_view(bundle, p.a, p.b) for p in placed]
    if np.median(along) < FORWARD:
        return ""
    return (
        "the camera moved along its direction of view: what lies in the middle of the photos has "
        "hardly any parallax; add photos from a step to the side"
    )


def _along_view(bundle: Bundle, a: int, b: int) -> float:
    step = bundle.poses[b].centre - bundle.poses[a].centre
    view = bundle.poses[a].R[2] + bundle.poses[b].R[2]
    length = np.linalg.norm(step) * np.linalg.norm(view)
    return float(abs(step @ view) / max(length, 1e-300))


def _line(bundle: Bundle) -> str:
    centres = np.stack([pose.centre for pose in bundle.poses.values()])
    if len(centres) < 3:
        return ""
    extent = np.linalg.svd(centres - centres.mean(0), compute_uv=False)
    if extent[1] > ON_A_LINE * extent[0]:
        return ""
    return (
        "all cameras stand on one line: the turn of the scene about that line rests on the "
        "pictures alone; a photo from above or below makes it firm"
    )


def _set_aside(alike: Sequence[TwoView], names: Sequence[str]) -> str:
    many = [p for p in alike if len(p.inliers) >= MANY]
    if not many:
        return ""
    which = _listed([f"{names[p.a]} and {names[p.b]}" for p in many])
    return (
        f"{which} match each other, but the photos that match both contradict it: not used, they "
        "probably show places that look alike"
    )


def _look_alike(bundle: Bundle, names: Sequence[str], evidence: Evidence) -> str:
    agreeing = evidence.agreeing(bundle)
    against = [
        f"{names[a]} and {names[b]}"
        for (a, b), (uv_a, _) in evidence.pairs.items()
        if a in bundle.poses
        and b in bundle.poses
        and len(uv_a) >= MANY
        and agreeing[a, b] < CONTRADICTS * len(uv_a)
    ]
    if not against:
        return ""
    return (
        f"{_listed(against)} match each other, but not where all photos together put them: parts "
        "of the scene may look alike, or something moved"
    )


def _scales(evidence: Evidence, names: Sequence[str]) -> list[str]:
    """Photos in which everything is much larger than in every photo that they match.

    Sizes are those of the working copies, which the matcher sees: a larger file shows nothing
    larger.
    """
    ratios: dict[int, list[float]] = {}
    for (a, b), (uv_a, uv_b) in evidence.pairs.items():
        ratio = _spread(uv_a) / max(_spread(uv_b), 1e-9)
        ratios.setdefault(a, []).append(ratio)
        ratios.setdefault(b, []).append(1 / max(ratio, 1e-9))
    return [
        f"{names[photo]} shows the scene {min(r):.1f} times larger than the photos it matches; "
        "photos in between would tie it in more firmly"
        for photo, r in sorted(ratios.items())
        if min(r) >= SCALE
    ]


def _spread(uv: Float[np.ndarray, "n 2"]) -> float:
    """Size of a set of points, robust against a few far ones."""
    return float(np.median(np.linalg.norm(uv - np.median(uv, axis=0), axis=-1)))

"""Why a photo could not be placed, in words that say what to do."""

from collections.abc import Sequence

from recon.poses.two_view import TwoView

HARDLY = 1.5  # times the verified matches that a pair needs; fewer may be chance


def reasons_for(
    pairs: Sequence[TwoView],
    names: Sequence[str],
    placed: set[int],
    weak: set[int],
    contradicting: set[int],
    min_points: int,
) -> dict[str, str]:
    """The reason of every photo that is not placed.

    Args:
        pairs: Two-view results.
        names: Of all photos.
        placed: Photos in the result.
        weak: Photos that were placed at first and lost their points.
        contradicting: Photos that were placed against most of their matches.
        min_points: How many points a photo must see.
    """
    reasons = {}
    for photo, name in enumerate(names):
        if photo in placed:
            continue
        reason = reason_for(photo, pairs, names, placed)
        if photo in weak:
            reason = (
                f"placed at first, but fewer than {min_points} points fitted in the end: its "
                "matches with the other photos are too few, or wrong"
            )
        elif photo in contradicting:
            reason = (
                "placed at first, but most of its verified matches contradict that place (parts of "
                "the scene look alike, or something moved)"
            )
        reasons[name] = reason
    return reasons


def reason_for(photo: int, pairs: Sequence[TwoView], names: Sequence[str], placed: set[int]) -> str:
    """The reason for one photo that no mapper placed, from its pairs."""
    mine = [p for p in pairs if photo in (p.a, p.b)]
    if not mine:
        return "it was matched with no other photo"

    def other(pair: TwoView) -> str:
        return names[pair.b if pair.a == photo else pair.a]

    best = max(mine, key=lambda p: len(p.inliers))
    verified = [p for p in mine if p.verified]
    if not verified:
        return (
            f"no other photo shows enough of the same: at best {len(best.inliers)} of "
            f"{best.num_matches} matches fit one rigid scene with {other(best)}, {best.needed} are "
            "needed"
        )
    if all(p.label == "rotation" for p in verified):
        return (
            f"taken from the same place as {other(best)} (rays of a match cross at "
            f"{best.parallax_deg:.1f} degrees): no depth can be measured; step sideways"
        )
    useful = [p for p in verified if {p.a, p.b} & placed]
    if not useful:
        friends = ", ".join(other(p) for p in verified[:3])
        return f"it matches only photos that are not placed themselves ({friends})"
    best = max(useful, key=lambda p: len(p.inliers))
    if len(best.inliers) < HARDLY * best.needed:
        return (
            f"hardly shows the same as the others: at best {len(best.inliers)} of "
            f"{best.num_matches} matches fit one rigid scene with {other(best)}: may be chance"
        )
    if len(useful) == 1:
        return (
            f"matches only {other(best)} ({len(best.inliers)} verified matches), and few of them "
            "are seen by a third photo; add a photo between it and its neighbours"
        )
    return (
        f"its matches contradict the other photos: {len(best.inliers)} verified matches with "
        f"{other(best)}, but no camera position fits them all"
    )


def no_pair_message(pairs: Sequence[TwoView], names: Sequence[str], num_photos: int) -> str:
    """One line for the error when nothing at all can be placed."""
    advice = "add photos that overlap more (a step of 10-20 degrees between neighbours)"
    if not pairs:
        return f"no pair of the {num_photos} photos was matched; {advice}"
    best = max(pairs, key=lambda p: len(p.inliers))
    numbers = (
        f"best pair: {names[best.a]} and {names[best.b]} with {len(best.inliers)} verified of "
        f"{best.num_matches} matches, {best.needed} needed"
    )
    verified = [p for p in pairs if p.verified]
    if not verified:
        return f"no two of {num_photos} photos show the same scene ({numbers}); {advice}"
    if all(p.label == "rotation" for p in verified):
        return (
            f"the {num_photos} photos seem to be taken from one place (median parallax "
            f"{best.parallax_deg:.1f} degrees in the best pair): depth cannot be measured; "
            "step sideways between photos"
        )
    if all(p.label in ("rotation", "planar") for p in verified):
        return (
            f"the {num_photos} photos show a flat scene, or were taken from one place ({numbers}): "
            "depth cannot be measured; step sideways between photos, or give poses.focal_px"
        )
    return (
        f"{len(verified)} of {len(pairs)} pairs match, but no pair gives a first model ({numbers}, "
        f"parallax {best.parallax_deg:.1f} degrees, {best.label}); {advice}, or give poses.focal_px"
    )

"""Why a photo could not be placed, in words that say what to do."""

from collections.abc import Sequence

from recon.poses.two_view import TwoView


def reason_for(photo: int, pairs: Sequence[TwoView], names: Sequence[str], placed: set[int]) -> str:
    """The reason for one photo that no mapper placed, from its pairs."""
    mine = [p for p in pairs if photo in (p.a, p.b)]
    if not mine:
        return "it was matched with no other photo"

    def other(pair: TwoView) -> int:
        return pair.b if pair.a == photo else pair.a

    best = max(mine, key=lambda p: len(p.inliers))
    numbers = (
        f"{len(best.inliers)} of {best.num_matches} matches fit one rigid scene with "
        f"{names[other(best)]}, {best.needed} are needed"
    )
    verified = [p for p in mine if p.verified]
    if not verified:
        return f"no other photo shows enough of the same: at best {numbers}"
    if all(p.label == "rotation" for p in verified):
        return (
            f"taken from the same place as {names[other(best)]} (rays of a match cross at "
            f"{best.parallax_deg:.1f} degrees): no depth can be measured; step sideways"
        )
    useful = [p for p in verified if other(p) in placed]
    if not useful:
        friends = ", ".join(names[other(p)] for p in verified[:3])
        return f"it matches only photos that are not placed themselves ({friends})"
    if len(useful) == 1:
        pair = useful[0]
        return (
            f"matches only {names[other(pair)]} ({len(pair.inliers)} verified matches), and few of "
            "them are seen by a third photo; add a photo between it and its neighbours"
        )
    best = max(useful, key=lambda p: len(p.inliers))
    return (
        f"its matches contradict the other photos: {len(best.inliers)} verified matches with "
        f"{names[other(best)]}, but no camera position fits them all"
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
    return (
        f"{len(verified)} of {len(pairs)} pairs match, but no pair gives a first model ({numbers}, "
        f"parallax {best.parallax_deg:.1f} degrees, {best.label}); {advice}, or give poses.focal_px"
    )

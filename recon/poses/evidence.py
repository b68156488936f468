"""How much of the verified matches a set of cameras agrees with: the judge between attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from corr.geometry import Rigid3
from corr.geometry.epipolar import essential, sampson_px
from corr.matches import Matches
from recon.poses.bundle import Bundle
from recon.poses.connected import parts
from recon.poses.two_view import TwoView

CONTRADICTS = 0.3  # share of a photo's verified matches that must agree with the solution


@dataclass(frozen=True, eq=False)
class Evidence:
    """Verified matches by pair, working pixels; independent of tracks and of what maps them."""

    pairs: dict[tuple[int, int], tuple[Float[np.ndarray, "_n 2"], Float[np.ndarray, "_n 2"]]]
    max_error_px: float

    @classmethod
    def of(
        cls,
        matches: Mapping[tuple[int, int], Matches],
        pairs: Sequence[TwoView],
        scales: Sequence[float],
        max_error_px: float,
    ) -> "Evidence":
        """The inliers of all verified pairs; limits are twice the verification's."""
        kept = {}
        for pair in pairs:
            if pair.verified:
                m = matches[pair.a, pair.b].select(pair.inliers)
                kept[pair.a, pair.b] = (m.uv_a * scales[pair.a], m.uv_b * scales[pair.b])
        return cls(kept, 2 * max_error_px)

    @property
    def total(self) -> int:
        """All verified matches."""
        return sum(len(a) for a, _ in self.pairs.values())

    def reachable(self) -> int:
        """Photos in the largest set connected by verified pairs."""
        if not self.pairs:
            return 0
        return int(np.bincount(parts(1 + max(b for _, b in self.pairs), self.pairs)).max())

    def agreeing(self, bundle: Bundle) -> dict[tuple[int, int], int]:
        """Matches within the limit of the epipolar line that the cameras give, per pair.

        A pair with a photo that is not placed agrees with nothing.
        """
        count = dict.fromkeys(self.pairs, 0)
        for (a, b), (uv_a, uv_b) in self.pairs.items():
            if a not in bundle.poses or b not in bundle.poses:
                continue
            b_from_a = bundle.poses[b] @ bundle.poses[a].inverse()
            length = max(float(np.linalg.norm(b_from_a.t)), 1e-12)
            E = essential(Rigid3(b_from_a.R, b_from_a.t / length))
            error = sampson_px(
                bundle.lens(a).undistort(uv_a), bundle.lens(b).undistort(uv_b), E,
                bundle.lens(a).focal_px, bundle.lens(b).focal_px,
            )  # fmt: skip
            count[a, b] = int((error <= self.max_error_px).sum())
        return count

    def contradicting(self, bundle: Bundle) -> list[int]:
        """Placed photos most of whose verified matches with placed photos do not agree.

        The worst is named first, and the others are judged without it: a wrong photo must not
        speak against the good ones that it matches.
        """
        agreeing, left, found = self.agreeing(bundle), set(bundle.poses), []
        while left:
            shares = {}
            for photo in sorted(left):
                mine = [p for p in self.pairs if photo in p and set(p) <= left]
                total = sum(len(self.pairs[p][0]) for p in mine)
                shares[photo] = sum(agreeing[p] for p in mine) / total if total else 1.0
            worst = min(shares, key=lambda photo: (shares[photo], photo))
            if shares[worst] >= CONTRADICTS:
                break
            found.append(worst)
            left.remove(worst)
        return found

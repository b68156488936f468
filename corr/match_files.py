"""Matches in files of other tools: COLMAP's text features and raw matches."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from corr.matches import Matches
from corr.store import write_atomic

NO_DESCRIPTOR = " ".join(["0"] * 128)  # COLMAP wants one; matches are given, so it is never read
SAME_PLACE_PX = 0.01  # points without a number that are this close are one


def write_colmap_text(
    folder: Path, names: Sequence[str], matches: Mapping[tuple[int, int], Matches]
) -> None:
    """Write `<photo>.txt` (key points) for every photo and `matches.txt`.

    They are read by `colmap feature_importer` and `colmap matches_importer --match_type raw`.
    COLMAP counts pixels as we do: the top-left pixel's centre is (0.5, 0.5).

    Args:
        folder: Made if missing.
        names: Of the photos.
        matches: By photo indices, original pixels. A point that has a number is one key point in
            all pairs, at its place in its most confident match.

    Source: https://colmap.github.io/tutorial.html#feature-detection-and-extraction
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = {photo: _Keypoints() for photo in range(len(names))}
    ordered = sorted(
        ((m.score[k], pair, k) for pair, m in matches.items() for k in range(len(m))),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    numbered: dict[tuple[int, int], list[tuple[int, int]]] = {pair: [] for pair in matches}
    for _, pair, k in ordered:
        m = matches[pair]
        a = index[pair[0]].number(m.uv_a[k], None if m.id_a is None else int(m.id_a[k]))
        b = index[pair[1]].number(m.uv_b[k], None if m.id_b is None else int(m.id_b[k]))
        numbered[pair].append((a, b))
    for photo, name in enumerate(names):
        rows = [f"{u:.4f} {v:.4f} 1 0 {NO_DESCRIPTOR}" for u, v in index[photo].places]
        write_atomic(folder / f"{name}.txt", "\n".join([f"{len(rows)} 128", *rows, ""]))
    blocks = [
        "\n".join([f"{names[a]} {names[b]}", *(f"{i} {j}" for i, j in rows), "", ""])
        for (a, b), rows in numbered.items()
    ]
    write_atomic(folder / "matches.txt", "".join(blocks))


class _Keypoints:
    """The key points of one photo in the order in which they are first needed."""

    def __init__(self) -> None:
        self.places: list[tuple[float, float]] = []
        self._known: dict[object, int] = {}

    def number(self, uv: np.ndarray, given: int | None) -> int:
        key: object = given
        if given is None:
            key = tuple(np.round(uv / SAME_PLACE_PX).astype(np.int64).tolist())
        if key not in self._known:
            self._known[key] = len(self.places)
            self.places.append((float(uv[0]), float(uv[1])))
        return self._known[key]

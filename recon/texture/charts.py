"""Charts: connected faces that one photo shows best, laid out as that photo shows them.

A photo's projection unwraps what the photo sees without stretch or overlap, its pixels become
texels one to one, and it costs nothing: general unwrapping (xatlas, UVAtlas) takes longer than the
whole mesh stage for a hundred thousand noisy triangles.

Source: Waechter, Moehrle, Goesele, Let There Be Color!, ECCV 2014 (view selection and charts).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_ROUNDS = 12
_AGREEMENT = 0.35  # what a neighbour with another photo costs, against the log of the pixels lost
_SMALLEST = 12  # faces; smaller charts join a neighbour whose photo shows them too
_GUTTER = 3  # texels between charts


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each face's corners lie in the texture, in texels, and which photo it came from.

    Faces that no photo shows have photo -1 and share one small cell each.
    """

    corners: Float[np.ndarray, "f 3 2"]
    photo: Int[np.ndarray, " f"]
    chart: Int[np.ndarray, " f"]
    width: int
    height: int


def neighbours(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Pairs of faces that share an edge; where more than two do, they are paired in a chain."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    face = np.repeat(np.arange(len(faces)), 3)
    order = np.lexsort((face, edges[:, 1], edges[:, 0]))
    edges, face = edges[order], face[order]
    same = (edges[1:] == edges[:-1]).all(axis=1)
    return np.stack([face[:-1][same], face[1:][same]], axis=1)


def choose_photos(
    scores: Float[np.ndarray, "s f"], pairs: Int[np.ndarray, "e 2"]
) -> Int[np.ndarray, " f"]:
    """Per face a photo that shows it large, and preferably the one its neighbours took; -1: none.

    Iterated conditional modes: each face in turn (odd and even ones, in rounds) takes the photo of
    least cost, the log of pixels lost against the best photo plus what disagreeing neighbours cost.
    """
    count, number = scores.shape
    best = scores.max(axis=0, initial=0.0)
    shown = best > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(scores > 0, -np.log(scores / np.where(shown, best, 1.0)), np.inf)
    label = np.where(shown, scores.argmax(axis=0) if count else 0, -1)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    for turn in range(2 * _ROUNDS):
        votes = np.zeros((count, number))
        other = label[both[:, 1]]
        known = other >= 0
        np.add.at(votes, (other[known], both[known, 0]), 1.0)
        change = shown & (np.arange(number) % 2 == turn % 2)
        label[change] = (cost[:, change] - _AGREEMENT * votes[:, change]).argmin(axis=0)
    return _without_specks(label, scores, pairs)


def _without_specks(
    label: Int[np.ndarray, " f"], scores: np.ndarray, pairs: np.ndarray
) -> Int[np.ndarray, " f"]:
    """Small charts take the photo of a larger neighbour where it shows each of their faces."""
    for _ in range(2):
        chart = components(label, pairs)
        size = np.bincount(chart)
        small = (size[chart] < _SMALLEST) & (label >= 0)
        border = pairs[label[pairs[:, 0]] != label[pairs[:, 1]]]
        border = np.concatenate([border, border[:, ::-1]])
        border = border[small[border[:, 0]] & (label[border[:, 1]] >= 0)]
        if len(border) == 0:
            return label
        keys = np.stack([chart[border[:, 0]], label[border[:, 1]]], axis=1)
        offers, votes = np.unique(keys, axis=0, return_counts=True)
        members = np.flatnonzero(small)
        members = members[np.argsort(chart[members], kind="stable")]
        start = np.searchsorted(chart[members], np.arange(len(size) + 1))
        taken = np.zeros(len(size), dtype=np.int64)
        new = label.copy()
        for (which, photo), vote in zip(offers, votes, strict=True):
            own = members[start[which] : start[which + 1]]
            if vote > taken[which] and (scores[photo, own] > 0).all():
                taken[which] = vote
                new[own] = photo
        label = new
    return label


def components(label: Int[np.ndarray, " f"], pairs: Int[np.ndarray, "e 2"]) -> np.ndarray:
    """Per face the number of its connected piece of equal label."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    same = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]]
    ones = np.ones(len(same), np.int8)
    graph = coo_array((ones, (same[:, 0], same[:, 1])), shape=(len(label), len(label)))
    return connected_components(graph, directed=False)[1]


def lay_out(
    photo: Int[np.ndarray, " f"],
    chart: Int[np.ndarray, " f"],
    corners_px: Float[np.ndarray, "f 3 2"],
    *,
    scale: float,
) -> Layout:
    """Pack the charts' boxes on shelves into a picture about as wide as high.

    Args:
        photo: Per face its photo, -1 for none.
        chart: Per face its chart.
        corners_px: The faces' corners in their photos, pixels (any number where there is none).
        scale: Texels per photo pixel.
    """
    corners = scale * corners_px
    seen = np.flatnonzero(photo >= 0)
    names, member = np.unique(chart[seen], return_inverse=True)
    low = np.full((len(names), 2), np.inf)
    high = np.full((len(names), 2), -np.inf)
    for k in range(3):
        np.minimum.at(low, member, corners[seen, k])
        np.maximum.at(high, member, corners[seen, k])
    low = np.floor(low)
    box = np.ceil(high - low).astype(np.int64) + 2 * _GUTTER
    hidden = np.flatnonzero(photo < 0)
    cells = np.full((len(hidden), 2), 3, dtype=np.int64)
    places, width, height = packed(np.concatenate([box, cells]))
    out = np.zeros_like(corners)
    shift = places[: len(names)] + _GUTTER - low
    out[seen] = corners[seen] + shift[member][:, None]
    # one texel of one colour: all corners in the middle of the cell
    out[hidden] = places[len(names) :][:, None] + 1.5
    return Layout(out, photo, chart, width, height)


def packed(boxes: Int[np.ndarray, "n 2"]) -> tuple[Int[np.ndarray, "n 2"], int, int]:
    """Corner of each box (width, height) on shelves, and the picture's width and height.

    The highest first; a shelf is as high as its first box.
    """
    area = float((boxes[:, 0] * boxes[:, 1]).sum())
    width = int(max(boxes[:, 0].max(initial=1), np.ceil(1.05 * np.sqrt(area))))
    places = np.zeros_like(boxes)
    x = y = shelf = 0
    for i in np.lexsort((-boxes[:, 0], -boxes[:, 1])):
        w, h = boxes[i]
        if x + w > width:
            x, y, shelf = 0, y + shelf, 0
        places[i] = x, y
        x, shelf = x + w, max(shelf, h)
    return places, width, int(y + shelf) or 1

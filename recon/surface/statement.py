"""What the photos cover of a mesh, written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recon.surface.coverage import Coverage, vertex_areas
from recon.surface.mesh import Mesh
from recon.texture.sight import Sight

_STEEP_DEG = 70.0  # flatter looks than this are named
_PLACE = "{0:.3g}, {1:.3g}, {2:.3g}"
_WORTH_NAMING = 0.005  # share of the surface or of a photo


@dataclass(frozen=True)
class Statement:
    """Shares of the surface's area, lines of text, and the figures behind them.

    A template is a line with its lengths (scene units) taken out, so that it can be said in metres.
    """

    templates: tuple[dict[str, Any], ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, in scene units."""
        return tuple(t["text"].format(*t["lengths"]) for t in self.templates)


def stated(
    mesh: Mesh, covered: Coverage, seen: Sequence[Sight], facts: Mapping[str, Any]
) -> Statement:
    """Which parts several photos see, which one alone, where holes are and why.

    Args:
        mesh: World coordinates.
        covered: From `coverage`.
        seen: The photos of `covered`.
        facts: The mesher's report: `holes` and `seen_alone`.
    """
    area = vertex_areas(mesh)
    total = max(float(area.sum()), 1e-300)

    def share(mask: np.ndarray) -> float:
        return float(area[mask].sum()) / total

    one, none = covered.views == 1, covered.views == 0
    figures: dict[str, Any] = {
        "by_none": share(none),
        "by_one": share(one),
        "by_two": share(covered.views == 2),
        "by_three_or_more": share(covered.views >= 3),
        "steep": share((covered.angle_deg > _STEEP_DEG) & ~none),
        "median_sigma": _median(covered.sigma),
    }
    lines = [
        f"{100 * figures['by_three_or_more']:.1f} % of the surface is seen by three photos or "
        f"more, {100 * figures['by_two']:.1f} % by two, {100 * figures['by_one']:.1f} % by one, "
        f"{100 * figures['by_none']:.1f} % by none (filled in between)"
    ]
    by_photo = {s.view.name: share(one & (covered.photo == i)) for i, s in enumerate(seen)}
    figures["by_one_photo"] = by_photo
    templates = [_line(text) for text in lines]
    templates += [
        _line(
            f"only {name} sees {100 * value:.1f} % of the surface, around ",
            _PLACE,
            _place(mesh, area, one & (covered.photo == i)),
        )
        for i, (name, value) in enumerate(by_photo.items())
        if value >= _WORTH_NAMING
    ]
    if figures["steep"] >= _WORTH_NAMING:
        steep = (
            f"{100 * figures['steep']:.1f} % is seen at over {_STEEP_DEG:.0f} degrees from "
            "straight on: its colours and shape are coarse"
        )
        templates.append(_line(steep))
    templates += [
        _line(
            f"{100 * a['share']:.1f} % of {name} shows what no other photo sees, "
            + ("" if a["side"] == "all over" else "mostly ")
            + f"{a['side']}: there is no surface there"
        )
        for name, a in facts.get("seen_alone", {}).items()
        if a["share"] >= _WORTH_NAMING
    ]
    return Statement((*templates, _holes(facts.get("holes", []))), figures)


def _line(text: str, form: str = "", lengths: Sequence[float] = ()) -> dict[str, Any]:
    """Plain text, then a form with the lengths in it."""
    plain = text.replace("{", "{{").replace("}", "}}")
    return {"text": plain + form, "lengths": [float(v) for v in lengths]}


def _holes(holes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not holes:
        return _line("no holes")
    reasons: dict[str, int] = {}
    for hole in holes:
        reasons[hole["why"]] = reasons.get(hole["why"], 0) + 1
    said = ", ".join(f"{n} {why}" for why, n in sorted(reasons.items(), key=lambda r: -r[1]))
    form = "{0:.3g} around, is at {1:.3g}, {2:.3g}, {3:.3g}"
    lengths = [holes[0]["perimeter"], *holes[0]["centre"]]
    return _line(f"{len(holes)} holes ({said}); the largest, ", form, lengths)


def _place(mesh: Mesh, area: np.ndarray, mask: np.ndarray) -> list[float]:
    return list((mesh.vertices[mask] * area[mask, None]).sum(axis=0) / area[mask].sum())


def _median(sigma: np.ndarray) -> float | None:
    known = sigma[np.isfinite(sigma)]
    return float(np.median(known)) if len(known) else None

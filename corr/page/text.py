"""Figures in words and JSON in a page: what every template needs."""

import json
from typing import Any

from markupsafe import Markup


def environment() -> Any:
    """A jinja environment that escapes, minds undefined names and knows the filters below."""
    import jinja2

    made = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {"figure": figure, "minutes": minutes, "memory": memory}
    return made


def json_markup(value: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))


def figure(value: float | int | None, digits: int = 2, unit: str = "") -> str:
    """A number with its unit; a dash when there is none."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return f"{text}\u202f{unit}" if unit else text


def minutes(seconds: float | int | None) -> str:
    """Seconds as people say them; a dash when there are none."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f}\u202fs"
    return f"{int(seconds // 60)}\u202fmin {int(seconds % 60):02d}\u202fs"


def memory(megabytes: float | int | None) -> str:
    """Megabytes or gigabytes; a dash when there are none."""
    if megabytes is None:
        return "–"
    large = megabytes >= 1024
    return f"{megabytes / 1024:.2f}\u202fGB" if large else f"{megabytes:.0f}\u202fMB"

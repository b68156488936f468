"""Which photos are input and which are held out: a small selector language."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from corr.errors import UserError


def choose(names: Sequence[str], use: str, hold_out: str) -> tuple[list[str], list[str]]:
    """Split photo names into input and held out.

    A selector is `all`, `every:N` (every Nth, the first one included), `@file.txt` (one name per
    line), a comma-separated list of names or patterns with `*`, or for `hold_out` also `rest`
    (everything not used). Held-out photos are never input.

    Raises:
        UserError: A name or pattern that fits no photo, or nothing left as input.
    """
    used = _select(names, use, "scene.use")
    if hold_out == "rest":
        held = [n for n in names if n not in set(used)]
    else:
        held = _select(names, hold_out, "scene.hold_out")
    inputs = [n for n in used if n not in set(held)]
    if len(inputs) < 2:
        raise UserError(
            f"{len(inputs)} of {len(names)} photos are left as input with scene.use={use} and "
            f"scene.hold_out={hold_out or '(none)'}; at least 2 are needed"
        )
    return inputs, held


def _select(names: Sequence[str], selector: str, option: str) -> list[str]:
    if selector == "all":
        return list(names)
    if selector == "":
        return []
    if selector.startswith("every:"):
        count = selector.removeprefix("every:")
        if not count.isdigit() or int(count) < 1:
            raise UserError(f"{option} must be every:N with N a positive number, got {selector}")
        return list(names[:: int(count)])
    if selector.startswith("@"):
        return _from_file(names, Path(selector[1:]), option)
    return _by_pattern(names, [part.strip() for part in selector.split(",")], option)


def _from_file(names: Sequence[str], path: Path, option: str) -> list[str]:
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}")
    lines = [line.strip() for line in path.read_text().splitlines()]
    return _by_pattern(names, [line for line in lines if line and line[0] != "#"], option)


def _by_pattern(names: Sequence[str], patterns: Sequence[str], option: str) -> list[str]:
    chosen = set()
    for pattern in patterns:
        hits = [n for n in names if pattern in (n, Path(n).stem) or fnmatch(n, pattern)]
        if not hits:
            raise UserError(f"{option}: no photo is called {pattern}; the first is {names[0]}")
        chosen.update(hits)
    return [n for n in names if n in chosen]

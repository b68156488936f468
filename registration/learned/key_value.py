"""`key=value` arguments for the training commands, typed by a dataclass of options."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TypeVar

Options = TypeVar("Options")


def parse_key_values(
    kind: type[Options], arguments: Sequence[str], required: Sequence[str] = ()
) -> Options:
    """The options with the given values; wrong usage prints one line and exits with status 2."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in fields:
            _refuse(f"unknown option {argument!r}; options are: {_listed(fields.values())}")
        default = fields[key].default
        try:
            values[key] = _converted(text, default)
        except ValueError:
            _refuse(f"{key} must be {type(default).__name__}, got {text!r}")
    missing = [key for key in required if not values.get(key)]
    if missing:
        _refuse(f"{missing[0]}=… is required; options are: {_listed(fields.values())}")
    return kind(**values)


def _converted(text: str, default: object) -> object:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return type(default)(text)  # type: ignore[call-arg]


def _listed(fields) -> str:
    return " ".join(f"{f.name}={f.default}" for f in fields)


def _refuse(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(2)

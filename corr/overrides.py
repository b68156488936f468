"""`key=value` arguments, checked before Hydra sees them: what is wrong with one is one line."""

import difflib
import itertools
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from corr.help import group_choices
from corr.launchers import unusable

_KINDS = {
    "FloatNode": "a number", "IntegerNode": "a whole number", "BooleanNode": "true or false",
    "StringNode": "text", "ListConfig": "a list such as [1,2]",
}  # fmt: skip
_MOST_COMBINATIONS = 64  # of swept choices that are looked at
_ALIKE = 0.65  # least similarity of a name that is suggested instead


class UsageError(Exception):
    """What was typed is no option or no value for it; one line."""


def check(conf: Path, config: str, arguments: list[str]) -> None:
    """Refuse unknown options and values of the wrong kind, of single runs and sweeps (`-m`).

    Args:
        conf: Folder of the YAML files.
        config: Name of the command's own.
        arguments: All that stands behind the command.

    Raises:
        UsageError: One line that says what to type instead.
    """
    from hydra import compose, initialize_config_dir
    from hydra._internal.utils import get_args_parser

    known, rest = get_args_parser().parse_known_args(arguments)
    typed = [*known.overrides, *(a for a in rest if not a.startswith("-"))]
    if flags := [a for a in rest if a.startswith("-")]:
        raise UsageError(f"there is no flag {flags[0]}; --help lists the options")
    parsed = list(_parsed(typed, known.multirun))
    for name in (v for key, found in parsed for v in found if key == "hydra/launcher"):
        if why := unusable(conf, str(name), sweep=known.multirun):
            raise UsageError(why)
    values = [(key, v) for key, v in parsed if not key.startswith("hydra")]
    if not values:
        return
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        standard = compose(config_name=config, return_hydra_config=True).hydra.runtime.choices
        groups = {name: found for name, found in group_choices(conf).items() if name in standard}
        chosen = {key: v for key, v in values if key in groups}
        for key, found in chosen.items():
            for value in found:
                if value not in groups[key]:
                    raise UsageError(
                        f"{key} must be one of {', '.join(groups[key])}, got {_shown(value)}"
                    )
        combinations = itertools.islice(itertools.product(*chosen.values()), _MOST_COMBINATIONS)
        configs = [
            compose(config, [f"{k}={v}" for k, v in zip(chosen, combination, strict=True)])
            for combination in combinations
        ]
    choices = {**{k: str(v) for k, v in standard.items()}, **{k: v[0] for k, v in chosen.items()}}
    for key, found in values:
        if key not in groups:
            _check_key(configs, key, {k: choices[k] for k in groups}, found)


def _parsed(typed: list[str], multirun: bool) -> Iterator[tuple[str, list[Any]]]:
    """Every key with its value, or with all values of a sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for text in typed:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text} must be key=value; --help lists the options")
        try:
            override = parser.parse_override(text)
            if not override.is_sweep_override():
                yield key, [override.value()]
                continue
            if not multirun:
                raise UsageError(
                    f"{text} holds several values; add -m to run each, or quote one with commas: "
                    f"""'{key}="{value}"'"""
                )
            if override.is_discrete_sweep():
                parts = override.sweep_string_iterator()
                yield key, [parser.parse_override(f"{key}={part}").value() for part in parts]
        except HydraException:
            raise UsageError(
                f"""{text} cannot be read; quote the value: '{key}="{value}"'"""
            ) from None


def _check_key(configs: list[Any], key: str, choices: dict[str, str], values: list[Any]) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    nodes = [(config, node) for config in configs if (node := _node(config, key)) is not None]
    if not nodes:
        names = sorted({name for config in configs for name in _names(config)} | set(choices))
        group = key.partition(".")[0]
        where = f" with {group}={choices[group]}" if group in choices and "." in key else ""
        raise UsageError(f"there is no option {key}{where}; {_advice(key, names)}")
    config, node = nodes[0]
    inside = [f"{key}.{name}" for name in _names(node)] if _is_group(node) else []
    for value in values:
        try:
            OmegaConf.update(deepcopy(config), key, value)
        except OmegaConfBaseException:
            if inside:
                raise UsageError(f"{key} is set by its own options, such as {inside[0]}") from None
            kind = _KINDS.get(type(node).__name__, "of another kind")
            raise UsageError(f"{key} must be {kind}, got {_shown(value)}") from None


def _node(config: Any, key: str) -> Any:
    """The node of a dotted key; None where there is none."""
    from omegaconf import Container

    for part in key.split("."):
        if not isinstance(config, Container):
            return None
        if _is_group(config):
            config = config._get_node(part) if part in config._content else None
        else:
            config = config._get_node(int(part)) if part.isdecimal() else None
    return config


def _is_group(node: Any) -> bool:
    from omegaconf import DictConfig

    return isinstance(node, DictConfig) and isinstance(node._content, dict)


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every option, dotted."""
    for name, node in config._content.items():
        if _is_group(node):
            yield from _names(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _advice(key: str, names: list[str]) -> str:
    group, dot, last = key.rpartition(".")
    # A group in common makes any two long names alike.
    beside = [n for n in names if n.rpartition(".")[:2] == (group, dot)]
    compared = {n.rpartition(".")[2]: n for n in beside} if beside else {n: n for n in names}
    close = difflib.get_close_matches(last if beside else key, compared, 1, _ALIKE)
    near = [compared[c] for c in close] or [n for n in names if n.rpartition(".")[2] == last]
    return f"did you mean {near[0]}?" if near else "--help lists them"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value) if value != "" else "nothing"

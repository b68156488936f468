"""`--help`: every option as it is typed, its default and its one-line explanation."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FIELD = re.compile(r"^\s+(\w+):[^#]*#\s*(.+)$")


def option_lines(options: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`key=value` and the comment behind the field, for a dataclass object and those inside it."""
    comments = _comments(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield "", ""
            yield from option_lines(value, f"{prefix}{field.name}.")
        else:
            shown = "" if value is None else value
            yield f"{prefix}{field.name}={shown}", comments.get(field.name, "")


def _comments(kind: type) -> dict[str, str]:
    """The comment behind each field of a dataclass, its base classes included."""
    found: dict[str, str] = {}
    for base in reversed([k for k in kind.__mro__ if dataclasses.is_dataclass(k)]):
        for line in inspect.getsource(base).splitlines():
            if match := _FIELD.match(line):
                found.setdefault(match[1], match[2])
    return found


def group_choices(conf: Path) -> dict[str, list[str]]:
    """The choice groups and what there is to choose, from the YAML folders and the store."""
    from hydra.core.config_store import ConfigStore

    groups: dict[str, set[str]] = {}
    for path in conf.glob("*/*.yaml"):
        groups.setdefault(path.parent.name, set()).add(path.stem)
    for name, node in ConfigStore.instance().repo.items():
        if isinstance(node, dict) and name != "hydra":
            groups.setdefault(name, set()).update(Path(f).stem for f in node)
    return {name: sorted(choices) for name, choices in sorted(groups.items())}


def help_text(conf: Path, config: str, overrides: list[str]) -> str:
    """The page that `--help` prints: examples, choices, then every option."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        hydra = compose(config_name=config, return_hydra_config=True).hydra
        options = _typed(compose(config_name=config, overrides=overrides))
    rows = list(option_lines(options))
    width = min(36, max(len(key) for key, _ in rows))
    lines = [f"  {key:<{width}}  {text}".rstrip() for key, text in rows]
    intro, chosen = hydra.help.header.strip(), hydra.runtime.choices
    groups = [
        f"  {name}={' | '.join(choices)}"
        for name, choices in group_choices(conf).items()
        if name in chosen
    ]
    parts = [intro, "", "Choices:", *groups, ""] if groups else [intro, ""]
    return "\n".join([*parts, "Options with their defaults:", *lines])


def _typed(node: Any) -> Any:
    """The options object, also when a required option is still missing."""
    from omegaconf import OmegaConf

    for key in OmegaConf.missing_keys(node):
        OmegaConf.update(node, key, "(required)")
    return OmegaConf.to_object(node)

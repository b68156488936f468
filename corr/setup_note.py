"""A note beside stored predictions of what they were made with, so that a run never mixes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.store import write_atomic

SETUP_FILE = "setup.json"
HASHED = {
    "scans": "the scans have changed since",
    "files": "the benchmark's files have changed since",
}  # told instead of the hashes, which tell nobody anything
BY_PART = ("files",)  # tables of which a run may cover a part


def keep_setup(folder: Path, setup: Mapping[str, Any]) -> None:
    """Note what the predictions in a folder are made with.

    Of a table in `BY_PART` only the entries that both runs have must agree; the note keeps all.

    Args:
        folder: Of `predictions*.jsonl`; it is made.
        setup: Values that JSON holds.

    Raises:
        UserError: The folder holds predictions made with something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETUP_FILE
    now = json.loads(json.dumps(setup))
    if path.is_file() and any(folder.glob("predictions*.jsonl")):
        before = json.loads(path.read_text())
        if changed := [k for k in {*before, *now} if _differ(k, before.get(k), now.get(k))]:
            key = min(changed, key=lambda k: (k in HASHED, k))
            made = f"made with {key}={before.get(key)}, not {now.get(key)}"
            if key in HASHED:
                made = f"of before: {HASHED[key]}"
            raise UserError(
                f"{folder} holds predictions {made}; choose another out= or delete the folder"
            )
        now |= {k: {**before[k], **now[k]} for k in BY_PART if k in now}
    write_atomic(path, json.dumps(now, indent=1))


def _differ(key: str, before: Any, now: Any) -> bool:
    if key in BY_PART and isinstance(before, dict) and isinstance(now, dict):
        return any(before[k] != now[k] for k in before.keys() & now.keys())
    return before != now

"""Keep a finished stage and reuse it as long as nothing that it depends on has changed."""

import dataclasses
import hashlib
import json
import logging
import math
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

log = logging.getLogger(__name__)
STAGE_FILE = "stage.json"


def digest(*parts: object) -> str:
    """A short hash of options (dataclasses with their class name), numbers, strings and keys."""
    text = json.dumps([_plain(p) for p in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: object) -> object:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {f.name: _plain(getattr(part, f.name)) for f in dataclasses.fields(part)}
        return {"class": type(part).__qualname__, **fields}
    if isinstance(part, dict):
        return {str(k): _plain(v) for k, v in part.items()}
    if isinstance(part, (list, tuple)):
        return [_plain(p) for p in part]
    if isinstance(part, Path):
        return str(part)
    if part is None or isinstance(part, (str, int, float, bool)):
        return part
    raise TypeError(f"cannot hash a {type(part).__name__} into a stage key")


def file_digest(path: Path) -> str:
    """Hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A finished stage: where it lies, what it depends on and what it cost."""

    folder: Path
    key: str
    seconds: float
    peak_mb: float
    reused: bool


def reuse_or_run(folder: Path, key: str, run: Callable[[Path], None]) -> Stage:
    """Return the finished stage in `folder` if its key is `key`, else run it.

    The stage writes to `<folder>.partial`, which is renamed when it has finished, so what looks
    finished is finished. An interrupted stage finds its own partial folder again (same key only)
    and may continue from what it wrote there; files in it must therefore be written atomically.
    """
    done = _read(folder)
    if done is not None and done["key"] == key:
        log.info("%s: up to date, reused", folder.name)
        return Stage(folder, key, done["seconds"], done["peak_mb"], reused=True)
    partial = folder.with_name(folder.name + ".partial")
    left = _read(partial)
    if partial.exists() and (left is None or left["key"] != key):
        shutil.rmtree(partial)
        left = None
    if left is not None and left["finished"]:  # killed between its last file and the rename
        return _publish(partial, folder, left)
    partial.mkdir(parents=True, exist_ok=True)
    _write(partial, key, finished=False)
    log.info("%s: %s", folder.name, "continuing an interrupted run" if left else "running")
    start = time.perf_counter()
    run(partial)
    seconds = time.perf_counter() - start
    _write(partial, key, finished=True, seconds=seconds, peak_mb=peak_memory_mb())
    log.info("%s: done in %.1f s", folder.name, seconds)
    return _publish(partial, folder, json.loads((partial / STAGE_FILE).read_text()))


def _publish(partial: Path, folder: Path, record: dict) -> Stage:
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return Stage(folder, record["key"], record["seconds"], record["peak_mb"], reused=False)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that it is either absent or complete."""
    temporary = path.with_name(path.name + ".tmp")
    if isinstance(data, str):
        data = data.encode()
    temporary.write_bytes(data)
    temporary.replace(path)


def write_unique(path: Path, data: bytes) -> None:
    """`write_atomic` where several processes may write the same file; the last one stays."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def strict_json(value: object) -> str:
    """Indented JSON in which unknown and infinite numbers are null."""
    return json.dumps(_nulls(value), indent=1, allow_nan=False)


def _nulls(value: object) -> object:
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nulls(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(folder: Path) -> dict | None:
    try:
        return json.loads((folder / STAGE_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def _write(
    folder: Path, key: str, *, finished: bool, seconds: float = 0.0, peak_mb: float = 0.0
) -> None:
    record = {
        "key": key,
        "finished": finished,
        "seconds": round(seconds, 3),
        "peak_mb": round(peak_mb, 1),
    }
    write_atomic(folder / STAGE_FILE, json.dumps(record))

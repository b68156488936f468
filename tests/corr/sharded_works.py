"""Work for the tests of shards, in a module of its own: processes import it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.matchers.sift import Sift
from corr.matches import Matches
from corr.sharding import ShardFolder


@dataclass
class Squares:
    """Squares numbers, notes every computation, and can be made to fail.

    Args:
        notes: Folder; a file per computation, `<item>.<unique>`.
        dies: Items whose process ends at once, always.
        dies_once: Items whose process ends at the first time.
        raises: Items that raise.
        refuses: Items that raise what is meant for the user.
        seconds: That an item takes.
    """

    notes: Path
    dies: tuple[int, ...] = ()
    dies_once: tuple[int, ...] = ()
    raises: tuple[int, ...] = ()
    refuses: tuple[int, ...] = ()
    seconds: float = 0.0
    seen: list[int] = field(default_factory=list)

    def __call__(self, items: Sequence[int]) -> Iterator[bytes]:
        for item in items:
            earlier = tried(self.notes, item)
            (self.notes / f"{item}.{time.monotonic_ns()}").touch()
            if item in self.dies or (item in self.dies_once and not earlier):
                os.kill(os.getpid(), signal.SIGKILL)
            if item in self.raises:
                raise ZeroDivisionError(f"item {item} cannot be squared")
            if item in self.refuses:
                raise UserError(f"item {item} is no number")
            time.sleep(self.seconds)
            self.seen.append(item)
            yield str(item * item).encode()


def tried(notes: Path, item: int) -> int:
    """How often an item was begun."""
    return len(list(notes.glob(f"{item}.*")))


@dataclass
class SlowSift(Sift):
    """Takes its time, so that a process can be killed while it matches."""

    def _match(self, a: Any, b: Any) -> Matches:
        time.sleep(0.15)
        return super()._match(a, b)


def wait_for_shards(driver: subprocess.Popen, store: ShardFolder, count: int) -> None:
    """Come back as soon as a driver has kept so many shards."""
    deadline = time.monotonic() + 60
    while len(list(Path(store.root).glob("*.shard"))) < count:
        assert driver.poll() is None, driver.communicate()[1].decode()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)

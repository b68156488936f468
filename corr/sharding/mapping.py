"""The one function that everything parallel goes through."""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from corr.errors import UserError
from corr.sharding.executor import Executor, Shard, Task, Trouble
from corr.sharding.local import Local
from corr.sharding.stores import ShardFolder, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parallel:
    """How a command computes its shards, as its options say."""

    executor: Executor = field(default_factory=Local)
    workers: int = 1  # processes on this machine
    scratch: str = ""  # folder or fsspec URL of finished shards; empty = beside the result

    @property
    def here(self) -> bool:
        """Whether everything is computed in the calling process."""
        return isinstance(self.executor, Local) and self.workers == 1 and not self.executor.threads

    def store(self, file: Path, key: Callable[[Sequence[Any]], str]) -> ShardFolder:
        """Where the shards of a result file are kept until all are there."""
        return ShardFolder(self.scratch or file.with_suffix(".shards"), key)

    def clear(self, file: Path, store: ShardFolder, shards: Sequence[Shard]) -> None:
        """Remove finished shards, now that the result file holds them."""
        if self.scratch:
            store.forget(shards)  # others' may lie there too
        else:
            shutil.rmtree(file.with_suffix(".shards"))


@dataclass(frozen=True)
class Failure:
    """A shard that is left out."""

    items: Shard
    trouble: Trouble


def split(items: Sequence[Any], size: int) -> list[Shard]:
    """Stretches of `size` items; the last one may be shorter."""
    return [tuple(items[k : k + size]) for k in range(0, len(items), size)]


def map_sharded(
    task: Task,
    shards: Sequence[Shard],
    store: Store,
    executor: Executor,
    *,
    workers: int = 1,
    label: str,
    unit: str = "pair",
) -> list[Failure]:
    """Compute every shard that the store does not hold, and keep each as it comes.

    A shard that fails, or loses its process or node, is tried again. Of one that goes on failing
    the items are tried one by one; those that fail are logged with their traceback and left out,
    and all others are completed. Killed, the next call computes what is still missing. The order
    of completion and the number of processes do not change what the store holds in the end.

    Args:
        task: What is done with a shard.
        shards: Of items, see `split`.
        store: Where payloads are kept.
        executor: Where shards are computed.
        workers: Processes on this machine.
        label: Of the progress bar.
        unit: What one item is called there.

    Returns:
        What was left out.

    Raises:
        UserError: The executor or the store cannot be used.
    """
    missing = [shard for shard in shards if not store.holds(shard)]
    if not missing:
        return []
    total, absent = sum(map(len, shards)), sum(map(len, missing))
    with tqdm(desc=label, unit=unit, total=total, initial=total - absent) as bar:

        def computed(asked: Sequence[Shard]) -> list[Failure]:
            failures: list[Failure] = []
            # Closed at once, also by Ctrl-C: no process goes on for what nobody waits for.
            with closing(executor.run(task, asked, workers)) as answers:
                for answer in answers:
                    items = asked[answer.shard]
                    if answer.payloads is not None:
                        store.keep(items, answer.payloads)
                        bar.update(len(items))
                    elif answer.trouble is not None:
                        failures.append(Failure(items, answer.trouble))
                        bar.set_postfix(failed=sum(len(f.items) for f in failures))
            return failures

        failures = computed(missing)
        broken = [f for f in failures if len(f.items) > 1]
        if broken and len(failures) < len(missing):  # where nothing works, nothing will
            singles = [(item,) for failure in broken for item in failure.items]
            singles = [single for single in singles if not store.holds(single)]
            failures = [f for f in failures if len(f.items) == 1] + computed(singles)
    _log(failures, unit)
    return failures


def _log(failures: Sequence[Failure], unit: str) -> None:
    """Tell what is left out and why, each reason once."""
    reasons: dict[Trouble, int] = {}
    for failure in failures:
        reasons[failure.trouble] = reasons.get(failure.trouble, 0) + len(failure.items)
    for trouble, count in reasons.items():
        log.error("%d %s left out: %s", count, unit if count == 1 else f"{unit}s", trouble.message)
        if trouble.traceback:
            log.error("%s", trouble.traceback.rstrip())


def refuse_failures(
    failures: Sequence[Failure], total: int, *, name: Callable[[Any], str] = str, unit: str = "pair"
) -> None:
    """Say in one line what was left out.

    Args:
        failures: Of `map_sharded`.
        total: Items that were asked for.
        name: Of an item.
        unit: What one item is called.

    Raises:
        UserError: There are any.
    """
    if not failures:
        return
    count = sum(len(f.items) for f in failures)
    messages = {f.trouble.message for f in failures}
    if count == total and len(messages) == 1 and failures[0].trouble.final:
        raise UserError(messages.pop())
    raise UserError(
        f"{count} of {total} {unit}s failed and were left out, the others are kept (first: "
        f"{name(failures[0].items[0])}: {failures[0].trouble.message}); the same command tries "
        "them again"
    )

"""This machine: the calling process alone, or a pool of processes."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from corr.errors import UserError
from corr.sharding.executor import (
    Answer,
    Answers,
    Executor,
    Shard,
    Task,
    Tries,
    Trouble,
)
from corr.sharding.worker import compute, counted, start, thread_settings, trouble_of
from corr.spawning import spawning

_AHEAD = 2  # shards per process that are handed out, so that none waits for the next


@dataclass
class Local(Executor):
    """Processes of this machine; one worker is the calling process, unless `threads` is given."""

    def check(self, workers: int) -> None:
        """Refuse a number of processes that is none.

        Raises:
            UserError: It is.
        """
        if workers < 1:
            raise UserError(f"workers must be 1 or more, got {workers}")

    def run(self, task: Task, shards: Sequence[Shard], workers: int) -> Answers:
        """Compute every shard; with one worker in order, item after item."""
        tries = Tries(self.retries)
        if workers == 1 and not (self.threads or task.threads):
            return _here(task, shards, tries)
        pool = _Pools(task, shards, min(workers, len(shards)), self.threads_of(task), tries)
        return pool.run()


def _here(task: Task, shards: Sequence[Shard], tries: Tries) -> Answers:
    """One stream through all shards, so that work may look ahead; begun anew after a failure."""
    waiting = deque(range(len(shards)))
    while waiting:
        stream = iter(task.work([item for k in waiting for item in shards[k]]))
        try:
            while waiting:
                shard = shards[waiting[0]]
                payloads = counted(list(islice(stream, len(shard))), shard)
                yield Answer(waiting.popleft(), payloads)
        except Exception as error:
            trouble = trouble_of(error)
            if tries.give_up(waiting[0], trouble):
                yield Answer(waiting.popleft(), None, trouble)


@dataclass
class _Pools:
    """One pool of processes after another: a process that dies takes its whole pool along.

    Nobody can tell which shard killed it, so those that were under way are then tried one by one:
    the culprit is found, and the others do not pay for it.
    """

    task: Task
    shards: Sequence[Shard]
    workers: int
    threads: int
    tries: Tries
    waiting: deque[int] = field(default_factory=deque)
    suspects: deque[int] = field(default_factory=deque)
    running: dict[Future, int] = field(default_factory=dict)

    def run(self) -> Answers:
        self.waiting.extend(range(len(self.shards)))
        while self.waiting or self.suspects:
            workers = 1 if self.suspects else self.workers
            with _pool(self.task, workers, self.threads) as pool:
                yield from self._until_lost(pool, alone=bool(self.suspects))

    def _until_lost(self, pool: ProcessPoolExecutor, *, alone: bool) -> Answers:
        """Answers of one pool, until it breaks or has nothing left to do."""
        queue = self.suspects if alone else self.waiting
        at_once = 1 if alone else _AHEAD * self.workers
        while queue or self.running:
            try:
                while queue and len(self.running) < at_once:
                    future = pool.submit(compute, self.shards[queue[0]])
                    self.running[future] = queue.popleft()
            except BrokenProcessPool:  # since the last answer; what is running tells it too
                if not self.running:
                    return
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            lost = [f for f in done if isinstance(f.exception(), BrokenProcessPool)]
            for future in [f for f in done if f not in lost]:
                yield from self._answers(self.running.pop(future), future.result())
            if lost:
                yield from self._lost(alone)
                return

    def _answers(self, shard: int, result: list[bytes] | Trouble) -> Answers:
        if not isinstance(result, Trouble):
            yield Answer(shard, result)
        elif self.tries.give_up(shard, result):
            yield Answer(shard, None, result)
        else:
            self.waiting.append(shard)

    def _lost(self, alone: bool) -> Answers:
        lost, self.running = sorted(self.running.values()), {}
        if not alone:
            self.suspects.extend(lost)
            return
        trouble = Trouble("its process died (killed, out of memory, or a crash in native code)")
        for shard in lost:
            if self.tries.give_up(shard, trouble):
                yield Answer(shard, None, trouble)
            else:
                self.suspects.appendleft(shard)


@contextmanager
def _pool(task: Task, workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes with so many threads each; gone, and their shards with them, at the end."""
    with _environment(thread_settings(threads)), spawning() as context:  # no locks of ours in them
        pool = ProcessPoolExecutor(workers, context, initializer=start, initargs=(task.work,))
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

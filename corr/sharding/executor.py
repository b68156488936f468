"""What an executor is: it computes shards in any order and says of each what became of it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Answers = Generator["Answer", None, None]
Work = Callable[[Sequence[Any]], Iterable[bytes]]  # one payload per item, in their order
Shard = tuple[Any, ...]  # of items


@dataclass(frozen=True)
class Task:
    """What is to be computed, and how a process has to be set up for it.

    Args:
        work: Goes to every process once and may keep what its items share from shard to shard; a
            payload depends on its item alone. With several processes it must be picklable.
        threads: That a process computes with, never the calling one; 0 = as many as that.
    """

    work: Work
    threads: int = 0


@dataclass(frozen=True)
class Trouble:
    """Why a shard was not computed this time."""

    message: str  # one line
    traceback: str = ""  # empty: a process was lost, or the message is meant for the user
    final: bool = False  # a repetition cannot help


@dataclass(frozen=True)
class Answer:
    """A computed shard, or one that is given up."""

    shard: int  # its index
    payloads: list[bytes] | None
    trouble: Trouble | None = None


@dataclass
class Tries:
    """Counts the failures of every shard."""

    retries: int
    count: Counter[int] = field(default_factory=Counter)

    def give_up(self, shard: int, trouble: Trouble) -> bool:
        """Note a failure; whether it was the last one allowed."""
        self.count[shard] += 1
        return trouble.final or self.count[shard] > self.retries


@dataclass
class Executor(ABC):
    """Where shards are computed; results are those of one process, whatever is chosen here."""

    retries: int = 2  # times that a shard which failed, or lost its process, is tried again
    shard_size: int = 0  # items that are kept or lost together; 0 = what suits the job
    threads: int = 0  # of each process; 0 = what suits the job. Last bits may depend on it

    def __post_init__(self):
        for name in ("retries", "shard_size", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"executor.{name} must be 0 or more, got {getattr(self, name)}")

    @abstractmethod
    def check(self, workers: int) -> None:
        """Look for what is needed before anything slow is done.

        Args:
            workers: Processes on this machine.

        Raises:
            UserError: A package is missing, or `workers` has no meaning here.
        """

    @abstractmethod
    def run(self, task: Task, shards: Sequence[Shard], workers: int) -> Answers:
        """Compute every shard; answers come in any order, one per shard.

        Args:
            task: What is done with a shard.
            shards: Of items.
            workers: Processes on this machine.
        """

    def threads_of(self, task: Task) -> int:
        """Threads that each process computes with."""
        return self.threads or task.threads or own_threads()


def own_threads() -> int:
    """Threads that networks compute with in this process."""
    import torch

    return torch.get_num_threads()

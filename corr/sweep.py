"""Sweeps (`-m`): a job that fails does not end the others, and is told at the end.

Hydra ends a sweep, or waits for ever, when a job exits; so a job of a sweep hands its failure back
as its result, from whichever process or machine it ran on.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

GOES_ON = (1, 2)  # exit codes of a job that fails by itself; others end the sweep


class Refusal(SystemExit):
    """The end of a command, with the line that was said about it."""

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.message = message


@dataclass(frozen=True)
class Failure:
    """What a job of a sweep hands back when it fails."""

    job: int
    overrides: Sequence[str]
    message: str


def sweeping() -> bool:
    """True in a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return False
    mode = HydraConfig.get().mode
    return mode is not None and mode.name == "MULTIRUN"


def attempt(work: Callable[[], None]) -> Failure | None:
    """Do a job of a sweep; its failure, if it fails by itself."""
    try:
        work()
    except Refusal as end:
        if end.code not in GOES_ON:
            raise
        return _failure(end.message)
    except Exception as error:
        traceback.print_exc()
        return _failure(f"{type(error).__name__}: {error}")
    return None


def _failure(message: str) -> Failure:
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    return Failure(int(hydra.job.num), list(hydra.overrides.task), message)


@contextmanager
def failures_told(job: str) -> Iterator[None]:
    """Around a sweep: afterwards the jobs that failed are listed, and the command exits with 1.

    Hydra keeps what jobs return to itself, so its `multirun` is listened to.
    """
    from hydra._internal.hydra import Hydra

    plain, results = Hydra.multirun, list[Any]()

    def multirun(*args: Any, **options: Any) -> Any:
        returned = plain(*args, **options)
        results.extend(r.return_value for batch in returned or [] for r in batch)
        return returned

    Hydra.multirun = multirun  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.multirun = plain  # type: ignore[method-assign]
    failed = [r for r in results if isinstance(r, Failure)]
    if not failed:
        return
    sys.stdout.flush()
    print(f"{job}: {len(failed)} of {len(results)} jobs failed:", file=sys.stderr)
    for failure in failed:
        given = " ".join(failure.overrides)
        print(f"  #{failure.job} {given}: {' '.join(failure.message.split())}", file=sys.stderr)
    raise SystemExit(1)

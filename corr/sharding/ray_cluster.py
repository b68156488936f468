"""A Ray cluster: this machine, or as many as it has; lost workers and nodes cost their shards."""

import logging
import os
import socket
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from corr.errors import UserError
from corr.sharding.executor import Answer, Answers, Executor, Shard, Task, Tries, Trouble, Work
from corr.sharding.worker import guarded, thread_settings, trouble_of

log = logging.getLogger(__name__)
_AHEAD = 2  # shards per place in the cluster that are handed out, so that none waits for the next

_ANSWER_S = 10.0  # seconds in which a cluster's address must answer

_works: dict[str, Work] = {}  # in a worker: the one at hand, by its token


@dataclass
class Ray(Executor):
    """A Ray cluster; a task takes as many CPUs as `threads`, and `gpus`."""

    address: str = ""  # of a running cluster; empty = $RAY_ADDRESS, else one of this machine
    gpus: float = 0.0  # of each process, also a part of one
    at_once: int = 0  # most shards handed out at a time; 0 = as many as keep the cluster busy

    def __post_init__(self):
        super().__post_init__()
        if not self.gpus >= 0:
            raise ValueError(f"executor.gpus must be 0 or more, got {self.gpus}")
        if self.at_once < 0:
            raise ValueError(f"executor.at_once must be 0 or more, got {self.at_once}")

    def check(self, workers: int) -> None:
        """Look for the package.

        Raises:
            UserError: It is missing, or `workers` is given.
        """
        if find_spec("ray") is None:
            raise UserError("executor=ray needs Ray: pip install 'few-view-recon[ray]'")
        if workers != 1:
            raise UserError(
                f"workers={workers} has no effect with executor=ray; executor.at_once limits it"
            )

    def run(self, task: Task, shards: Sequence[Shard], workers: int) -> Answers:
        """Compute every shard somewhere in the cluster.

        Raises:
            UserError: Ray is missing, no cluster answers, or no node of it is large enough.
        """
        self.check(workers)
        ray, threads = _connected(self.address), self.threads_of(task)
        at_once = self.at_once or _AHEAD * _places(ray, threads, self.gpus)
        remote = ray.remote(_compute).options(
            num_cpus=threads, num_gpus=self.gpus, max_retries=0,  # we count them ourselves
            runtime_env={"env_vars": thread_settings(threads)},
        )  # fmt: skip
        work, token = ray.put(task.work), uuid.uuid4().hex
        tries, waiting = Tries(self.retries), deque(range(len(shards)))
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    k = waiting.popleft()
                    running[remote.remote([work], token, shards[k])] = k
                ready, _ = ray.wait(list(running))
                for reference in ready:
                    k, result = running.pop(reference), _result(ray, reference)
                    if not isinstance(result, Trouble):
                        yield Answer(k, result)
                    elif tries.give_up(k, result):
                        yield Answer(k, None, result)
                    else:
                        log.warning("a shard is repeated: %s", result.message)
                        waiting.append(k)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _connected(address: str) -> Any:
    """Ray, connected to a cluster; stays so until the process ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray

    if ray.is_initialized():
        return ray
    where = address or os.environ.get("RAY_ADDRESS", "")
    # Never one that happens to run on this machine: it may be somebody's, and end with them.
    start: dict[str, Any] = {} if where else {"address": "local", "include_dashboard": False}
    try:
        _call(where)
        ray.init(
            **{"address": where, "log_to_driver": False, "logging_level": logging.ERROR, **start}
        )
    except (OSError, RuntimeError, ValueError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"no Ray cluster at {where or 'this machine'} ({told}); correct executor.address"
        ) from None
    return ray


def _call(address: str) -> None:
    """See whether anybody listens at host:port; Ray itself would try for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()


def _places(ray: Any, cpus: int, gpus: float) -> int:
    """How many tasks the cluster holds at a time.

    Raises:
        UserError: No node holds even one.
    """
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    places = sum(
        int(min(n.get("CPU", 0) // cpus, n.get("GPU", 0) // gpus if gpus else float("inf")))
        for n in nodes
    )
    if not places:
        largest = ", ".join(f"{n.get('CPU', 0):g} CPUs {n.get('GPU', 0):g} GPUs" for n in nodes)
        raise UserError(
            f"a process needs {cpus} CPUs and {gpus:g} GPUs, the cluster's nodes have {largest}; "
            "lower executor.threads or executor.gpus"
        )
    return places


def _result(ray: Any, reference: Any) -> list[bytes] | Trouble:
    """What a task gave; a loss of its worker, its node or its result is a trouble like others."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the work could not even be loaded there
        return replace(trouble_of(error.cause), traceback=str(error))
    except ray.exceptions.RayError as error:
        told = str(error).strip().splitlines() or [""]
        return Trouble(f"its worker or node was lost ({type(error).__name__}: {told[0][:160]})")


def _compute(work: list[Any], token: str, items: Shard) -> list[bytes] | Trouble:
    """In a worker of the cluster; the work is fetched once and keeps its state between shards."""
    import ray

    if token not in _works:
        _works.clear()
        _works[token] = ray.get(work[0])
    return guarded(_works[token], items)

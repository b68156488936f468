"""Where shards can be computed, by the names that are typed."""

from corr.sharding.executor import Executor
from corr.sharding.local import Local
from corr.sharding.ray_cluster import Ray

EXECUTORS: dict[str, type[Executor]] = {"local": Local, "ray": Ray}


def register_executors() -> None:
    """Put the group `executor` where Hydra finds it."""
    from hydra.core.config_store import ConfigStore

    for name, kind in EXECUTORS.items():
        ConfigStore.instance().store(group="executor", name=name, node=kind)


def check_workers(workers: int) -> None:
    """Refuse a number of processes that is none."""
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")

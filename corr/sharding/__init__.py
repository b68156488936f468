"""Independent items in shards, over processes or a Ray cluster: nothing is lost or done twice."""

from corr.sharding.choices import EXECUTORS, check_workers, register_executors
from corr.sharding.executor import Executor, Task, Trouble
from corr.sharding.local import Local
from corr.sharding.mapping import Failure, Parallel, map_sharded, refuse_failures, split
from corr.sharding.ray_cluster import Ray
from corr.sharding.stores import ItemFiles, ShardFolder, Store

__all__ = [
    "EXECUTORS", "Executor", "Failure", "ItemFiles", "Local", "Parallel", "Ray", "ShardFolder",
    "Store", "Task", "Trouble", "check_workers", "map_sharded", "refuse_failures",
    "register_executors", "split",
]  # fmt: skip

"""A Ray cluster of several nodes loses workers, a node and its driver: results stay the same."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import pytest

from corr.errors import UserError
from corr.matchers.sift import Sift
from corr.matching import load_matches, match_photos
from corr.pairs import all_pairs
from corr.sharding import ItemFiles, Parallel, Ray, ShardFolder, Task, map_sharded, split
from corr.sharding.executor import own_threads
from corr.store import digest
from registration.baselines import Open3DRansac
from registration.datasets.threedmatch import SCENES
from registration.evaluate import evaluate
from registration.evaluation.predictions import read_all
from registration.options_eval import EvalOptions
from tests.conftest import ROOT
from tests.corr.sharded_works import SlowSift, Squares, tried, wait_for_shards
from tests.registration.fragment_world import VOXEL, write_scene

ray = pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
ONE = Ray(shard_size=1)
CPUS = own_threads()  # of every node: matching computes with as many threads as here


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, each with processes of its own."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS})
        made.add_node(num_cpus=CPUS)
        ray.init(address=made.address, log_to_driver=False)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def raylet(node) -> psutil.Process:
    """The process of a node that starts its workers."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def busy_workers(cluster) -> list[psutil.Process]:
    """Processes of the cluster that compute a shard, those of the last node at the end."""
    nodes = [cluster.head_node, *cluster.worker_nodes]
    found = [p for node in nodes for p in raylet(node).children(recursive=True)]
    return [p for p in found if "_compute" in " ".join(p.cmdline())]


@dataclass
class Losses:
    """Kills a worker when the second shard was kept, a node after the fourth; counts shards."""

    cluster: Any
    armed: bool = False
    kept: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def after(self, items: Sequence[Any]) -> None:
        if not self.armed or isinstance(items[0], int):  # photos of the features before
            return
        self.kept[repr(items)] += 1
        if self.kept.total() == 2:
            workers = busy_workers(self.cluster)
            assert workers, "nothing is being computed"
            workers[0].kill()
            self.lost.append("worker")
        if self.kept.total() == 4:
            self.cluster.remove_node(list(self.cluster.worker_nodes)[-1], allow_graceful=False)
            self.lost.append("node")


@pytest.fixture
def losses(cluster, monkeypatch):
    made = Losses(cluster)
    for kind in (ShardFolder, ItemFiles):

        def keep(self, items, payloads, then=kind.keep):
            then(self, items, payloads)
            made.after(items)

        monkeypatch.setattr(kind, "keep", keep)
    if not cluster.worker_nodes:
        cluster.add_node(num_cpus=CPUS)
    yield made
    assert made.lost == ["worker", "node"]
    assert set(made.kept.values()) == {1}, "a shard was kept twice"


def test_matching_survives_losses(losses, texture, as_image, tmp_path):
    rgb = texture(331, 203)
    images = [as_image(rgb[:, x : x + 250].copy(), f"p{x}") for x in range(0, 60, 9)]
    pairs = all_pairs(len(images))
    match_photos(images, Sift(), tmp_path / "here", pairs)
    losses.armed = True
    match_photos(images, SlowSift(), tmp_path / "ray", pairs, Parallel(ONE))
    here, there = load_matches(tmp_path / "here"), load_matches(tmp_path / "ray")
    assert list(here) == list(there) == pairs
    assert min(map(len, here.values())) > 50
    for pair in pairs:
        for name in ("uv_a", "uv_b", "score", "id_a", "id_b"):
            assert np.array_equal(getattr(here[pair], name), getattr(there[pair], name))
    assert not (tmp_path / "ray" / "features").exists()


@pytest.mark.slow
def test_3dmatch_evaluation_survives_losses(losses, tmp_path):
    scene = SCENES[0]
    write_scene(tmp_path, scene, tmp_path / "benchmarks" / "3DMatch" / scene, count=4, seed=3)
    registrar = Open3DRansac(iterations=5_000)

    def answered(name: str, **changes) -> dict:
        out = tmp_path / name
        options = EvalOptions(
            "3dmatch", str(tmp_path), registrar, voxel=VOXEL, out=str(out), **changes
        )
        assert "mean over pairs" in evaluate(options)
        none = {"seconds": 0.0, "source_seconds": 0.0, "target_seconds": 0.0}
        return {key: repr(replace(p, **none)) for key, p in read_all(out).items()}

    here = answered("here")
    losses.armed = True
    assert answered("ray", executor=ONE) == here
    assert len(losses.kept) == len(here) == 6
    assert sorted(p.name for p in (tmp_path / "ray").iterdir()) == [
        "metrics.json", "plots.svg", "predictions.jsonl", "report.md", "setup.json"
    ]  # fmt: skip


DRIVER = """
import sys
from pathlib import Path
from typing import Any
from corr.sharding import Ray, ShardFolder, Task, map_sharded, split
from corr.sharding.executor import own_threads
from corr.store import digest
from tests.corr.sharded_works import Squares
store = ShardFolder(sys.argv[1], digest)
work = Squares(Path(sys.argv[2]), seconds=0.1)
ray = Ray(threads=1, address=sys.argv[3])
map_sharded(Task(work, threads=1), split(range(23), 2), store, ray, label="x")
"""


def test_next_driver_continues_after_a_kill(cluster, tmp_path):
    notes, store = tmp_path / "notes", ShardFolder(tmp_path / "shards", digest)
    notes.mkdir()
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, tmp_path / "driver.py", store.place, notes, cluster.address],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for_shards(driver, store, 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait(timeout=30)
    shards = split(range(23), 2)
    finished = [shard for shard in shards if store.holds(shard)]
    before = [tried(notes, i) for shard in finished for i in shard]
    assert map_sharded(Task(Squares(notes), threads=1), shards, store, ONE, label="x") == []
    assert [int(p) for p in store.payloads(shards)] == [i * i for i in range(23)]
    assert [tried(notes, i) for shard in finished for i in shard] == before


def test_node_that_is_too_small_is_one_line(cluster, tmp_path):
    store = ShardFolder(tmp_path / "shards", digest)
    task = Task(Squares(tmp_path), threads=1)
    with pytest.raises(UserError, match=r"needs 1 CPUs and 2 GPUs, the cluster's nodes have"):
        map_sharded(task, [(1,)], store, Ray(gpus=2.0), label="x")


def test_address_without_a_cluster_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    store = ShardFolder(tmp_path / "shards", digest)
    nobody = Ray(threads=1, address="127.0.0.1:1")
    with pytest.raises(UserError, match=r"^no Ray cluster at 127.0.0.1:1 \(.*refused\); correct "):
        map_sharded(Task(Squares(tmp_path)), [(1,)], store, nobody, label="x")

"""`map_sharded` on one machine: the same results by any route, nothing lost, nothing twice."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from corr.errors import UserError
from corr.sharding import (
    Local,
    Parallel,
    Ray,
    ShardFolder,
    Task,
    map_sharded,
    refuse_failures,
    split,
)
from corr.store import digest
from tests.conftest import ROOT
from tests.corr.sharded_works import Squares, tried, wait_for_shards

ITEMS = list(range(23))
SHARDS = split(ITEMS, 4)


@pytest.fixture
def notes(tmp_path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def store(tmp_path) -> ShardFolder:
    return ShardFolder(tmp_path / "shards", digest)


def squares(store: ShardFolder, shards=SHARDS) -> list[int]:
    return [int(payload) for payload in store.payloads(shards)]


def run(work: Squares, store, executor=None, *, workers=1, shards=SHARDS, threads=0):
    task = Task(work, threads)
    return map_sharded(task, shards, store, executor or Local(), workers=workers, label="square")


@pytest.mark.parametrize(("workers", "threads"), [(1, 0), (1, 1), (2, 1)])
def test_results_do_not_depend_on_processes(notes, store, workers, threads):
    assert run(Squares(notes), store, workers=workers, threads=threads) == []
    assert squares(store) == [i * i for i in ITEMS]
    assert [tried(notes, i) for i in ITEMS] == [1] * len(ITEMS)


def test_finished_shards_are_not_repeated(notes, store):
    run(Squares(notes), store, shards=SHARDS[1:3])
    run(Squares(notes), store)
    assert [tried(notes, i) for i in ITEMS] == [1] * len(ITEMS)


def test_damaged_shard_is_computed_again(notes, store, caplog):
    run(Squares(notes), store)
    cut, changed, emptied = (Path(store.root) / f"{store.key(s)}.shard" for s in SHARDS[:3])
    cut.write_bytes(cut.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes().replace(b'"lengths": [', b'"lengths": [1, ', 1))
    emptied.write_bytes(b"")
    run(Squares(notes), store)
    assert caplog.text.count("is damaged; its shard is computed again") == 3
    assert squares(store) == [i * i for i in ITEMS]
    assert [tried(notes, i) for i in ITEMS] == [2] * 12 + [1] * 11


def test_killed_worker_costs_its_shards_only(notes, store):
    assert run(Squares(notes, dies_once=(6,)), store, workers=2) == []
    assert squares(store) == [i * i for i in ITEMS]
    # Those under way with the one that died are begun again, the finished ones are not.
    assert sum(tried(notes, i) > 1 for i in ITEMS) <= 4 * 4


def test_item_that_always_kills_its_process_is_found_and_left_out(notes, store):
    failures = run(Squares(notes, dies=(6,)), store, Local(retries=0), workers=2)
    assert [f.items for f in failures] == [(6,)]
    assert "its process died" in failures[0].trouble.message
    assert squares(store) == [i * i for i in ITEMS if i != 6]


@pytest.mark.parametrize("workers", [1, 2])
def test_item_that_fails_is_left_out_with_its_traceback(notes, store, workers, caplog):
    failures = run(Squares(notes, raises=(9,)), store, Local(retries=1), workers=workers)
    assert [f.items for f in failures] == [(9,)]
    assert "1 pair left out: ZeroDivisionError: item 9 cannot be squared" in caplog.text
    assert "in __call__" in caplog.text
    assert tried(notes, 9) == 2 + 2  # in its shard and alone
    assert squares(store) == [i * i for i in ITEMS if i != 9]
    with pytest.raises(UserError, match=r"1 of 23 pairs failed .* \(first: 9: ZeroDivisionError"):
        refuse_failures(failures, len(ITEMS))


def test_message_for_the_user_is_not_tried_again(notes, store, caplog):
    failures = run(Squares(notes, refuses=(9,)), store, shards=[(9,), (10,)])
    assert tried(notes, 9) == 1
    assert failures[0].trouble.message == "item 9 is no number"
    assert "Traceback" not in caplog.text
    assert squares(store, [(9,), (10,)]) == [100]


def test_the_same_refusal_of_everything_is_told_as_it_is(notes, store):
    failures = run(Squares(notes, refuses=(9,)), store, shards=[(9,)])
    with pytest.raises(UserError, match=r"^item 9 is no number$"):
        refuse_failures(failures, 1)


def test_work_that_forgets_an_item_is_told(store):
    failures = map_sharded(
        Task(lambda items: [b"" for _ in items[1:]]), [(1, 2)], store, Local(retries=0), label="x"
    )  # fmt: skip
    assert "gave 1 payloads for 2 items" in failures[0].trouble.message


DRIVER = """
import sys
from pathlib import Path
from corr.sharding import Local, ShardFolder, Task, map_sharded, split
from corr.store import digest
from tests.corr.sharded_works import Squares
if __name__ == "__main__":
    store = ShardFolder(sys.argv[1], digest)
    work = Squares(Path(sys.argv[2]), seconds=0.1)
    map_sharded(Task(work, threads=1), split(range(23), 4), store, Local(), workers=2, label="x")
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_ended_driver_leaves_nothing_behind_and_is_continued(notes, store, tmp_path, ending):
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, tmp_path / "driver.py", store.place, notes],
        env={"PYTHONPATH": str(ROOT), "PATH": ""}, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_for_shards(driver, store, 2)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(ending)
    driver.wait(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    finished = [shard for shard in SHARDS if store.holds(shard)]
    before = [tried(notes, i) for shard in finished for i in shard]
    assert run(Squares(notes), store) == []
    assert squares(store) == [i * i for i in ITEMS]
    assert [tried(notes, i) for shard in finished for i in shard] == before


# Places


def test_shards_are_kept_at_any_url(notes):
    store = ShardFolder("memory://bucket/run", digest)
    assert run(Squares(notes), store) == []
    assert squares(ShardFolder("memory://bucket/run", digest)) == [i * i for i in ITEMS]
    store.forget(SHARDS)
    assert not any(store.holds(shard) for shard in SHARDS)


def test_shards_of_something_else_are_not_taken(notes, tmp_path):
    run(Squares(notes), ShardFolder(tmp_path / "s", lambda items: digest("seed 0", items)))
    other = ShardFolder(tmp_path / "s", lambda items: digest("seed 1", items))
    assert not any(other.holds(shard) for shard in SHARDS)


@pytest.mark.parametrize("place", ["{tmp}/file/shards", "nowhere://bucket"])
def test_unusable_place_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot keep shards at .*; choose another scratch=…$"):
        ShardFolder(place.format(tmp=tmp_path), digest)


def test_own_folder_is_removed_and_a_shared_one_is_not(notes, tmp_path):
    result = tmp_path / "lines.jsonl"
    own = Parallel()
    store = own.store(result, digest)
    run(Squares(notes), store)
    own.clear(result, store, SHARDS)
    assert not result.with_suffix(".shards").exists()
    shared = Parallel(scratch=str(tmp_path / "scratch"))
    store = shared.store(result, digest)
    run(Squares(notes), store)
    run(Squares(notes), shared.store(result, lambda items: digest("else", items)))
    shared.clear(result, store, SHARDS)
    assert len(list((tmp_path / "scratch").iterdir())) == len(SHARDS)


# Refusals


def test_missing_ray_is_one_line(monkeypatch):
    monkeypatch.setattr("corr.sharding.ray_cluster.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs Ray: pip install 'few-view-recon\[ray\]'"):
        Ray().check(1)


def test_workers_have_no_meaning_for_ray():
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    with pytest.raises(UserError, match=r"workers=2 has no effect with executor=ray"):
        Ray().check(2)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [(Local, "retries", -1), (Local, "shard_size", -1), (Ray, "threads", -1), (Ray, "gpus", -0.5),
     (Ray, "at_once", -1)],
)  # fmt: skip
def test_option_of_an_executor_out_of_range_is_refused(kind, option, value):
    with pytest.raises(ValueError, match=f"executor.{option} must be 0 or more, got {value}"):
        kind(**{option: value})

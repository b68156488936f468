import queue
import threading

import pytest
import torch

from corr.matchers.dense.data.ahead import BatchesAhead, _make
from corr.matchers.dense.data.pairs import PairOptions, PairSource

CPU = torch.device("cpu")
OPTIONS = PairOptions(textures=12, texture_size=64, canvases=1)


def same(batch, index: int) -> bool:
    """Whether a batch made elsewhere is the one made here, but for half precision of photos."""
    images, truth = PairSource(OPTIONS, 3, CPU, None).batch(index, 2, 96, 64)
    made, warp, visible = batch
    return (
        torch.equal(made, images.half())
        and all(torch.equal(warp[s], truth.warp[s]) for s in truth.warp)
        and all(torch.equal(visible[s], truth.visible[s]) for s in truth.visible)
    )


def test_worker_makes_the_batches_that_are_asked_for():
    asked, made = queue.Queue(), queue.Queue()
    worker = threading.Thread(target=_make, args=(OPTIONS, 3, "cpu", "", asked, made), daemon=True)
    worker.start()
    for index in (5, 2):
        asked.put((index, 2, 96, 64))
        found, batch = made.get(timeout=60)
        assert found == index
        assert same(batch, index)
    asked.put((6, 2, -96, 64))
    assert isinstance(made.get(timeout=60)[1], RuntimeError)


@pytest.mark.slow
def test_processes_hand_batches_out_in_order():
    ahead = BatchesAhead(OPTIONS, 3, CPU, "", 2)
    try:
        for index in range(4):
            ahead.ask(index, 2, 96, 64)
        for index in range(4):
            images, truth = ahead.get(index)
            assert same((images.half(), truth.warp, truth.visible), index)
        ahead.ask(4, 2, -96, 64)
        with pytest.raises(RuntimeError, match="making training pairs failed"):
            ahead.get(4)
    finally:
        ahead.close()

"""Threads: order, errors, and that more than one is at work."""

import threading

import pytest

from corr import threads
from corr.threads import in_threads


def test_results_come_in_the_order_of_the_items():
    assert list(in_threads(lambda n: n * n, range(50))) == [n * n for n in range(50)]


def test_several_items_are_in_work_at_once(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    meet = threading.Barrier(3, timeout=20)
    assert list(in_threads(lambda n: meet.wait() >= 0, range(3))) == [True] * 3


def test_the_first_error_ends_it(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    done = []

    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        done.append(n)
        return n

    with pytest.raises(ValueError, match="two"):
        list(in_threads(work, range(1000)))
    assert len(done) < 1000

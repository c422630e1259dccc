"""Calls made ahead: in order, few at a time, none begun once nobody waits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from savecli.ahead import MOST_AHEAD, Ahead


def test_without_a_pool_each_call_is_made_when_it_is_taken():
    made = []
    with Ahead(None) as ahead:
        ahead.give("a", lambda: made.append(1) or 1)
        assert made == []
        assert list(ahead.taken()) == [("a", 1)]
        assert list(ahead.taken(rest=True)) == []


@pytest.mark.parametrize("n_threads", [1, 4])
def test_results_come_in_order_and_the_last_few_only_when_all_are_asked_for(n_threads):
    with ThreadPoolExecutor(n_threads) as pool, Ahead(pool) as ahead:
        taken = []
        for number in range(10):
            ahead.give(number, partial(int, str(number * number)))
            taken += ahead.taken()
            assert len(taken) == max(0, number + 1 - MOST_AHEAD)
        assert [*taken, *ahead.taken(rest=True)] == [(n, n * n) for n in range(10)]


@pytest.mark.parametrize("n_threads", [0, 2])
def test_what_calls_took_is_counted_however_many_run_at_a_time(n_threads):
    with ThreadPoolExecutor(n_threads or 1) as pool, Ahead(pool if n_threads else None) as ahead:
        for number in range(4):
            ahead.give(number, partial(time.sleep, 0.05))
        list(ahead.taken(rest=True))
    assert ahead.spent_s >= 0.2


def test_calls_run_beside_each_other():
    meeting = threading.Barrier(2, timeout=20)
    with ThreadPoolExecutor(2) as pool, Ahead(pool) as ahead:
        ahead.give(0, meeting.wait)
        ahead.give(1, meeting.wait)
        assert sorted(place for _, place in ahead.taken(rest=True)) == [0, 1]


def test_what_a_call_raises_is_raised_where_it_is_taken():
    with ThreadPoolExecutor(1) as pool, Ahead(pool) as ahead:
        ahead.give(0, partial(int, "no number"))
        with pytest.raises(ValueError, match="no number"):
            list(ahead.taken(rest=True))


def test_nothing_is_begun_once_nobody_waits_for_it():
    go, made = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        with Ahead(pool) as ahead:
            ahead.give(0, go.wait)
            ahead.give(1, lambda: made.append(1))
        go.set()
    assert made == []

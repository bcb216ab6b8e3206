"""Answers that are kept: how long, how many, and that several who ask at once wait for one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from leadline_collector.http.ttl_cache import TtlCache
from tests.support.clock import FakeClock

AGE_S, NS = 60, 1_000_000_000
WAIT_S = 10.0


def counted() -> tuple[list[int], Callable[[], int]]:
    """What was made so far, and what makes the next number."""
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    return made, make


def kept(clock: FakeClock, entries_max: int = 4) -> TtlCache[int]:
    return TtlCache(clock, age_s_max=AGE_S, entries_max=entries_max)


def test_the_same_question_has_the_same_answer_for_a_while() -> None:
    """Until it is as old as it may be; another question has its own."""
    clock = FakeClock()
    answers, (made, make) = kept(clock), counted()

    found = [answers.get_or_compute("a", make), answers.get_or_compute("a", make), answers.get_or_compute("b", make)]
    clock.advance(AGE_S * NS - 1)
    found.append(answers.get_or_compute("a", make))
    clock.advance(1)
    found.append(answers.get_or_compute("a", make))

    assert (found, made) == ([0, 0, 1, 0, 2], [0, 1, 2])


def test_what_was_not_asked_for_longest_goes_first() -> None:
    """There are never more than the bound."""
    answers, (_, make) = kept(FakeClock(), entries_max=2), counted()

    found = [answers.get_or_compute(question, make) for question in ("a", "b", "a", "c", "a", "b")]

    assert found == [0, 1, 0, 2, 0, 3]


def test_whoever_asks_at_once_waits_for_one_answer() -> None:
    """Eight ask while it is made: it is made once."""
    answers, (made, make) = kept(FakeClock()), counted()
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert may_end.wait(WAIT_S)
        return make()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(answers.get_or_compute, "a", slow) for _ in range(8)]
        assert begun.wait(WAIT_S)
        may_end.set()
        assert [one.result(WAIT_S) for one in asked] == [0] * 8

    assert made == [0]


def test_callers_that_wait_share_a_value_that_took_longer_than_its_age() -> None:
    """They do not compute it one after another; a later caller does."""
    clock = FakeClock()
    answers, (made, make) = kept(clock), counted()
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert may_end.wait(WAIT_S)
        clock.advance(2 * AGE_S * NS)
        return make()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(answers.get_or_compute, "a", slow) for _ in range(8)]
        assert begun.wait(WAIT_S)
        may_end.set()
        assert [one.result(WAIT_S) for one in asked] == [0] * 8
    clock.advance(NS)

    assert made == [0]
    assert answers.get_or_compute("a", make) == 1


def test_age_counts_from_the_start_of_the_computation() -> None:
    """What happened while it ran is not in the value."""
    clock = FakeClock()
    answers, (_, make) = kept(clock), counted()

    def slow() -> int:
        clock.advance(10 * NS)
        return make()

    found = [answers.get_or_compute("a", slow)]
    clock.advance((AGE_S - 10) * NS - 1)
    found.append(answers.get_or_compute("a", make))
    clock.advance(1)
    found.append(answers.get_or_compute("a", make))

    assert found == [0, 0, 1]


def test_an_error_is_not_kept() -> None:
    """The next who asks tries again."""
    answers, (_, make) = kept(FakeClock()), counted()

    with pytest.raises(ZeroDivisionError):
        answers.get_or_compute("a", lambda: 1 // 0)

    assert answers.get_or_compute("a", make) == 0

"""Memory that threads share."""

from __future__ import annotations

import threading
import time

import pytest

from promptctl.encoding import budget
from promptctl.encoding.budget import Budget, OverBudget, bytes_for_decoding


def test_what_does_not_fit_waits_until_it_does():
    shared, order = Budget(100), []

    def take() -> None:
        with shared.reserve(60):
            order.append("second")

    with shared.reserve(60):
        thread = threading.Thread(target=take)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    with shared.reserve(100):
        pass


def test_a_large_demand_is_not_overtaken_for_ever():
    shared, order = Budget(100), []

    def take(n_bytes: int) -> None:
        with shared.reserve(n_bytes):
            order.append(n_bytes)

    with shared.reserve(50):
        threads = [threading.Thread(target=take, args=(n_bytes,)) for n_bytes in (90, 10)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    for thread in threads:
        thread.join(5)
    assert order == [90, 10]


def test_what_never_fits_is_refused_at_once_and_nothing_is_lost():
    shared = Budget(100)
    with pytest.raises(OverBudget), shared.reserve(101):
        pass
    with pytest.raises(ZeroDivisionError), shared.reserve(100):
        raise ZeroDivisionError
    with shared.reserve(100):
        pass


@pytest.mark.parametrize(
    ("memory", "share"), [(64_000_000_000, 1_000_000_000), (2_000_000_000, 500_000_000), (500_000_000, 400_000_000)]
)
def test_the_budget_is_a_gigabyte_or_a_quarter_of_a_small_machine(monkeypatch, memory, share):
    monkeypatch.setattr(budget, "_memory", lambda: memory)
    assert bytes_for_decoding() == share


def test_a_container_has_what_it_was_given(tmp_path, monkeypatch):
    limit, unlimited = tmp_path / "memory.max", tmp_path / "unlimited"
    limit.write_text("2000000000\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(budget, "_CGROUP_LIMITS", (unlimited, tmp_path / "missing", limit))
    assert bytes_for_decoding() == 500_000_000

"""The measures of continual learning, on matrices whose answers are worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from promptctl.benchmark import forgetting

LOWER = [[90], [80, 85], [70, 88, 75]]
FULL = [[90, 40, 30], [80, 85, 50], [70, 88, 75]]


def test_measures_of_a_lower_triangle():
    found = forgetting.measure(LOWER, (10, 10, 10))
    assert found.seen == pytest.approx((90, 82.5, 77 + 2 / 3))
    assert found.average == pytest.approx(83.388889) and found.last == pytest.approx(77.666667)
    assert found.forgetting == 8.5, "(20 - 3) / 2; a maximum that takes the last version in would be 10"
    assert found.bwt == -8.5
    assert found.learned == pytest.approx(83.333333)
    assert found.backward == pytest.approx((80 + 70 + 88) / 3)
    assert (found.fwt, found.transfer, found.next_domain, found.forward, found.pure_forgetting) == (None,) * 5


def test_forgetting_counts_from_the_best_version_and_backward_transfer_from_the_first():
    found = forgetting.measure([[80], [90, 60], [70, 60, 50]], (1, 1, 1))
    assert (found.forgetting, found.bwt) == ((20 + 0) / 2, (-10 + 0) / 2)


def test_measures_of_an_upper_triangle():
    found = forgetting.measure(FULL, (10, 10, 10), zero_shot=(60, 35, 55))
    assert found.next_domain == (40 + 50) / 2
    assert found.fwt == ((40 - 35) + (50 - 55)) / 2
    assert found.transfer == (40 + (30 + 50) / 2) / 2
    assert found.forward == 40
    assert found.learned == pytest.approx(250 / 3)


def test_one_task_forgets_nothing_that_could_be_measured():
    found = forgetting.measure([[90]], (10,), among_known=[[90]], zero_shot=[50])
    assert (found.average, found.last, found.learned) == (90, 90, 90)
    none = (found.forgetting, found.pure_forgetting, found.bwt, found.fwt, found.transfer, found.backward)
    assert none == (None,) * 6, "none, not 0"


def test_seen_accuracy_is_of_images_not_of_tasks():
    found = forgetting.measure(LOWER, (100, 10, 10))
    assert found.seen[1] == pytest.approx((100 * 80 + 10 * 85) / 110)
    assert found.seen_tasks == pytest.approx((90, 82.5, 77 + 2 / 3))
    assert found.average != pytest.approx(np.mean(found.seen_tasks))


def test_pure_forgetting_is_of_the_classes_that_were_known():
    found = forgetting.measure(LOWER, (1, 1, 1), among_known=[[90], [89, 85], [91, 88, 75]])
    assert (found.forgetting, found.pure_forgetting) == (8.5, ((90 - 91) + (85 - 88)) / 2)


def test_an_accuracy_that_is_not_known_above_the_diagonal_makes_no_number():
    found = forgetting.measure([[90, math.nan, 30], [80, 85, 50], [70, 88, 75]], (1, 1, 1), zero_shot=(0, 0, 0))
    assert (found.fwt, found.transfer, found.next_domain, found.forward) == (None,) * 4
    with pytest.raises(AssertionError, match="not measured"):
        forgetting.measure([[90], [math.nan, 85]], (1, 1))

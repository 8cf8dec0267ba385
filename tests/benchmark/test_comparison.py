import numpy as np
import pytest

from tdafd_cli.benchmark.comparison import Row, bootstrap_interval, paired_p_value, summaries


def test_bootstrap_covers_the_mean_and_repeats():
    values = [30.1, 31.4, 29.8, 33.0, 30.7]
    low, high = bootstrap_interval(values, seed=1)
    assert min(values) < low < np.mean(values) < high < max(values)
    assert bootstrap_interval(values, seed=1) == (low, high)


def test_paired_test_by_hand():
    # 5 of 6 positive, the negative the smallest: 2 of 64 sign patterns are as one-sided, twice.
    assert paired_p_value([2, 3, 4, 5, 6, -1], [0] * 6) == pytest.approx(4 / 64)
    assert paired_p_value([1, 2], [1, 2]) == 1.0


def test_the_best_baseline_is_chosen_among_baselines():
    rows = [
        Row(volume, "kspace", method, 30, 0.9, value + number, 0.9, 1.0, number)
        for number, volume in enumerate("abc")
        for method, value in (("nearest", 40), ("sinc", 31), ("bspline", 30), ("network", 33.5))
    ]
    found = {summary.method: summary for summary in summaries(rows, ("bspline", "sinc"), seed=0)}
    assert {summary.baseline for summary in found.values()} == {"sinc"}
    assert found["network"].gain == pytest.approx(2.5)
    assert found["network"].p_value == pytest.approx(0.25)
    assert found["sinc"].p_value is None
    assert found["network"].peak_memory_bytes == 2


def test_gains_are_over_the_volumes_that_both_upscaled():
    rows = [
        Row("a", "kspace", "sinc", 30, 0.9, 30, 0.9, 1.0, 1),
        Row("b", "kspace", "sinc", 30, 0.9, 20, 0.9, 1.0, 1),
        Row("b", "kspace", "mine", 30, 0.9, 21, 0.9, 1.0, 1),
        Row("c", "kspace", "mine", 30, 0.9, 50, 0.9, 1.0, 1),
    ]
    assert summaries(rows, ("sinc",), seed=0)[1].gain == pytest.approx(1.0)

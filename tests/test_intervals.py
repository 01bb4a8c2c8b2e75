"""Intervals: against scipy and written-out formulas, how often they hold the truth, and that none is without width."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from perceivers.modalities import intervals, metrics, per_point_metrics
from perceivers.modalities.intervals import Ends

Z = norm.ppf(0.975)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (360, 367), (1, 1)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_wilson_is_scipys(hits, n, level):
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert intervals.wilson(hits, n, norm.ppf((1 + level) / 2)) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_f1_is_that_of_a_share_of_rows():
    low, high = intervals.f1(17, 19, 23)
    share = binomtest(17, 25).proportion_ci(method="wilson")
    assert (low / (2 - low), high / (2 - high)) == pytest.approx((share.low, share.high))
    assert np.isnan(intervals.f1(0, 0, 0)).all()


@pytest.mark.parametrize(("area", "positives", "negatives"), [(0.9, 13, 29), (0.5, 7, 7), (0.99, 101, 11)])
def test_the_interval_of_an_auroc_solves_newcombes_equation(area, positives, negatives):
    def off(true):  # Hanley and McNeil's standard error, both samples of their mean size
        size = (positives + negatives) / 2
        q1, q2 = true / (2 - true), 2 * true**2 / (1 + true)
        spread = true * (1 - true) + (size - 1) * (q1 - true**2 + q2 - true**2)
        return abs(area - true) - Z * np.sqrt(spread / (positives * negatives))

    found = intervals.auroc(np.array([area]), positives, negatives)
    assert found.low[0] == pytest.approx(brentq(off, 1e-9, area))
    assert found.high[0] == pytest.approx(brentq(off, area, 1 - 1e-12))


def test_square_and_add_of_alike_narrows_with_the_root_of_their_number():
    ends = Ends(np.full(9, 0.4), np.full(9, 0.8))
    assert intervals.square_and_add(np.full(9, 0.5), ends) == pytest.approx((0.5 - 0.1 / 3, 0.5 + 0.3 / 3))


def perfect(n, k):
    truth = np.arange(n) % k
    return np.eye(k)[truth], truth


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("k", [2, 5])
def test_no_interval_is_without_width_where_no_row_is_wrong(grouped, k):
    answers, truth = perfect(60, k)
    groups = (np.arange(60) // 6).tolist() if grouped else None
    found = metrics.classification(answers, truth, groups)
    rows = 10 if grouped else 60
    assert found["accuracy"]["low"] == pytest.approx(rows / (rows + Z**2))
    for name in ("accuracy", "auroc", "f1", "ece"):
        assert found[name]["high"] - found[name]["low"] > 0.01
    for score in (one[name] for one in found["per_class"].values() for name in ("precision", "recall", "f1")):
        assert score["value"] == score["high"] == pytest.approx(1)
        assert score["low"] < 0.95


def test_clouds_without_a_wrong_point_are_as_many_rows():
    counts = np.zeros((12, 3, 3))
    counts[:, [0, 1, 2], [0, 1, 2]] = 40
    found = per_point_metrics.classes(counts)
    assert found["accuracy"]["low"] == pytest.approx(12 / (12 + Z**2))
    assert found["mean_iou"]["low"] < found["mean_iou"]["value"] == 1
    assert found["per_class"][1]["iou"]["low"] == pytest.approx(4 / (4 + Z**2))


def test_wrong_rows_in_groups_are_left_to_the_bootstrap():
    answers, truth = perfect(60, 2)
    answers[[3, 20, 41]] = answers[[3, 20, 41], ::-1]
    groups = (np.arange(60) // 6).tolist()
    found = metrics.classification(answers, truth, groups)["accuracy"]
    drawn = intervals.interval(metrics._mean, ((answers.argmax(1) == truth).astype(float),), groups)
    assert found == drawn


def coverage(draw, true, name, runs=150):
    random, hits = np.random.default_rng(11), 0
    for _ in range(runs):
        found = metrics.classification(*draw(random))[name]
        hits += found["low"] - 1e-12 <= true <= found["high"] + 1e-12
    return hits / runs


def test_intervals_of_nearly_perfect_rankings_hold_the_truth(monkeypatch):
    monkeypatch.setattr(intervals, "DRAWS", 200)
    apart = 2.2

    def draw(random):
        truth = np.repeat([0, 1], 20)
        score = 1 / (1 + np.exp(-random.normal(apart * truth)))
        return np.stack([1 - score, score], axis=1), truth

    assert coverage(draw, norm.cdf(apart / 2**0.5), "auroc") >= 0.92  # the bootstrap alone: less than 0.9


@pytest.mark.parametrize(("too_sure", "true"), [(0.0, 0.0), (0.1, 0.1)])
def test_intervals_of_the_calibration_error_hold_the_truth(monkeypatch, too_sure, true):
    monkeypatch.setattr(intervals, "DRAWS", 200)

    def draw(random):
        sure = random.uniform(0.7, 1.0, size=120)
        right = random.random(120) < sure - too_sure
        answers = np.stack([sure, 1 - sure], axis=1)
        return answers, (~right).astype(int)

    assert coverage(draw, true, "ece") >= 0.94

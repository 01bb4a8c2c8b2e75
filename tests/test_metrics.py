import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from perceivers.modalities import metrics

METRICS = ("accuracy", "auroc", "f1", "ece", "mae", "mse", "r2")


def example(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that know something of the truth, all classes present."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(k), random.integers(0, k, n - k)])
    logits = random.normal(size=(n, k)) + 1.5 * (truth[:, None] == np.arange(k))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), truth


@pytest.mark.parametrize("k", [2, 5])
def test_classification_agrees_with_scikit_learn_and_torchmetrics(k):
    probabilities, truth = example(211, k)
    found = metrics.classification(probabilities, truth)
    predicted = probabilities.argmax(1)
    score = probabilities[:, 1] if k == 2 else probabilities
    ece = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(truth), num_classes=k, n_bins=15)
    assert found["n"] == 211
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found["auroc"]["value"] == pytest.approx(sk.roc_auc_score(truth, score, multi_class="ovr"))
    assert found["f1"]["value"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    assert found["ece"]["value"] == pytest.approx(ece.item(), abs=1e-6)
    precision, recall, f1, n = sk.precision_recall_fscore_support(truth, predicted)
    for c, named in found["per_class"].items():
        assert named["precision"]["value"] == pytest.approx(precision[c])
        assert named["recall"]["value"] == pytest.approx(recall[c])
        assert named["f1"]["value"] == pytest.approx(f1[c])
        assert named["n"] == n[c]


def test_auroc_counts_ties_half_and_takes_weights_as_scikit_learn_does():
    random = np.random.default_rng(1)
    scores, positive, weights = random.integers(0, 5, 97), random.random(97) < 0.4, random.integers(0, 4, (97, 7))
    found = metrics._auroc(scores[:, None].astype(float), positive[:, None])(weights.astype(float))
    expected = [sk.roc_auc_score(positive, scores, sample_weight=w) for w in weights.T]
    np.testing.assert_allclose(found, expected)


def test_the_other_statistics_take_weights_as_scikit_learn_does():
    random = np.random.default_rng(2)
    probabilities, truth = example(89, 3)
    predicted, weights = probabilities.argmax(1), random.integers(0, 4, (89, 5)).astype(float)
    one_hot = np.eye(3, dtype=bool)
    found = metrics._precision_recall_f1(one_hot[truth], one_hot[predicted])(weights)
    values, goals = random.normal(size=(89, 2)), random.normal(size=(89, 2)) + 1e6
    r2 = metrics._r2(values + 1e6, goals)(weights)
    for r, w in enumerate(weights.T):
        expected = sk.precision_recall_fscore_support(truth, predicted, sample_weight=w)[:3]
        np.testing.assert_allclose(found[:, :, r], expected)
        assert r2[r] == pytest.approx(sk.r2_score(goals, values + 1e6, sample_weight=w))


def test_macro_means_leave_out_classes_that_are_neither_there_nor_said():
    probabilities, truth = example(60, 3)
    wider = np.concatenate([probabilities, np.zeros((60, 2))], axis=1)
    narrow, wide = metrics.classification(probabilities, truth), metrics.classification(wider, truth)
    for name in ("accuracy", "auroc", "f1", "ece"):
        assert wide[name] == pytest.approx(narrow[name])
    assert wide["per_class"][4] == {
        "precision": {"value": None, "low": None, "high": None},
        "recall": {"value": None, "low": None, "high": None},
        "f1": {"value": None, "low": None, "high": None},
        "n": 0,
    }


def test_multilabel_agrees_with_scikit_learn():
    random = np.random.default_rng(3)
    truth = (random.random((101, 4)) < 0.3).astype(int)
    probabilities = np.clip(0.6 * truth + random.random((101, 4)) * 0.6, 0, 1)
    found = metrics.multilabel(probabilities, truth)
    assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, probabilities > 0.5))
    assert found["auroc"]["value"] == pytest.approx(sk.roc_auc_score(truth, probabilities))
    assert found["f1"]["value"] == pytest.approx(sk.f1_score(truth, probabilities > 0.5, average="macro"))
    assert [found["per_class"][c]["n"] for c in range(4)] == truth.sum(0).tolist()


def test_regression_agrees_with_scikit_learn():
    random = np.random.default_rng(4)
    truth = random.normal(size=(83, 3)) * [1, 10, 100]
    values = truth + random.normal(size=(83, 3))
    found = metrics.regression(values, truth)
    assert found["mae"]["value"] == pytest.approx(sk.mean_absolute_error(truth, values))
    assert found["mse"]["value"] == pytest.approx(sk.mean_squared_error(truth, values))
    assert found["r2"]["value"] == pytest.approx(sk.r2_score(truth, values))


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (360, 367), (1, 1)])
def test_accuracy_has_wilson_intervals(hits, n):
    truth = np.r_[np.ones(hits, int), np.zeros(n - hits, int)]
    probabilities = np.tile([0.2, 0.8], (n, 1))
    found = metrics.classification(probabilities, truth)["accuracy"]
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_bootstrap_intervals_agree_with_a_loop():
    random = np.random.default_rng(5)
    probabilities, truth = example(71, 3)
    found = metrics.classification(probabilities, truth)["f1"]
    rows = random.integers(0, 71, (1_000, 71))
    loop = [sk.f1_score(truth[r], probabilities[r].argmax(1), average="macro") for r in rows]
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(loop, [2.5, 97.5]), abs=0.015)


def test_groups_widen_an_interval_where_rows_of_a_group_are_alike():
    random = np.random.default_rng(6)
    group = np.repeat(np.arange(20), 25)
    truth = random.normal(size=(500, 1))
    values = truth + random.normal(size=20)[group][:, None]
    alone = metrics.regression(values, truth)["mae"]
    grouped = metrics.regression(values, truth, [f"patient {g}" for g in group])["mae"]
    assert grouped["value"] == alone["value"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])
    shifted = (truth > 0).astype(int)[:, 0]
    certain = np.stack([values[:, 0] < 0, values[:, 0] >= 0], axis=1).astype(float)
    wilson, drawn = (metrics.classification(certain, shifted, g)["accuracy"] for g in (None, group))
    assert drawn["high"] - drawn["low"] > wilson["high"] - wilson["low"]


def test_a_group_for_each_row_is_as_no_groups():
    values, truth = np.random.default_rng(7).normal(size=(2, 50, 1))
    assert metrics.regression(values, truth, list(range(50))) == metrics.regression(values, truth)


def test_intervals_cover_the_truth_about_95_times_in_100():
    random, hits = np.random.default_rng(8), 0
    for _ in range(120):
        error = random.exponential(size=(60, 1))
        found = metrics.regression(error, np.zeros((60, 1)))["mae"]
        hits += found["low"] <= 1 <= found["high"]
    assert 0.88 <= hits / 120 <= 0.99


def test_intervals_of_large_tests_are_drawn_from_fewer_rows_and_as_narrow(monkeypatch):
    probabilities, truth = example(4_001, 3)
    whole = metrics.classification(probabilities, truth)
    monkeypatch.setattr(metrics, "MOST_ROWS", 1_000)
    fewer = metrics.classification(probabilities, truth)
    for name in ("auroc", "f1", "ece"):
        assert fewer[name]["value"] == whole[name]["value"]
        width, expected = (m[name]["high"] - m[name]["low"] for m in (fewer, whole))
        assert width == pytest.approx(expected, rel=0.25)


def test_results_do_not_change_from_call_to_call():
    assert metrics.classification(*example(50, 3)) == metrics.classification(*example(50, 3))


def test_one_class_one_row_and_no_row_give_none_where_nothing_is_defined():
    nothing = {"value": None, "low": None, "high": None}
    one_class = metrics.classification(np.tile([0.7, 0.3], (5, 1)), np.zeros(5, int))
    assert one_class["auroc"] == nothing
    assert one_class["accuracy"]["value"] == 1
    one_row = metrics.regression(np.ones((1, 1)), np.zeros((1, 1)))
    assert one_row["mae"] == {"value": 1.0, "low": None, "high": None}
    assert one_row["r2"] == nothing
    no_row = metrics.classification(np.zeros((0, 3)), np.zeros(0, int))
    assert {no_row[name]["value"] for name in ("accuracy", "auroc", "f1", "ece")} == {None}
    assert metrics.regression(np.zeros((4, 1)), np.full((4, 1), 0.1))["r2"]["value"] is None


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(0, 9), k=st.integers(1, 4), grouped=st.booleans())
def test_every_result_is_json_without_nan_and_holds_its_value(data, n, k, grouped):
    truth = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)), int)
    raw = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1e-300]), min_size=n * k, max_size=n * k))
    groups = data.draw(st.lists(st.sampled_from(["a", None]), min_size=n, max_size=n)) if grouped else None
    scores = np.array(raw).reshape(n, k)
    results = [
        metrics.classification(scores, truth, groups),
        metrics.multilabel(scores, (scores.round() + truth[:, None]).astype(int) % 2, groups),
        metrics.regression(scores * 1e5, truth[:, None] * np.ones((1, k)), groups),
    ]
    for result in results:
        json.dumps(result, allow_nan=False)
        for named in (result[name] for name in METRICS if name in result):
            if named["low"] is not None:
                assert named["low"] <= named["value"] <= named["high"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.classification(np.ones((3, 2)), np.array([0, 1, 2])), "from 0 to 1"),
        (lambda: metrics.classification(np.ones((3, 2)), np.zeros(3)), "class indices"),
        (lambda: metrics.classification(np.ones((3, 2)), np.zeros(2, int)), r"\(3, 2\) and \(2,\)"),
        (lambda: metrics.multilabel(np.ones((3, 2)), np.full((3, 2), 2)), "0 or 1"),
        (lambda: metrics.regression(np.full((3, 1), np.nan), np.zeros((3, 1))), "diverged"),
        (lambda: metrics.regression(np.zeros((3, 1)), np.full((3, 1), np.inf)), "not finite"),
        (lambda: metrics.regression(np.zeros((3, 1)), np.zeros((3, 1)), ["a"]), "got 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()

import numpy as np
import pytest
from scipy.sparse import issparse
from scipy.stats import bootstrap
from sklearn.datasets import load_diabetes, load_wine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import FunctionTransformer

from perceivers import baselines as module
from perceivers.baselines import Baselines, baselines
from perceivers.data.schema import Field
from perceivers.errors import BadInput
from perceivers.modalities import MODALITIES, features, metrics


class Stand:
    """The methods of a modality that baselines ask for."""

    def __init__(self, maker=None):
        self.maker = maker

    def baseline(self, field):
        return self.maker()

    def stack(self, rows):
        return np.asarray(rows)

    def rivals(self, field, simple):
        if field.modality == "number":
            return simple.regressors()
        return simple.classifiers(len(field.options["categories"]))

    def metrics(self, field, answer, truth, groups):
        if field.modality == "number":
            return metrics.regression(answer, truth, groups)
        if field.options["labels"] == "many":
            return metrics.multilabel(answer, truth, groups)
        return metrics.classification(answer, truth, groups)

    def row_scores(self, field, answer, truth):
        return MODALITIES[field.modality].row_scores(field, answer, truth)


def numbers(examples):
    width = len(next(e for e in examples if e is not None))
    return np.array([np.r_[np.zeros(width), 1] if e is None else np.r_[e, 0] for e in examples])


NUMBERS = Stand(lambda: FunctionTransformer(numbers))
TEXTS = Stand(lambda: TfidfVectorizer(preprocessor=lambda example: example or ""))


def field(name, modality, role="input", **options):
    return Field(name, modality, role, (name,), options)


def category(k, labels="one"):
    return field("class", "category", "target", categories=[str(c) for c in range(k)], labels=labels)


def halves(n, seed=0):
    rows = np.random.default_rng(seed).permutation(n)
    return rows[: n // 2], rows[n // 2 :]


def test_wine_beats_the_majority_and_agrees_with_what_is_known_of_it():
    x, y = load_wine(return_X_y=True)
    inputs = {str(c): (field(str(c), "number"), NUMBERS, x[:, c : c + 1]) for c in range(x.shape[1])}
    train, test = halves(len(y))
    found = baselines(inputs, category(3), Stand(), y, train, test).metrics
    assert list(found) == ["majority class", "logistic regression", "random forest"]
    largest = np.bincount(y[train]).argmax()
    assert found["majority class"]["accuracy"]["value"] == pytest.approx((y[test] == largest).mean())
    assert found["majority class"]["auroc"]["value"] == pytest.approx(0.5)
    assert found["logistic regression"]["accuracy"]["value"] > 0.93
    assert found["random forest"]["accuracy"]["value"] > 0.93
    assert "note" not in found["random forest"]


def test_diabetes_as_one_number_and_as_two():
    x, y = load_diabetes(return_X_y=True)
    inputs = {"x": (field("x", "number"), NUMBERS, x)}
    train, test = halves(len(y))
    target = field("progression", "number", "target")
    for truth in (y[:, None], np.stack([y, -y], axis=1)):
        found = baselines(inputs, target, Stand(), truth, train, test).metrics
        assert list(found) == ["mean", "ridge", "random forest"]
        expected = np.abs(truth[test] - truth[train].mean(0)).mean()
        assert found["mean"]["mae"]["value"] == pytest.approx(expected)
        assert found["ridge"]["r2"]["value"] > 0.4
        assert found["random forest"]["r2"]["value"] > 0.35


def test_missing_examples_are_a_feature_of_their_own():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 200)
    examples = [None if label else random.normal(size=1) for label in y]
    train, test = halves(200)
    inputs = {"x": (field("x", "number"), NUMBERS, examples)}
    found = baselines(inputs, category(2), Stand(), y, train, test).metrics
    assert found["logistic regression"]["accuracy"]["value"] == 1
    assert found["random forest"]["accuracy"]["value"] == 1


def test_sparse_features_of_text_stand_beside_numbers():
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 240)
    words = [f"word{i:04} other{i:04}" for i in range(2_000)]  # wider than what is made dense
    train, test = halves(240)
    texts = [f"{('alpha ', 'beta ', 'gamma ')[label] * 9} {' '.join(random.choice(words, 10))}" for label in y]
    texts[train[0]] = None
    inputs = {
        "text": (field("text", "text"), TEXTS, texts),
        "x": (field("x", "number"), NUMBERS, random.normal(size=(240, 1))),
    }
    first, _ = module._features(inputs, train, test)
    assert issparse(first)
    found = baselines(inputs, category(3), Stand(), y, train, test).metrics
    assert found["logistic regression"]["accuracy"]["value"] > 0.95
    assert found["random forest"]["accuracy"]["value"] > 0.6
    price = field("price", "number", "target")
    found = baselines(inputs, price, Stand(), 10.0 * y[:, None], train, test).metrics
    assert found["ridge"]["r2"]["value"] > 0.5


def test_wide_features_reach_the_forest_as_components():
    random = np.random.default_rng(2)
    wide = random.normal(size=(60, module.WIDE + 1))
    train, test = module._for_trees(wide[:40], wide[40:], seed=0)
    assert train.shape == (40, 40)
    assert test.shape == (20, 40)


def test_several_labels_at_once_also_when_one_is_everywhere_or_nowhere():
    random = np.random.default_rng(3)
    x = random.normal(size=(300, 3))
    truth = np.column_stack([x[:, 0] > 0, x[:, 1] > 0.5, np.zeros(300), np.ones(300)]).astype(int)
    train, test = halves(300)
    found = baselines(
        {"x": (field("x", "number"), NUMBERS, x)}, category(4, "many"), Stand(), truth, train, test
    ).metrics
    assert found["logistic regression"]["accuracy"]["value"] > 0.9
    assert found["random forest"]["accuracy"]["value"] > 0.9
    assert found["random forest"]["per_class"][3]["recall"]["value"] == 1
    alone = baselines(
        {"x": (field("x", "number"), NUMBERS, x)}, category(1, "many"), Stand(), truth[:, :1], train, test
    ).metrics
    assert alone["random forest"]["accuracy"]["value"] > 0.9


def test_a_class_that_the_train_rows_lack_gets_probability_zero():
    y = np.array([0, 2] * 20 + [1, 3])
    x = y[:, None].astype(float)
    inputs = {"x": (field("x", "number"), NUMBERS, x)}
    found = baselines(inputs, category(4), Stand(), y, np.arange(40), np.arange(38, 42)).metrics
    assert found["logistic regression"]["accuracy"]["value"] == 0.5
    assert found["random forest"]["per_class"][1]["recall"]["value"] == 0


def test_large_data_are_sampled_and_said(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    x, y = load_wine(return_X_y=True)
    inputs = {"x": (field("x", "number"), NUMBERS, x)}
    train, test = halves(len(y))
    found = baselines(inputs, category(3), Stand(), y, train, test).metrics
    assert found["random forest"]["note"] == "fitted on 50 of 89 train rows"
    assert found == baselines(inputs, category(3), Stand(), y, train, test).metrics


def test_test_rows_change_no_fit():
    x, y = load_wine(return_X_y=True)
    train, test = halves(len(y))
    other = x.copy()
    other[test] = 1e6
    (first, _), (second, _) = (
        module._features({"x": (field("x", "number"), NUMBERS, values)}, train, test) for values in (x, other)
    )
    np.testing.assert_array_equal(first, second)


def test_one_class_is_refused():
    inputs = {"x": (field("x", "number"), NUMBERS, np.zeros((10, 1)))}
    with pytest.raises(BadInput, match="of one class"):
        baselines(inputs, category(2), Stand(), np.zeros(10, int), np.arange(5), np.arange(5, 10))


def test_a_baseline_that_fails_raises():
    class Broken(Stand):
        def baseline(self, field):
            raise RuntimeError("no features")

    with pytest.raises(RuntimeError, match="no features"):
        baselines({"x": (field("x", "number"), Broken(), [1])}, category(2), Stand(), [0, 1], np.r_[0], np.r_[0])


def test_a_paired_comparison_sees_what_intervals_that_overlap_hide():
    random = np.random.default_rng(4)
    rows = np.arange(400)
    theirs = (random.random(400) < 0.8).astype(float)
    ours = np.where(np.flatnonzero(theirs == 0)[11] >= rows, 1.0, theirs)  # right in 12 more rows, wrong in none more
    alone = [metrics.proportion(scores) for scores in (theirs, ours)]
    assert alone[0]["high"] > alone[1]["low"]
    given = Baselines({"forest": {"n": 400}}, rows, {"forest": theirs})
    found = given.against("accuracy", ours, rows)["forest"]
    assert (found["n"], found["paired"]["metric"], found["paired"]["different"]) == (400, "accuracy", 12)
    again = bootstrap((ours - theirs,), np.mean, n_resamples=2_000, method="percentile", rng=5).confidence_interval
    assert found["paired"]["value"] == pytest.approx(12 / 400)
    assert found["paired"]["low"] == pytest.approx(again.low, abs=0.003)
    assert found["paired"]["high"] == pytest.approx(again.high, abs=0.003)


def test_over_groups_the_paired_interval_is_wider():
    random = np.random.default_rng(5)
    rows, groups = np.arange(300), np.repeat(np.arange(15), 20)
    theirs = 2 + random.random(300)
    given = Baselines({"ridge": {}}, rows, {"ridge": theirs})
    ours = theirs - 0.1 + np.repeat(random.normal(size=15), 20)
    alone, grouped = (given.against("mae", ours, rows, by)["ridge"]["paired"] for by in (None, groups.tolist()))
    assert alone["value"] == grouped["value"] == pytest.approx((ours - theirs).mean())
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])
    assert (alone["different"], grouped["different"]) == (300, 15)


def test_other_rows_are_not_paired():
    given = Baselines({"mean": {"n": 5}}, np.arange(5), {"mean": np.ones(5)})
    assert given.against("mae", np.zeros(5), np.arange(1, 6)) == given.metrics
    assert given.against("mae", np.zeros(4), np.arange(4)) == given.metrics
    assert Baselines(given.metrics, np.array([], int), {}).against("mae", np.zeros(5), np.arange(5)) == given.metrics


def test_a_text_of_ten_megabytes_is_read_as_far_as_its_first_bytes():
    words = np.frombuffer(b"some words and others " * 460_000, np.uint8)
    other = np.frombuffer(b"nothing like it", np.uint8)
    whole, cut = (features.texts().fit_transform([one, other, None]) for one in (words, words[: features.READ_BYTES]))
    assert (whole != cut).nnz == 0

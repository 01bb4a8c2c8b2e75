"""The linear part beside the Perceiver: its columns, what is found, and what it counts."""

import re
from collections import Counter
from itertools import pairwise
from math import log

import numpy as np
import polars as pl
import pytest
import torch
from scipy.optimize import minimize
from sklearn.feature_extraction.text import TfidfVectorizer

import perceivers as pv
from perceivers import wide as wide_part
from perceivers.data.schema import Field
from perceivers.modalities import modality
from perceivers.modalities.text_terms import TextTerms, hashes
from perceivers.model import load_model, save_model
from perceivers.training.config import Config, Training


def field(kind, **options):
    return Field("x", kind, "input", ("x",), {**modality(Field("x", kind, "input", ("x",), {})).options, **options})


def dense(terms, part):
    """The columns as numpy has them."""
    places, values = terms(part)
    found = np.zeros((len(places), terms.width))
    for row, (place, value) in enumerate(zip(places.numpy(), values.numpy(), strict=True)):
        np.add.at(found[row], place, value)
    return found


def test_columns_of_numbers_and_categories():
    number = field("number", mean=[1.0, 0.0], std=[2.0, 1.0], quantiles=[[0.0] * 17] * 2)
    number = Field("x", "number", "input", ("a", "b"), number.options)
    part = modality(number).collate(number, [np.array([3.0, np.nan]), None])
    found = dense(modality(number).terms(number), part)
    np.testing.assert_allclose(found, [[1 / (1 + 1 / 9) ** 0.5, 0, 0, 1], [0, 0, 1, 1]], rtol=1e-6)
    category = field("category", categories=["u", "v", "w"])
    part = modality(category).collate(category, [1, 3, None])
    np.testing.assert_array_equal(dense(modality(category).terms(category), part), np.eye(5)[[1, 3, 4]])


def test_columns_of_several_labels():
    labels = field("category", categories=["u", "v"], labels="many")
    part = modality(labels).collate(labels, [np.array([1, 1, 0]), np.array([0, 0, 1]), None])
    found = dense(modality(labels).terms(labels), part)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("longest", [5, 200])
def test_columns_of_series_are_those_of_numpys_interpolation(longest):
    series = field("series", channels=2, mean=[0.0, 0.0], std=[1.0, 1.0], length=longest, step=1.0, patch=1)
    kind, random = modality(series), np.random.default_rng(0)
    examples = [np.column_stack([np.arange(n), random.normal(size=(n, 2))]) for n in (longest, 3, 1)]
    terms = kind.terms(series)
    found = dense(terms, kind.collate(series, [*examples, None]))
    count = min(64, longest)
    assert found.shape == (4, terms.width) == (4, 2 * count + 5)
    for row, example in zip(found, examples, strict=False):
        places = np.linspace(0, len(example) - 1, count)
        steps = np.stack([np.interp(places, np.arange(len(example)), c) for c in example[:, 1:].T], axis=1)
        np.testing.assert_allclose(row[: 2 * count], (steps / np.sqrt(1 + (steps / 3) ** 2)).ravel(), atol=2e-3)
        assert row[-1] == pytest.approx(len(example) / longest)
    assert not found[3].any()


def naive(text):
    """(the n-grams of characters, the words and pairs of words) of a text, by loops."""
    padded = f" {' '.join(text.lower().split())} "
    grams = [padded[i : i + n] for n in range(1, 6) for i in range(len(padded) - n + 1)]
    grams = [g for g in grams if g.strip() and " " not in (g[1:-1] if len(g) > 1 else g)]
    words = re.findall(r"[^\W_]+|[^\w\s]|_", padded)
    return grams, [*words, *pairwise(words)]


TEXTS = ["Hello, wörld! 3.5 a a", "x", "", "naïve 東京タワー", "Добрый день _x_ y\n\tz", "aaaa aaa"]


@pytest.mark.parametrize("text", TEXTS)
def test_every_word_and_n_gram_has_its_hash(text):
    grams, words = naive(text)
    found = hashes(text)
    for kind, expected in ((1, grams), (0, words)):
        counts = Counter(found[found % 2 == kind].tolist())
        assert sorted(counts.values()) == sorted(Counter(expected).values())


def test_terms_are_the_same_wherever_they_stand():
    assert set(hashes("good").tolist()) <= set(hashes("a very good day").tolist())
    assert len(set(hashes("ab").tolist()) & set(hashes("ba").tolist())) == 2  # a and b alone


def test_weights_of_words_are_tf_idf():
    texts = ["good good day", "bad day", "good book , day"]
    kind, text = modality(field("text")), field("text", max_bytes=64)
    part = kind.collate(text, [kind.read(text, t) for t in texts])
    terms = TextTerms()
    terms.learn([part])
    even = (terms.codes.numpy() % 2 == 0) & (terms.idf.numpy() > 0)
    found = dense(terms, part)[:, even]
    by_hand = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    np.testing.assert_allclose(found @ found.T, (by_hand @ by_hand.T).toarray(), atol=1e-6)


def test_what_was_never_seen_and_what_is_masked_counts_nothing():
    kind, text = modality(field("text")), field("text", max_bytes=64)
    terms = TextTerms()
    terms.learn([kind.collate(text, [kind.read(text, "good day")])])
    part = kind.collate(text, [kind.read(text, "🙂"), kind.read(text, "good day")])
    assert not dense(terms, part)[0].any()
    assert dense(terms, part)[1].any()
    assert not dense(terms, kind.drop(text, part, torch.tensor([True, True]))).any()


def test_naive_bayes_is_that_of_a_loop():
    from scipy.sparse import csr_array

    counts, goals = np.random.default_rng(0).poisson(1.0, (11, 7)).astype(float), np.arange(11) % 3
    weight, bias = wide_part._bayes(csr_array(counts), goals, 4)
    for c in range(4):
        total = counts[goals == c].sum(0) + wide_part.SMOOTHING
        np.testing.assert_allclose(weight[:, c], np.log(total / total.sum()))
        assert bias[c] == pytest.approx(log((np.sum(goals == c) + 1) / (11 + 4)))


def test_scales_are_those_of_the_least_cross_entropy():
    random = np.random.default_rng(0)
    goals = random.integers(0, 3, 50)
    logits = np.stack([2 * np.eye(3)[goals] + random.normal(size=(50, 3)), random.normal(size=(50, 3))])

    def loss(scales):
        both = np.tensordot(scales, logits, 1)
        return np.mean(np.log(np.exp(both).sum(1)) - both[np.arange(50), goals])

    scales, least = wide_part._scales(logits, goals)
    expected = minimize(loss, [1.0, 1.0], bounds=[(0, None)] * 2, method="Nelder-Mead")
    np.testing.assert_allclose(scales, expected.x, atol=1e-3)
    assert least == pytest.approx(loss(scales)) == pytest.approx(expected.fun, abs=1e-6)


def test_rows_of_one_key_are_in_one_fold():
    keys = np.repeat(np.arange(23), 3)
    folds = wide_part._folds(keys)
    assert np.stack(folds).sum(0).tolist() == [1] * len(keys)
    assert all(len(set(fold[keys == key])) == 1 for fold in folds for key in range(23))


def table(n=120, seed=0):
    """A class and a value that follow from two numbers and a word; of two more columns nothing follows."""
    random = np.random.default_rng(seed)
    x, noise = random.normal(size=(n, 2)), random.normal(size=n)
    word = random.choice(["red", "green"], n)
    side = x[:, 0] + x[:, 1] + (word == "red") > 0.5
    return pl.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "noise": noise, "word": word, "side": np.where(side, "left", "right")}
    ).with_columns(value=pl.Series(3 * x[:, 0] - x[:, 1] + 0.1 * noise))


def fitted(frame, target, steps=3, **training):
    config = Config(training=Training(**training))
    schema = pv.inspect(frame, target=target)
    others = {"side", "value"} - {target}
    schema = schema.replace(*(Field(**{**vars(f), "role": "ignore"}) for f in schema.inputs if f.name in others))
    return pv.fit(frame, schema=schema, steps=steps, config=config)


@pytest.mark.parametrize("target", ["side", "value"])
def test_where_a_line_says_all_few_steps_suffice(target):
    model = fitted(table(), target)
    assert model.model.wide is not None
    assert 0.4 < float(model.model.wide.of_target[target].share) <= 0.5
    name = "auroc" if target == "side" else "r2"
    alone = (model.folder / "alone.json").read_text()
    assert name in alone
    assert model.metrics[target][name]["value"] > 0.7


def test_the_answer_is_the_mean_of_both():
    frame = table()
    model = fitted(frame, "value").model
    share = float(model.wide.of_target["value"].share)
    from perceivers.data.batches import evaluation_batches
    from perceivers.data.loading import Rows
    from perceivers.data.sources import read

    rows = Rows(read(frame), model.schema.inputs, modality)
    with torch.inference_mode():
        for _, batch in evaluation_batches(rows, np.arange(20), 32):
            target = {f.name: t for f, t in model.asked}["value"]
            alone, line = model(batch)["value"], model.wide(batch)["value"]
            expected = target.answer((1 - share) * alone + share * line, batch)
            torch.testing.assert_close(model.answers(batch)["value"], expected)
            with model.wide.silent():
                torch.testing.assert_close(model.answers(batch)["value"], target.answer(alone, batch))
    assert float(model.wide.of_target["value"].share) == pytest.approx(share)


def test_it_is_saved_and_comes_back(tmp_path):
    frame = table()
    model = fitted(frame, "side")
    save_model(model.model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    one, two = model.model.state_dict(), again.state_dict()
    assert one.keys() == two.keys()
    assert any(name.startswith("wide.") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_nothing_is_added_where_nothing_follows_or_it_is_switched_off():
    frame = table().with_columns(side=pl.Series(np.random.default_rng(1).choice(["left", "right"], 120)))
    assert fitted(frame, "side").model.wide is None
    assert fitted(table(), "side", wide=False).model.wide is None


def test_words_decide_beside_the_perceiver():
    random = np.random.default_rng(0)
    words = np.array(["the", "a", "cat", "dog", "house", "tree", "runs", "jumps", "over", "under"])
    said = random.choice(["bliss", "gloom"], 700)
    texts = [" ".join([*random.choice(words, 6), w, *random.choice(words, 6)]) for w in said]
    model = pv.fit(pl.DataFrame({"text": texts, "mood": np.where(said == "bliss", "up", "down")}), "mood", steps=2)
    assert model.metrics["mood"]["accuracy"]["value"] > 0.95
    assert float(model.model.wide.of_target["mood"].share) > 0.5  # two steps of the Perceiver say nothing
    report = (model.folder / "report.html").read_text()
    assert "that of a linear model of text" in report
    assert re.search(r"Linear part: \d+% of the prediction is a linear model", report)


def test_a_forged_number_of_answers_is_refused(tmp_path):
    import hashlib
    import json

    from perceivers.errors import BadInput

    folder = tmp_path / "model"
    save_model(fitted(table(), "side").model, folder)
    content = json.loads((folder / "config.json").read_text())
    sums = content.pop("sha256")
    for forged in ({"side": 10**9}, {"other": 2}, {"side": "2"}, [], {"side": -1}):
        changed = {**content, "wide": forged}
        sums["config.json"] = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        (folder / "config.json").write_text(json.dumps({**changed, "sha256": sums}))
        with pytest.raises(BadInput):
            load_model(folder)

"""The linear part beside the Perceiver: its columns, what is found, and what it counts."""

import hashlib
import json
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
from perceivers import cli, wide, wide_fits
from perceivers.data import sources
from perceivers.data.batches import evaluation_batches
from perceivers.data.loading import Rows
from perceivers.data.schema import Field
from perceivers.errors import BadInput
from perceivers.modalities import modality
from perceivers.modalities.text_terms import TextTerms, hashes
from perceivers.model import Model, load_model, save_model
from perceivers.training import defaults
from perceivers.training.config import Config, Training
from perceivers.training.train import prepare


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
    weight, bias = wide_fits._bayes(csr_array(counts), goals, 4)
    for c in range(4):
        total = counts[goals == c].sum(0) + wide_fits.SMOOTHING
        np.testing.assert_allclose(weight[:, c], np.log(total / total.sum()))
        assert bias[c] == pytest.approx(log((np.sum(goals == c) + 1) / (11 + 4)))


def test_scales_are_those_of_the_least_cross_entropy_with_platts_goals():
    random = np.random.default_rng(0)
    goals = random.integers(0, 3, 50)
    logits = np.stack([2 * np.eye(3)[goals] + random.normal(size=(50, 3)), random.normal(size=(50, 3))])
    count = np.bincount(goals)
    soft = np.array(
        [[(count[g] + 1) / (count[g] + 2) if c == g else 0.5 / (count[g] + 2) for c in range(3)] for g in goals]
    )
    log = torch.nn.functional.log_softmax

    def loss(scales, wanted):
        both = torch.from_numpy(np.tensordot(scales, logits, 1))
        return float(-(torch.from_numpy(wanted) * log(both, -1)).sum(1).mean())

    scales, least = wide_fits.scaled(logits, goals)
    expected = minimize(loss, [1.0, 1.0], (soft,), bounds=[(0, None)] * 2, method="Nelder-Mead")
    np.testing.assert_allclose(scales, expected.x, atol=1e-3)
    assert least == pytest.approx(loss(scales, np.eye(3)[goals]))


def test_classes_that_a_word_tells_apart_are_no_certainty():
    goals = np.arange(80) % 2
    logits = np.where(np.eye(2)[goals] > 0, -10.0, -30.0)[None]
    (scale,), _ = wide_fits.scaled(logits, goals)
    assert 1 < 20 * scale < 8  # without Platt's goals it would grow for ever


def test_rows_of_one_key_are_in_one_fold():
    keys = np.repeat(np.arange(23), 3)
    folds = wide_fits.folds(keys)
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
    rows = Rows(sources.read(frame), model.schema.inputs, modality)
    with torch.inference_mode():
        for _, batch in evaluation_batches(rows, np.arange(20), 32):
            target = {f.name: t for f, t in model.asked}["value"]
            alone, line = model(batch)["value"], model.wide(batch)["value"]
            expected = target.answer((1 - share) * alone + share * line, batch)
            torch.testing.assert_close(model.answers(batch)["value"], expected)
            model.wide.of_target["value"].share.zero_()
            torch.testing.assert_close(model.answers(batch)["value"], target.answer(alone, batch))


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
    folder = tmp_path / "model"
    save_model(fitted(table(), "side").model, folder)
    content = json.loads((folder / "config.json").read_text())
    sums = content.pop("sha256")
    for forged in ({"side": 10**9}, {"side": 3}, {"other": 2}, {"side": "2"}, [], {"side": -1}):
        changed = {**content, "wide": forged}
        sums["config.json"] = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        (folder / "config.json").write_text(json.dumps({**changed, "sha256": sums}))
        with pytest.raises(BadInput):
            load_model(folder)


def test_columns_of_a_long_text_are_the_mean_of_its_windows():
    """One text of many windows counts as one row."""
    texts = ["good day"] * 30 + ["bad night"] * 29 + ["bad night " * 200]
    frame = pl.DataFrame({"text": [f"{t} {i}" for i, t in enumerate(texts)], "mood": ["up"] * 30 + ["down"] * 30})
    data = prepare(sources.read(frame), pv.inspect(frame, target="mood"))
    model = Model(data.schema, defaults.perceiver(defaults.resolve(Config(), data.schema, 60, 0)))
    targets = {f.name: t for f, t in model.asked}
    probe = wide.Wide(data.schema.inputs, {})
    batches = list(evaluation_batches(data.rows, np.arange(60), 16))
    assert sum(len(owners) for owners, _ in batches) > 60
    for name, terms in probe.columns.items():
        terms.learn(batch[name] for _, batch in batches)
    seen = wide._read(probe, targets, batches)
    assert seen.rows.tolist() == list(range(60))
    assert seen.columns.shape == (60, probe.width)
    of_last = [dense(terms, batch["text"])[owners == 59] for owners, batch in batches for terms in probe.terms]
    np.testing.assert_allclose(seen.columns[[59]].toarray()[0], np.concatenate(of_last).mean(0), atol=1e-6)


def test_words_of_long_texts_are_known_too(monkeypatch):
    """Batches are sorted by size: a limit must not leave the long ones out."""
    monkeypatch.setattr(wide, "MOST_ELEMENTS", 4_000)
    texts = [f"apple {i} " if i % 2 else f"zinc {i} " * 60 for i in range(200)]
    frame = pl.DataFrame({"text": texts, "kind": ["fruit" if i % 2 else "metal" for i in range(200)]})
    model = pv.fit(frame, "kind", steps=1).model
    known = set(model.wide.terms[0].codes.tolist())
    assert {int(hashes("apple")[-1]), int(hashes("zinc")[-1])} <= known


def test_the_order_of_rows_chooses_no_class(monkeypatch):
    monkeypatch.setattr(wide, "MOST_ROWS", 100)
    frame = table(400).sort("side")
    halves = [frame.filter(pl.col("side") == side) for side in ("left", "right")]
    n = min(map(len, halves))
    frame = pl.concat([half[:n].with_row_index("at") for half in halves]).sort("at").drop("at")
    assert fitted(frame, "side", steps=1).model.wide is not None


def test_a_target_that_validation_lacks_keeps_its_line():
    frame = table(900).with_columns(
        split=pl.Series(["train"] * 700 + ["validation"] * 100 + ["test"] * 100),
        value=pl.when(pl.arange(0, 900).is_between(700, 799)).then(None).otherwise(pl.col("value")),
    )
    model = pv.fit(frame, ["side", "value"], steps=1).model
    assert float(model.wide.of_target["value"].share) > 0.3


def test_no_line_is_kept_beside_a_perceiver_that_knows_all():
    frame = table(600).drop("side")
    data = prepare(sources.read(frame), pv.inspect(frame, target="value"))
    model = Model(data.schema, defaults.perceiver(defaults.resolve(Config(), data.schema, 420, 90)))
    targets, train = {f.name: t for f, t in model.asked}, data.parts["train"]
    found = wide.find(data.rows, train, lambda rows: rows, data.schema, targets)
    batches = list(evaluation_batches(data.rows, data.parts["validation"], 32))
    assert wide.weigh(found, targets, lambda batch: {"value": batch["value"]["values"]}, batches) is None
    found = wide.find(data.rows, train, lambda rows: rows, data.schema, targets)
    kept = wide.weigh(found, targets, lambda batch: {"value": 9 + 0 * batch["value"]["values"]}, batches)
    assert float(kept.of_target["value"].share) > 0.9


def test_a_plan_of_a_run_that_reads_text(tmp_path, capsys):
    texts = [f"{'good' if i % 2 else 'bad'} day {i} and so on" for i in range(80)]
    frame = pl.DataFrame({"text": texts, "mood": ["up" if i % 2 else "down" for i in range(80)]})
    model = pv.fit(frame, "mood", steps=1, out=tmp_path / "run")
    assert model.model.wide is not None
    frame.write_csv(tmp_path / "texts.csv")
    app = cli.app
    assert not app(["plan", str(tmp_path / "run"), str(tmp_path / "texts.csv")], result_action="return_value")
    assert "FLOP" in capsys.readouterr().out


def test_it_is_left_out_on_the_command_line(tmp_path):
    table().drop("value").write_csv(tmp_path / "t.csv")
    arguments = ["train", str(tmp_path / "t.csv"), "--target", "side", "--steps", "1", "--out", str(tmp_path / "run")]
    cli.app([*arguments, "--training.wide=false"], result_action="return_value")
    assert json.loads((tmp_path / "run/config.json").read_text())["wide"] == {}

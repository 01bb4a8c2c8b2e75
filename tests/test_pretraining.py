"""The row `pretraining` of the benchmarks at tiny sizes: draws of labels, kept runs, the page."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny

from benchmarks.pretraining import Plan, difference, drawn, run, section

LABELLED = pl.DataFrame(
    {
        "text": [f"the message {i} is in {'some' if i % 4 else 'other'} tongue" for i in range(80)],
        "language": ["usual" if i % 4 else "other" for i in range(80)],
        "split": ["train"] * 60 + ["test"] * 20,
    }
)
STEPS = replace(tiny.CONFIG, steps=1, training=replace(tiny.CONFIG.training, validations=1))
PLAN = Plan(labels=(24,), seeds=1, first=STEPS, few=replace(STEPS, architecture=type(STEPS.architecture)()))


def test_draws_are_balanced_apart_and_repeatable():
    parts = drawn(LABELLED, 24, 3)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [20, 4, 20]
    learned = np.concatenate([parts["train"], parts["validation"]])
    assert len(set(learned)) == 24
    assert max(learned) < 60
    assert LABELLED["language"].gather(learned).value_counts()["count"].to_list() == [12, 12]
    again, other = drawn(LABELLED, 24, 3), drawn(LABELLED, 24, 4)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["train"], other["train"])


def test_runs_are_kept_and_written(tmp_path, capsys):
    store, kept = {}, []

    def keep():
        kept.append(len(store))

    run(PLAN, LABELLED, tmp_path, store, keep)
    assert kept == [1, 2, 3]
    assert "taken: text, from text.masked" in capsys.readouterr().err
    before = dict(store)
    run(PLAN, LABELLED, tmp_path, store, keep)
    assert store == before
    assert "finished before" in capsys.readouterr().err
    shown = replace(PLAN, first=Plan().first)
    page = "\n".join(section(store, shown))
    assert page.count("| 24 | **") == 1
    assert "60 messages" in page
    assert "not run" in "\n".join(section({k: v for k, v in store.items() if not k.endswith("alone")}, shown))


def test_differences_have_students_interval():
    mean, half = difference([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert half == pytest.approx(4.30 * 0.1 / 3**0.5)
    assert Plan().minutes() == 20 + 36

"""Numbers and categories: what is read, how it is embedded, asked for and answered."""

from datetime import date, datetime

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import modality
from perceivers.modalities.category import label

CHANNELS = 13


def fitted(name, kind, cells, role="input", columns=None, **options):
    field = Field(name, kind, role, columns or (name,), options)
    known = modality(field)
    field = field.with_options(**{**known.options, **options})
    return field.with_options(**known.fit(field, cells))


def part(field, cells):
    kind = modality(field)
    return kind.collate(field, [kind.read(field, cell) for cell in cells])


def seeded(seed=0):
    return lambda purpose, count: torch.rand(7, count, generator=torch.Generator().manual_seed(seed))


# Numbers --------------------------------------------------------------------------------------------------------


def test_a_number_is_read_from_whatever_a_table_holds():
    field = fitted("x", "number", [1, 2, 3])
    read = modality(field).read
    for cell in (3, 3.0, True + 2, "3", " 3.0 ", "3e0", np.float32(3), np.int8(3)):
        assert read(field, cell) == [3.0]
    for cell in (None, "", "  ", float("nan"), "nan"):
        assert read(field, cell) is None
    assert read(field, True) == [1.0]


def test_dates_in_strings_of_another_format():
    field = fitted("day", "number", ["31.12.2020", "1.1.2021"], date="%d.%m.%Y")
    assert modality(field).read(field, "2.1.1970") == 1
    assert modality(field).read(field, date(1970, 1, 2)) == 1
    with pytest.raises(Unreadable, match=r"expected a date written as %d\.%m\.%Y"):
        modality(field).read(field, "1970-01-02")
    compact = fitted("day", "number", ["20201231", "20210101"], date="%Y%m%d")
    assert modality(compact).read_all(compact, ["19700102", None])[0] == 1


def test_dates_are_days_since_1970_and_errors_are_in_days():
    field = fitted("day", "number", [date(2020, 1, 1), date(2021, 1, 1)], date=True)
    read = modality(field).read
    expected = (date(2026, 11, 23) - date(1970, 1, 1)).days
    for cell in (date(2026, 11, 23), datetime(2026, 11, 23), "2026-11-23", "2026-11-23T01:00:00+01:00"):
        assert read(field, cell) == [expected]
    answer = modality(field).columns(field, np.array([[expected], [1e30]]), False)["day"]
    assert answer == [datetime(2026, 11, 23), datetime(9999, 12, 31, 23, 59, 59)]
    assert modality(field).columns(field, np.array([[0.5 + 1e-9]]), False)["day"] == [datetime(1970, 1, 1, 12)]
    found = modality(field).metrics(field, np.array([[1.0], [5.0]]), [[3.0], [5.0]], None)
    assert (found["mae"]["value"], found["unit"]) == (1.0, "days")


@pytest.mark.parametrize("cell", [float("inf"), "-inf", "twelve", [1, 2], 10**400, {"a": 1}])
def test_what_is_no_number_is_named(cell):
    field = fitted("x", "number", [1, 2])
    with pytest.raises(Unreadable, match="came, expected"):
        modality(field).read(field, cell)
    with pytest.raises(Unreadable, match="came, expected"):
        modality(field).read_all(field, [1, cell, 3])
    assert fitted("x", "number", [1, 2, cell]).options["mean"] == [1.5]  # such a row is left out


def test_a_whole_column_is_read_as_its_cells_are():
    cells = [1, None, "2.5", "", True, date(2000, 1, 2), float("nan"), -7]
    field = fitted("x", "number", cells)
    kind = modality(field)
    one_by_one = [kind.read(field, cell) for cell in cells]
    whole = kind.read_all(field, cells)
    assert whole.shape == (8, 1)
    assert whole.dtype == np.float64
    for row, example in zip(whole, one_by_one, strict=True):
        assert np.isnan(row).all() if example is None else row == example
    for a, b in zip(kind.collate(field, whole).values(), kind.collate(field, one_by_one).values(), strict=True):
        assert torch.equal(a, b)


def test_statistics_are_those_of_numpy_and_of_the_given_cells():
    values = np.random.default_rng(0).lognormal(size=(101, 2))
    cells = [*map(tuple, values.tolist()), (None, 5.0)]
    field = fitted("xy", "number", cells, columns=("x", "y"))
    second = np.append(values[:, 1], 5.0)
    np.testing.assert_allclose(field.options["mean"], [values[:, 0].mean(), second.mean()])
    np.testing.assert_allclose(field.options["std"], [values[:, 0].std(), second.std()])
    np.testing.assert_allclose(field.options["quantiles"][1], np.quantile(second, np.linspace(0, 1, 17)))
    found = part(field, cells)
    assert found["values"].shape == (102, 2)
    np.testing.assert_allclose(
        found["values"][:101, 0], (values[:, 0] - values[:, 0].mean()) / values[:, 0].std(), atol=1e-6
    )
    assert found["present"].tolist() == [[True, True]] * 101 + [[False, True]]
    assert found["values"][101, 0] == found["ranks"][101, 0] == 0


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3).map(float), min_size=2, max_size=40), st.randoms())
@settings(max_examples=60, deadline=None)
def test_ranks_grow_with_values_and_stay_in_range(cells, random):
    field = fitted("x", "number", cells)
    asked = sorted([*cells, min(cells) - 1, max(cells) + 1, random.uniform(-1e6, 1e6)])
    ranks = part(field, asked)["ranks"][:, 0]
    assert (ranks.diff() >= 0).all()
    assert ranks.min() >= 0
    assert ranks.max() <= 1


def test_ranks_are_the_shares_below_with_ties_in_the_middle():
    cells = np.random.default_rng(0).integers(0, 5, 4_000).astype(float)
    found = part(fitted("x", "number", cells.tolist()), cells.tolist())["ranks"][:, 0]
    expected = (rankdata(cells) - 0.5) / len(cells)
    assert np.abs(found.numpy() - expected).max() < 1.5 / 16  # 17 quantiles are known


@pytest.mark.parametrize("cells", [[5, 5, 5], [None, None], [1e308, -1e308, 1], [0, 1e-300], [1e12] + [1, 2, 3] * 9])
def test_odd_columns_give_finite_numbers(cells):
    field = fitted("x", "number", cells)
    module = modality(field).inputs([field], CHANNELS)
    found = part(field, [*cells, 1e300, -1e300, 2.0])
    assert all(tensor.isfinite().all() for tensor in found.values())
    array, _ = module({"x": found})
    assert array.isfinite().all()


def test_an_outlier_does_not_hide_the_rest():
    field = fitted("x", "number", [1e12, *range(50)])
    found = part(field, [10, 30])["ranks"][:, 0]
    assert found[1] - found[0] > 0.3


def test_number_tokens_are_the_sum_that_the_papers_say():
    fields = [
        fitted("a", "number", np.random.default_rng(0).normal(size=50).tolist()),
        fitted("bc", "number", [(1, 2), (3, 5), (None, 7)], columns=("b", "c")),
    ]
    torch.manual_seed(0)
    module = modality(fields[0]).inputs(fields, CHANNELS)
    batch = {"a": part(fields[0], [0.3, None]), "bc": part(fields[1], [(2, 6), (None, 100)])}
    array, mask = module(batch)
    assert array.shape == (2, 3, CHANNELS)
    assert mask.all()
    values = np.concatenate([batch["a"]["values"], batch["bc"]["values"]], axis=1)
    ranks = np.concatenate([batch["a"]["ranks"], batch["bc"]["ranks"]], axis=1)
    missing = {(1, 0), (1, 1)}
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    for row, column in np.ndindex(2, 3):
        z, u = values[row, column], 16 * ranks[row, column]
        expected = weights["column"][column] + z / np.sqrt(1 + z**2 / 9) * weights["direction"][column]
        for t in range(16):
            expected = expected + min(max(u - t, 0), 1) * weights["bins"][column, t]
        if (row, column) in missing:
            expected = weights["missing"][column]
        np.testing.assert_allclose(array[row, column].detach(), expected, atol=1e-5)


def test_the_best_constant_number_has_the_loss_of_the_variance():
    cells = np.random.default_rng(0).normal(50, 7, 400)
    field = fitted("y", "number", cells.tolist(), role="target")
    target = modality(field).target(field, CHANNELS)
    found = part(field, cells.tolist())
    assert target.loss(torch.zeros(400, 1), found).mean().item() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(target.answer(found["values"], {})[:, 0], cells, rtol=1e-5)


def test_missing_targets_cost_nothing_and_teach_nothing():
    field = fitted("y", "number", [(1, 2), (3, 4)], role="target", columns=("u", "v"))
    target = modality(field).target(field, CHANNELS)
    prediction = torch.randn(3, 2, requires_grad=True)
    loss = target.loss(prediction, part(field, [(1, 2), (None, None), (None, 4)]))
    loss.sum().backward()
    assert loss[1] == 0
    assert (prediction.grad == 0).tolist() == [[False, False], [True, True], [True, False]]


def test_numbers_are_answered_by_column():
    field = fitted("y", "number", [(1, 2), (3, 4)], role="target", columns=("u", "v"))
    assert modality(field).columns(field, np.array([[1.5, 2.5]]), True) == {"u": [1.5], "v": [2.5]}
    truth = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert modality(field).metrics(field, np.array(truth), truth, None)["r2"]["value"] == 1


def test_a_target_without_numbers_is_refused():
    with pytest.raises(BadInput, match="no row of train has a number"):
        fitted("y", "number", [None, "x"], role="target")


# Categories -----------------------------------------------------------------------------------------------------


def test_a_category_is_written_in_one_way():
    cells = [True, np.bool_(False), 3, 3.0, np.int64(3), "3", " red ", 2.5, -1.0]
    assert [label(cell) for cell in cells] == ["true", "false", "3", "3", "3", "3", " red ", "2.5", "-1"]


def test_known_unseen_and_missing_categories():
    field = fitted("c", "category", ["b", "a", None, "b"])
    assert field.options["categories"] == ["a", "b"]
    kind = modality(field)
    cells = ["a", "b", "z", None, "", float("nan")]
    assert [kind.read(field, cell) for cell in cells] == [0, 1, 2, None, None, None]
    assert kind.read_all(field, cells).tolist() == [0, 1, 2, -1, -1, -1]
    assert part(field, cells)["labels"].tolist() == [[0], [1], [2], [3], [3], [3]]


def test_an_unseen_category_in_a_target_names_the_known_ones():
    field = fitted("c", "category", [1, 0, 1], role="target")
    with pytest.raises(Unreadable, match="'7' is none of the categories that the model knows: 0, 1"):
        modality(field).read(field, 7)
    with pytest.raises(Unreadable, match="came, expected one category"):
        modality(field).read(field, [1])


def test_categories_of_a_person_may_be_numbers():
    field = fitted("c", "category", [1, 2], role="target", categories=[1, 2, True])
    assert [modality(field).read(field, cell) for cell in (1, 2, True)] == [0, 1, 2]
    assert modality(field).columns(field, np.eye(3), False)["c"] == ["1", "2", "true"]


@pytest.mark.parametrize(("cells", "message"), [(["a", "a"], "only 'a'"), ([None], "nothing in the rows")])
def test_a_target_of_one_class_is_refused(cells, message):
    with pytest.raises(BadInput, match=message):
        fitted("c", "category", cells, role="target")


def test_many_labels_in_a_cell():
    field = fitted("m", "category", ["a|b", ["b", "c"], None, ""], role="target", labels="many")
    kind = modality(field)
    cells = ["a|c", ["b"], [], None, " c | a "]
    examples = [kind.read(field, cell) for cell in cells]
    assert [None if e is None else e.tolist() for e in examples] == [[1, 0, 1], [0, 1, 0], [0, 0, 0], None, [1, 0, 1]]
    assert kind.read_all(field, cells) is None
    assert kind.collate(field, examples)["labels"].tolist() == [[0, 2], [1, -1], [-1, -1], [4, -1], [0, 2]]
    with pytest.raises(Unreadable, match="'z' is none"):
        kind.read(field, "a|z")


def test_labels_must_be_one_or_many():
    with pytest.raises(BadInput, match="labels must be 'one' or 'many', got 'some'"):
        fitted("c", "category", ["a", "b"], labels="some")


def test_category_tokens_are_sums_of_rows_of_one_table():
    fields = [fitted("c", "category", ["x", "y", "z"]), fitted("m", "category", ["a|b"], labels="many")]
    module = modality(fields[0]).inputs(fields, CHANNELS)
    batch = {"c": part(fields[0], ["y", "?", None]), "m": part(fields[1], ["a|b", [], "b|?"])}
    array, mask = module(batch)
    rows, field = module.embeddings, module.field  # x y z unseen missing, a b unseen missing
    assert mask.all()
    torch.testing.assert_close(array[:, 0], field[0] + rows[[1, 3, 4]])
    torch.testing.assert_close(array[:, 1], field[1] + torch.stack([rows[5] + rows[6], 0 * rows[0], rows[6] + rows[7]]))


def test_unseen_is_learned_from_a_few_hidden_labels():
    field = fitted("m", "category", ["a|b", "c"], labels="many")
    kind = modality(field)
    found = part(field, ["a|b|c", "a", None, [], "?", "b", "c"])
    rare = kind.augment(field, found, lambda purpose, count: torch.full((7, count), 0.5))
    often = kind.augment(field, found, lambda purpose, count: torch.zeros(7, count))
    assert torch.equal(rare["labels"], found["labels"])
    assert often["labels"].tolist() == [
        [3, 3, 3],
        [3, -1, -1],
        [4, -1, -1],
        [-1] * 3,
        [3, -1, -1],
        [3, -1, -1],
        [3, -1, -1],
    ]


def test_losses_are_those_of_numpy():
    one = fitted("c", "category", ["a"] * 16 + ["b"] * 4 + ["c"] * 4, role="target")
    weights = np.array([16, 4, 4]) ** -0.5
    weights *= 24 / (weights * [16, 4, 4]).sum()
    np.testing.assert_allclose(one.options["class_weights"], weights)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target = modality(one).target(one, CHANNELS)
    found = target.loss(logits, part(one, ["a", "c", None, "b"])).numpy()
    logp = np.log(target.answer(logits, {}).numpy())
    smooth = 0.95 * np.eye(3)[[0, 2, 0, 1]] + 0.05 / 3
    expected = -(smooth * weights * logp).sum(1) * [1, 1, 0, 1]
    np.testing.assert_allclose(found, expected, atol=1e-6)

    many = fitted("m", "category", ["a|b|c"], role="target", labels="many")
    target = modality(many).target(many, CHANNELS)
    p, truth = target.answer(logits, {}).numpy(), np.array([[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]])
    expected = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(1) * [1, 1, 0, 1]
    np.testing.assert_allclose(target.loss(logits, part(many, ["a|c", [], None, "b"])).numpy(), expected, atol=1e-6)


def test_balanced_classes_are_not_weighted():
    assert fitted("c", "category", ["a", "a", "a", "b"], role="target").options["class_weights"] is None
    assert fitted("c", "category", ["a"] * 9 + ["b"]).options["class_weights"] is None  # an input


def test_answers_become_columns():
    one = fitted("c", "category", ["no", "yes"], role="target")
    answer = np.array([[0.2, 0.8], [0.7, 0.3]])
    assert modality(one).columns(one, answer, True) == {
        "c": ["yes", "no"],
        "c_probability": [0.8, 0.7],
        "c_probability_no": [0.2, 0.7],
        "c_probability_yes": [0.8, 0.3],
    }
    many = fitted("m", "category", ["a|b"], role="target", labels="many")
    found = modality(many).columns(many, np.array([[0.9, 0.6], [0.1, 0.2]]), False)
    assert found["m"] == ["a|b", ""]
    np.testing.assert_allclose(found["m_probability"], [0.54, 0.72])
    truth = [np.array([1, 1]), np.array([0, 0])]
    assert modality(many).metrics(many, np.array([[0.9, 0.6], [0.1, 0.2]]), truth, None)["accuracy"]["value"] == 1


def test_baselines_give_features_for_every_row():
    number = fitted("x", "number", [1, 2, 3])
    found = modality(number).baseline(number).fit_transform([np.array([1.0]), None])
    np.testing.assert_array_equal(found, [[1.0], [np.nan]])
    one = fitted("c", "category", ["a", "b"])
    maker = modality(one).baseline(one)
    np.testing.assert_array_equal(maker.fit_transform([0, 1, None]).toarray(), [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert maker.transform([2]).sum() == 0  # unseen
    many = fitted("m", "category", ["a|b"], labels="many")
    rows = modality(many).baseline(many).fit_transform([np.array([1, 0, 1]), None])
    np.testing.assert_array_equal(rows.toarray(), [[1, 0, 1], [0, 0, 0]])


def test_cells_are_drawn_escaped():
    number = fitted("x", "number", [(1, 2)], columns=("a", "b"), unit="<m>")
    assert modality(number).draw(number, (3, None)) == "3 &lt;m&gt;, –"
    category = fitted("c", "category", ["<b>"])
    assert modality(category).draw(category, "<b>") == "&lt;b&gt;"
    assert modality(category).draw(category, None) == "–"

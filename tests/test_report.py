import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from perceivers.data.schema import Field, Schema
from perceivers.explain import Average, Explanation, FieldExplanation
from perceivers.modalities import MODALITIES, modality
from perceivers.report import Summary, TargetResult, calibration, figures, model_card, verdict, write_report
from perceivers.report.page import section as section_of
from perceivers.slices import Slice, Slices

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: tags, attributes and text; and whether tags close in order."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def says(self, text: str) -> bool:
        return text in " ".join(" ".join(self.text).split())


def category(categories, name="class", labels="one"):
    options = {"categories": list(categories), "labels": labels, "class_weights": None}
    return Field(name, "category", "target", (name,), options, reason="given")


def number(name="price", role="target", columns=None, **options):
    return Field(name, "number", role, columns or (name,), {**MODALITIES["number"].options, **options})


def result(field, answers, truth, **baselines):
    kind = MODALITIES[field.modality]
    found = {name.replace("_", " "): kind.metrics(field, a, truth, None) for name, a in baselines.items()}
    rows = np.arange(len(truth)) + 1_000
    return TargetResult(
        field,
        kind,
        kind.metrics(field, answers, truth, None),
        answers,
        truth,
        rows,
        found,
        Slices("accuracy" if field.modality == "category" else "mae", 0.5, [], 0),
        Average(
            8, [photo(), PLAN], np.array([0.75, 0.25]), np.array([0.5, 0.5]), np.array([0.6, 0.1]), np.array([0.9, 0.4])
        ),
        lambda row: explanation(field, row),
        {"share": "share of the answer", "attention": "attention: rollout"},
    )


PLAN = Field("plan", "category", "input", ("plan",), {"categories": ["basic"], "labels": "one"})


def explanation(field, row):
    """What a model might say of a row with a picture and a plan."""

    def of(field, share, change, weights, cell):
        return FieldExplanation(
            field, share, change, 0.5, weights, lambda: modality(field).shaded(field, cell, weights)
        )

    looked = of(photo(), 0.75, [1.5], np.full((1, 4), 0.125), [[0, 255], [255, 0]])
    plain = of(PLAN, 0.25, [-0.5], np.full((1, 1), 0.5), "basic")
    answer = dict.fromkeys(modality(field).answered(field), f"answer {row}")
    return Explanation(row, field, answer, [plain, looked])


def classes(k=3, n=127, categories=None, seed=0):
    random = np.random.default_rng(seed)
    truth = np.r_[np.arange(k), random.integers(0, k, n - k)]
    logits = random.normal(size=(n, k)) + 2 * (truth[:, None] == np.arange(k))
    answers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    field = category(categories or [f"class {i}" for i in range(k)])
    return result(field, answers, truth, majority_class=np.full((n, k), 1 / k), random_forest=answers[::-1])


def prices(n=131, k=1, **options):
    truth = np.random.default_rng(1).normal(10, 3, size=(n, k))
    field = number(columns=tuple(f"price {i}" for i in range(k)) if k > 1 else None, **options)
    return result(field, truth + 0.1, truth, mean=np.full((n, k), 10.0), ridge=truth + 2)


def summary(*targets, inputs=(), cell=lambda name, row: f"{name} {row}", **changes):
    given = Summary(
        title="things.csv",
        data="things.csv: 847 rows",
        command="perceivers train things.csv --target class",
        schema=Schema((*inputs, *(t.field for t in targets))),
        targets=list(targets),
        history=[
            {"step": s, "train_loss": 1 / s, "validation_loss": 2 / s if s % 5 == 0 else None, "lr": 1.0}
            for s in range(1, 21)
        ],
        split_sizes={"train": 600, "validation": 120, "test": 127},
        parameters=1_234_567,
        size="tiny",
        seconds=171.2,
        steps=20,
        notes=["3 rows could not be read and were left out."],
        unreadable=["things.csv, row 9, photo: not a picture"],
        cell=cell,
        row_name=lambda row: f"row {row + 1}",
        example=lambda name, row: None,
        versions={"perceivers": "0.1.0", "torch": "2.13.0"},
    )
    return replace(given, **changes)


def page(given, tmp_path):
    write_report(given, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def photo():
    options = {"channels": 1, "patch": 1, "mean": [0.5], "std": [0.2]}
    return Field("photo", "image", "input", ("photo",), {**MODALITIES["image"].options, **options})


def test_the_report_says_what_a_person_needs_to_judge(tmp_path):
    found = page(summary(classes(), prices(unit="€"), inputs=[photo()]), tmp_path)
    for text in (
        "things.csv",
        "Is it good?",
        "Where does it fail?",
        "What does it look at?",
        "taken for",
        "Is it as sure as it should be?",
        "What answers rest on",
        "75 % 60 to 90",
        "Attention: rollout",
        "The model is right in",
        "The model is off by 0.1 € on average",
        "Clearly better than the best simple baseline, ridge (2)",
        "majority class",
        "random forest",
        "Confusion",
        "Class by class",
        "the most confident first",
        "600 train, 120 validation, 127 test",
        "3 rows could not be read",
        "row 9, photo: not a picture",
        "1,234,567 parameters",
        "2 min 51 s",
        "torch 2.13.0",
        "perceivers train things.csv --target class",
    ):
        assert found.says(text), text


def test_the_report_is_one_file_without_script_or_network(tmp_path):
    found = page(summary(classes(), prices(), inputs=[photo()]), tmp_path)
    assert "script" not in found.tags
    assert not {"link", "iframe", "object"} & set(found.tags)
    links = [value for name, value in found.attributes if name in ("src", "href", "xlink:href", "data", "action")]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", content)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in content
    assert "prefers-color-scheme: dark" in content
    assert len(content) < 300_000


def test_names_and_cells_from_data_stay_text(tmp_path):
    text = Field(EVIL, "text", "input", (EVIL,), {**MODALITIES["text"].options, "max_bytes": 99}, reason=EVIL)
    target = classes(categories=[EVIL, "<b>", "&amp;"])
    target = replace(target, field=replace(target.field, name=EVIL))
    given = summary(
        target,
        prices(unit=EVIL),
        inputs=[text],
        cell=lambda name, row: MODALITIES["text"].draw(text, f"{EVIL} {row}"),
        title=EVIL,
        data=EVIL,
        command=EVIL,
        notes=[EVIL],
        unreadable=[EVIL],
        row_name=lambda row: EVIL,
        versions={EVIL: EVIL},
    )
    found = page(given, tmp_path)
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert found.says(EVIL)
    assert found.says("<b>")
    assert found.says("&amp;")
    assert "<script" not in model_card(given)


def test_examples_are_the_most_confident_errors_first_and_drawn():
    truth = np.zeros(200, int)
    answers = np.tile([0.9, 0.1], (200, 1))
    answers[[7, 11, 13]] = [[0.4, 0.6], [0.01, 0.99], [0.2, 0.8]]
    given = result(category(["a", "b"]), answers, truth)
    drawn = []

    def cell(name, row):
        drawn.append((name, row))
        return "<i>drawn</i>"

    section = section_of(summary(given, inputs=[photo()], cell=cell), given)
    assert [example.name for example in section["wrong"]] == ["row 1012", "row 1014", "row 1008"]
    assert (section["wrong"][0].answer, section["wrong"][0].truth) == ("b", "a")
    assert section["wrong"][0].remark == "99 % sure"
    assert ("photo", 1_011) in drawn
    assert all(example.right for example in section["right"])


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_row_of_few_is_explained_once_though_it_is_among_the_worst_and_drawn(rows):
    given = prices(n=rows)
    examples = section_of(summary(given, inputs=[photo()]), given)["looks"]["examples"]
    assert len({e.name for e in examples}) == len(examples) >= min(rows, 3)


def test_confusion_counts_rows_by_true_class():
    truth = np.array([0, 0, 0, 1, 1, 2])
    asked = np.array([0, 0, 1, 1, 1, 0])
    given = result(category("abc"), np.eye(3)[asked], truth)
    matrix = section_of(summary(given), given)["confusion"]
    assert [[count for count, _, _ in cells] for _, cells in matrix["rows"]] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_many_classes_show_the_most_confused_pairs_and_the_worst_classes(tmp_path):
    k = 60
    truth = np.arange(600) % k
    asked = truth.copy()
    asked[truth == 7] = 8
    asked[np.flatnonzero(truth == 3)[:4]] = 5
    given = result(category([f"c{i}" for i in range(k)]), np.eye(k)[asked], truth)
    section = section_of(summary(given), given)
    assert section["confusion"] is None
    assert section["pairs"] == [("c7", "c8", 10, "100 %"), ("c3", "c5", 4, "40 %")]
    assert len(section["classes"]) == 50
    assert section["classes"][0][0] == "c7"
    assert section["more_classes"] == 10
    assert page(summary(given), tmp_path).says("Most confused pairs")


def test_several_labels_and_several_numbers(tmp_path):
    random = np.random.default_rng(2)
    truth = (random.random((113, 3)) < 0.4).astype(int)
    answers = np.clip(truth + random.normal(0, 0.4, size=truth.shape), 0, 1)
    labels = result(category(["red", "green", "blue"], "colours", "many"), answers, truth)
    found = page(summary(labels, prices(k=2)), tmp_path)
    assert found.says("right in all its labels in")
    assert found.says("price 0: predicted against true")
    assert found.says("price 1: predicted against true")
    assert not found.says("Confusion")


def test_a_run_without_history_baselines_or_errors_is_still_a_report(tmp_path):
    truth = np.arange(40) % 2
    perfect = result(category("ab"), np.eye(2)[truth], truth)
    found = page(summary(perfect, history=[], notes=[], unreadable=[], command=""), tmp_path)
    assert found.says("There is no baseline to compare with.")
    assert found.says("With so few test rows the interval is wide.")
    assert not found.says("Learning")
    assert not found.says("Wrong (")


def test_the_same_run_gives_the_same_report(tmp_path):
    given = summary(classes(), prices())
    for name in ("a", "b"):
        write_report(given, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def metric(name, value, low, high, n=500):
    return {"n": n, name: {"value": value, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "says"),
    [
        (
            "accuracy",
            (0.9, 0.85, 0.95),
            (0.7, 0.6, 0.8),
            "Clearly better than the best simple baseline, forest (70.0 %)",
        ),
        ("accuracy", (0.7, 0.6, 0.8), (0.9, 0.85, 0.95), "Clearly worse"),
        ("accuracy", (0.8, 0.7, 0.9), (0.75, 0.65, 0.85), "the intervals overlap"),
        ("mae", (1.0, 0.9, 1.1), (2.0, 1.5, 2.5), "Clearly better"),
        ("mae", (2.0, 1.5, 2.5), (1.0, 0.9, 1.1), "Clearly worse"),
        ("mae", (2.0, None, None), (1.0, None, None), "Too few test rows"),
    ],
)
def test_the_verdict_follows_the_intervals(name, ours, theirs, says):
    constant = metric(name, 0.1, 0.1, 0.1) if name == "accuracy" else metric(name, 9.0, 9.0, 9.0)
    assert says in verdict.verdict(metric(name, *ours), {"constant": constant, "forest": metric(name, *theirs)})


@pytest.mark.parametrize(
    ("name", "difference", "different", "says"),
    [
        (
            "accuracy",
            (0.03, 0.01, 0.05),
            12,
            "Better than the best simple baseline, forest (80.0 %): difference +3.0 percentage points, "
            "95 % interval +1.0 to +5.0, paired over the same test rows.",
        ),
        ("accuracy", (-0.03, -0.05, -0.01), 12, "Worse than"),
        ("accuracy", (0.01, -0.01, 0.03), 12, "Not clearly different from"),
        ("accuracy", (0.03, 0.01, 0.05), 5, "Too few test rows tell it from the best"),
        ("accuracy", (0.03, None, None), 12, "Too few test rows"),
        ("mae", (-0.3, -0.4, -0.2), 12, "Better than the best simple baseline, forest (0.8): difference −0.3 in mean"),
        ("mae", (0.3, 0.2, 0.4), 12, "Worse than"),
    ],
)
def test_the_verdict_follows_the_paired_difference(name, difference, different, says):
    ours = metric(name, 0.82, 0.7, 0.9)  # alone, the intervals overlap
    paired = {"metric": name, **dict(zip(("value", "low", "high"), difference, strict=True)), "different": different}
    much = {**paired, "value": -9 if name == "mae" else 9}
    rivals = {
        "tree": {**metric(name, 0.81, 0.7, 0.9), "paired": much},
        "forest": {**metric(name, 0.8, 0.7, 0.9), "paired": paired},
    }
    assert says in verdict.verdict(ours, rivals)


def test_bars_share_one_scale():
    field = number()
    first, second = verdict.bars(field, metric("mae", 2.0, 1.0, 3.0), {"mean": metric("mae", 3.0, 2.0, 4.0)})
    assert (first.name, first.low, first.value, first.high) == ("this model", 25, 50, 75)
    assert (second.name, second.low, second.value, second.high) == ("mean", 50, 75, 100)
    share = verdict.bars(field, metric("accuracy", 0.5, 0.4, 0.6), {})[0]
    assert (share.low, share.value, share.high, share.text) == (40, 50, 60, "50.0 %")


@pytest.mark.parametrize(
    ("x", "text"),
    [(None, "–"), (0.123456, "0.1235"), (1234.5, "1,234"), (-0.0, "0"), (2.5e12, "2.5e+12"), (12.0, "12")],
)
def test_numbers_are_written_short(x, text):
    assert verdict.written(x) == text


def test_figures_are_svg_in_the_colours_of_the_page():
    random = np.random.default_rng(3)
    values = random.normal(size=2_003)
    history = [{"step": s, "train_loss": 1.0, "validation_loss": None, "lr": None} for s in range(5_000)]
    for svg in (
        figures.learning_curves(history),
        figures.predicted_and_true(values, values),
        figures.residuals(values, np.zeros(2_003)),
    ):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert "currentColor" in svg
        assert "var(--accent)" in svg
        assert not any(sentinel in svg for sentinel in figures.COLOURS)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        assert len(svg) < 200_000


def test_the_card_has_the_results_and_how_to_use_the_model():
    card = model_card(summary(classes(categories=["a|b", "c", "d"]), prices(), inputs=[photo()]))
    assert card.startswith("# things.csv\n")
    assert "Reads photo (image)." in card
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| ") for row in rows[1:4]] == ["this model", "majority class", "random forest"]
    assert len({row.count("|") for row in rows[:4]}) == 1
    assert "perceivers predict model new.csv" in card
    assert 'model = pv.load("model")' in card
    assert "## Licence" in card
    assert "\n\n\n" not in card


def test_a_card_keeps_names_from_becoming_markup():
    given = summary(prices(), title="a | b_c `d`\n# e [x](y)")
    assert model_card(given).startswith("# a \\| b\\_c \\`d\\` \\# e \\[x\\](y)\n")


def test_reliability_counts_rows_by_how_sure_the_model_is():
    confidence = np.array([0.55, 0.58, 0.94, 0.99, 1.0, 0.95])
    right = np.array([True, False, True, True, True, False])
    first, second = calibration.reliability(confidence, right)
    assert (first.n, second.n) == (2, 4)
    assert (first.confidence, second.confidence) == (pytest.approx(0.565), pytest.approx(0.97))
    assert (first.right, second.right) == (0.5, 0.75)
    assert second.low < 0.75 < second.high
    assert "75.0 %" in calibration.panel(np.repeat(confidence, 4), np.repeat(right, 4))["sentence"]


def test_the_curve_has_the_bins_of_the_calibration_error():
    given = classes(k=4, n=500)
    bins = calibration.reliability(given.answers.max(1), given.answers.argmax(1) == given.truth)
    distance = sum(b.n * abs(b.right - b.confidence) for b in bins) / 500
    assert distance == pytest.approx(given.metrics["ece"]["value"])


def test_the_worst_slices_are_shown_first_and_the_clear_ones_marked(tmp_path):
    worst = [
        Slice("plan", "basic", 40, {"value": 0.25, "low": 0.1, "high": 0.4}, True),
        Slice("age", "20 to under 30", 31, {"value": 0.45, "low": 0.3, "high": 0.6}, False),
    ]
    given = replace(classes(), slices=Slices("accuracy", 0.5, worst, 17))
    lines = section_of(summary(given), given)["slices"]["lines"]
    assert [(line.field, line.text, line.interval, line.clear) for line in lines] == [
        ("plan", "25.0 %", "10.0 to 40.0", True),
        ("age", "45.0 %", "30.0 to 60.0", False),
    ]
    found = page(summary(given), tmp_path)
    assert found.says("the worst of 17 slices")
    assert ("class", "track worse") in found.attributes


def test_long_lists_names_and_other_scripts_stay_in_their_place(tmp_path):
    names = [
        f"{'קטגוריה ארוכה' if i % 2 else '👩‍👧‍👦 a very long name of a class'} {i} " + "x" * 90 for i in range(100)
    ]
    found = page(summary(classes(k=100, n=300, categories=names)), tmp_path)
    assert found.says("Most confused pairs")
    assert found.says("xxx…")
    assert "bdi" in found.tags


@pytest.mark.parametrize(("value", "says"), [(0.29, True), (0.37, True), (0.38, False)])
def test_no_better_than_a_constant_is_said(value, says):
    rivals = {"majority class": metric("accuracy", 0.37, 0.3, 0.44), "forest": metric("accuracy", 0.9, 0.8, 0.95)}
    found = verdict.verdict(metric("accuracy", value, value - 0.05, value + 0.05), rivals)
    assert found.startswith("No better than the majority class") == says


def test_a_target_of_dates_is_drawn_as_dates_and_its_errors_in_days(tmp_path):
    truth = np.linspace(18_000, 18_400, 41)[:, None]
    found = page(summary(result(number("due", date=True), truth + 2, truth)), tmp_path)
    assert found.says("is off by 2 days on average")
    assert found.says("off by 2 days")
    assert found.says("2019-04-16 00:00:00")
    assert found.says("predicted − true, days")
    assert found.says("Nov")  # on an axis: no day is counted from 1970

"""The command `explain` and what it writes, with models that are not trained: their numbers mean nothing here."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from perceivers import load
from perceivers.cli import app
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data import infer, sources
from perceivers.errors import BadInput
from perceivers.explain import Explanation, FieldExplanation
from perceivers.model import Model, save_model
from perceivers.report import looks
from perceivers.report.pictures import Panel
from perceivers.training.train import prepare

EVIL = "<script>alert('x')</script> \u202e evil"


def call(*arguments):
    return app(list(map(str, arguments)), exit_on_error=False, print_error=False, result_action="return_value")


def model(data, targets, folder, time=None, series=None):
    table = sources.read(data)
    torch.manual_seed(0)
    config = PerceiverIOConfig(16, 16, 4, 16, self_attends_per_block=1, self_heads=2)
    schema = infer.infer(table, targets, time=time, series=series)
    save_model(Model(prepare(table, schema).schema, config), folder)
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A text, a category and a number ask for two targets; the cells are hostile."""
    folder = tmp_path_factory.mktemp("mixed")
    random = np.random.default_rng(0)
    n = 120
    frame = pl.DataFrame(
        {
            "note": [f"{EVIL} سلام 👩‍👧‍👦 number {i} of the notes" for i in range(n)],
            "kind": random.choice(["one", "two"], n),
            "size": random.normal(size=n),
            "price": random.normal(size=n),
            "good": random.choice(["yes", "no"], n),
        }
    )
    frame.write_csv(folder / "rows.csv")
    frame.head(3).write_csv(folder / "three.csv")
    return folder, model(folder / "rows.csv", ["price", "good"], folder / "model")


def test_json_has_shares_attention_and_the_formulas(mixed, capsys):
    folder, path = mixed
    assert call("explain", path, folder / "three.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(a["row"], a["target"]) for a in found["answers"]] == [(r, t) for r in (1, 2, 3) for t in ("price", "good")]
    for answer in found["answers"]:
        fields = answer["fields"]
        assert set(fields) == {"note", "kind", "size"}
        assert sum(f["share"] for f in fields.values()) == pytest.approx(1)
        assert sum(f["attention"] for f in fields.values()) == pytest.approx(1, abs=1e-4)
        assert sum(fields["note"]["weights"][0]) == pytest.approx(fields["note"]["attention"], abs=1e-3)
    assert "log-probability" in found["method"]["good"]["share"]
    assert "all 8 sets of the 3 fields" in found["method"]["price"]["share"]
    assert "rollout" in found["method"]["price"]["attention"]


def test_lines_for_a_terminal_are_safe(mixed, capsys):
    folder, path = mixed
    assert call("explain", path, folder / "three.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("share" in line and "attention" in line for line in lines if line.startswith("  ")) == 18
    assert "\u202e" not in "".join(lines)


class Tags(HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.tags = []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_every_kind_of_file_is_written(mixed, tmp_path):
    folder, path = mixed
    for ending in ("html", "png", "svg", "json"):
        assert call("explain", path, folder / "three.csv", "--out", tmp_path / f"found.{ending}") == 0
    page = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert "script" not in Tags(page).tags
    assert Tags(page).tags.count("mark") > 6
    assert "https://" not in page
    with Image.open(tmp_path / "found.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**7)) > 50
    assert ElementTree.parse(tmp_path / "found.svg").getroot().tag.endswith("svg")
    assert len(json.loads((tmp_path / "found.json").read_text())["answers"]) == 6


def test_a_row_with_two_targets_is_one_row_of_those_that_are_drawn(mixed, tmp_path, capsys):
    folder, path = mixed
    assert call("explain", path, folder / "rows.csv", "--out", tmp_path / "found.html") == 0
    assert Tags((tmp_path / "found.html").read_text(encoding="utf-8")).tags.count("article") == 2 * 12
    assert "12 of 120 rows" in capsys.readouterr().err


def test_what_changes_mean_is_said(mixed, capsys):
    folder, path = mixed
    call("explain", path, folder / "three.csv")
    printed = capsys.readouterr().out
    assert "× 2: the field makes the answer twice as probable" in printed
    assert "+2: the field adds 2 to the predicted value" in printed
    assert "% sure" in printed


def test_an_unknown_ending_is_refused_before_anything_begins(mixed, tmp_path):
    folder, path = mixed
    with pytest.raises(BadInput, match=r"\.gif.*\.png"):
        call("explain", path, folder / "three.csv", "--out", tmp_path / "found.gif")
    with pytest.raises(BadInput, match="is no folder"):  # before anything is answered
        call("explain", path, folder / "three.csv", "--out", tmp_path / "not/there.html")


def test_pictures_get_a_drawing_and_one_field_no_share(tmp_path, capsys):
    path = model("sample:digits", (), tmp_path / "model")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "eye.png")
    assert call("explain", path, tmp_path / "eye.png", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["answers"][0]["fields"]["image"]["weights"][0]) == 64
    assert set(found["method"]["class"]) == {"attention"}
    only = found["answers"][0]["fields"]["image"]
    assert only["share"] is None
    assert only["change"] is None
    assert call("explain", path, tmp_path / "eye.png") == 0
    printed = capsys.readouterr().out
    assert "eye.png  class: " in printed
    assert "image is the only field" in printed
    assert "100 %" not in printed
    assert call("explain", path, tmp_path / "eye.png", "--out", tmp_path / "a.html") == 0
    assert "img" in Tags((tmp_path / "a.html").read_text()).tags


def test_files_are_named_with_their_folders_and_only_what_was_explained_is_counted(tmp_path, capsys, monkeypatch):
    path = model("sample:digits", (), tmp_path / "model")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / name / "eye.png")
    (tmp_path / "bad.png").write_text("words")
    monkeypatch.chdir(tmp_path)
    assert call("explain", path, "a/eye.png", "b/eye.png", "bad.png", "--out", "found.html") == 1
    page, said = (tmp_path / "found.html").read_text(encoding="utf-8"), capsys.readouterr().err
    assert "2 of 3 rows: found.html" in said
    assert "1 row could not be read" in said
    assert "row 1, a/eye.png" in page
    assert "row 2, b/eye.png" in page
    assert "share of the answer" not in page  # of the only field
    long = "/".join("deep" for _ in range(40)) + "/eye.png"
    explanation = Explanation(0, None, {}, [FieldExplanation(None, None, None, 1.0, None, None, long)])
    assert looks.row_name(explanation) == "row 1, …" + long[-59:]


def logs(count):
    """A long table of `count` logs, eleven events in each; times repeat."""
    random = np.random.default_rng(0)
    rows = [
        {"id": i, "t": float(j // 2), "unit": str(random.choice(["door", "heat"])), "x": random.normal(), "y": i % 2}
        for i in range(count)
        for j in range(11)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("y").cast(pl.String).replace({"0": "no", "1": "yes"}))


def test_of_a_long_table_of_events_its_series_are_the_rows(tmp_path, capsys):
    path = model(logs(30), ["y"], tmp_path / "model", time="t", series="id")
    for count in (2, 14):
        logs(count).drop("y").write_csv(tmp_path / "few.csv")
        assert call("explain", path, tmp_path / "few.csv", "--out", tmp_path / "found.html") == 0
        assert f"{min(count, 12)} of {count} rows" in capsys.readouterr().err
        assert (tmp_path / "found.html").read_text(encoding="utf-8").count('aria-label="11 events') == min(count, 12)


def test_a_card_says_that_there_are_no_events(tmp_path):
    rows = [
        {"log": [{"time": float(t), "unit": "door"} for t in range(2 + i)], "y": ["no", "yes"][i % 2]}
        for i in range(30)
    ]
    path = model(rows, ["y"], tmp_path / "model")
    for cell, said in (("[]", "no events"), ("null", "–")):
        row = f'{{"log": {cell}}}'
        assert call("explain", path, row, "--out", tmp_path / "found.html") == 0
        assert f'<div class="cell" dir="auto">{said}</div>' in (tmp_path / "found.html").read_text(encoding="utf-8")
        (explanation,) = load(path).explain([json.loads(row)])
        assert Panel(explanation).cells == {"log": said}

"""The command `explain` and what it writes, with models that are not trained: their numbers mean nothing here."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from perceivers.cli import app
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data import infer, sources
from perceivers.errors import BadInput
from perceivers.model import Model, save_model
from perceivers.training.train import prepare

EVIL = "<script>alert('x')</script> \u202e evil"


def call(*arguments):
    return app(list(map(str, arguments)), exit_on_error=False, print_error=False, result_action="return_value")


def model(data, targets, folder):
    table = sources.read(data)
    torch.manual_seed(0)
    config = PerceiverIOConfig(16, 16, 4, 16, self_attends_per_block=1, self_heads=2)
    save_model(Model(prepare(table, infer.infer(table, targets)).schema, config), folder)
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
    assert "row 1, eye.png  class: " in printed
    assert "image is the only field" in printed
    assert "100 %" not in printed
    assert call("explain", path, tmp_path / "eye.png", "--out", tmp_path / "a.html") == 0
    assert "img" in Tags((tmp_path / "a.html").read_text()).tags

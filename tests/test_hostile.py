"""A run on rows whose every name and cell would be markup: in the report, the card and explanations it stays text."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from perceivers.cli import app
from perceivers.training.config import Config, Training
from perceivers.training.train import train

ENDS = "</p></td></svg></style></title></pre></template>-->]]>"  # of what it may stand in
NAME = "\"'><evil onevil=evil() style=evil src=evil href=javascript:evil><script>evil()<!--`*_|[evil](evil){{ 7*7 }}"
EVIL = NAME.replace("<script>", f"{ENDS}<script>alert('evil')</script><img src=x onerror=evil()>")
WORD = EVIL.replace(" ", "/")  # a category is a word
VOID = {"meta", "img", "br"}
OURS = (
    "article b bdi body br code dd details div dl dt footer h1 h2 h3 head header html i img li mark meta p pre section "
    "small span strong style summary table tbody td th thead title tr u ul "
    "circle clippath defs g image line path polygon polyline rect svg text use"
)
ROWS = 240


class Page(HTMLParser):
    """The tags and attributes that a browser sees, and the text; each tag must be closed in order."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(content):
    """No tag and no attribute is from the data, which stand there as text."""
    found = Page(content)
    assert found.tags <= set(OURS.split())
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert re.fullmatch(r"[a-z:_-]+\d*", name, re.IGNORECASE), name
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
        if name in ("style", "class", "id", "fill", "width"):
            assert "evil" not in value
    text = " ".join(found.text)
    assert "<evil onevil=evil()" in text
    assert "{{ 7*7 }}" in text
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table with hostile columns, classes, texts and file names, one of no picture; its own name is hostile, too."""
    folder = tmp_path_factory.mktemp("hostile") / NAME[:80]
    folder.mkdir()
    random = np.random.default_rng(0)
    pictures = [f"{i} {NAME}.png" for i in range(ROWS)]
    for name in pictures:
        Image.fromarray(random.integers(0, 256, (5, 5), np.uint8)).save(folder / name)
    (folder / pictures[7]).write_text(EVIL)
    frame = pl.DataFrame(
        {
            f"note {EVIL}": [f"{EVIL} {i} {EVIL}" for i in range(ROWS)],
            f"photo {EVIL}": pictures,
            f"plan {EVIL}": random.choice([f"a{WORD}", f"b{WORD}", f"c{WORD}"], ROWS),
            f"size {EVIL}": random.normal(size=ROWS),
            f"same {EVIL}": EVIL,
            f"class {EVIL}": random.choice([f"yes {EVIL}", f"no {EVIL}"], ROWS),
            f"price {EVIL}": random.normal(size=ROWS),
        }
    )
    frame.write_csv(folder / f"{NAME}.csv")
    frame.head(2).write_csv(folder / "two.csv")
    training = Training(batch_size=8, precision="float32")
    targets = [f"class {EVIL}", f"price {EVIL}"]
    config = Config(size="tiny", steps=2, training=training)
    return train(folder / f"{NAME}.csv", out=folder / "run", targets=targets, config=config, command=f"train {EVIL}")


def test_the_report_shows_hostile_names_and_cells_as_text(folder):
    found = check((folder / "report.html").read_text(encoding="utf-8"))
    text = " ".join(found.text)
    for words in ("note ", "photo ", "plan ", "size ", "class ", "yes ", "no ", "price ", "same ", "train "):
        assert f"{words}\"'><evil" in text, words
    content = (folder / "report.html").read_text(encoding="utf-8")
    slices = content[content.index("The worst slices of the test rows") :]
    assert any(f"<bdi>{letter}&#34;&#39;&gt;&lt;evil/" in slices for letter in "abc")
    assert f"7 {NAME}.png"[:50] in text  # it could not be read
    assert any(name == "alt" for name, _ in found.attributes)  # of pictures


def test_the_card_has_no_markup_of_theirs(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    for kind in ("commonmark", "gfm-like"):
        reader = MarkdownIt(kind, {"html": True, "linkify": False})
        flat = [token for block in reader.parse(card) for token in (block, *(block.children or ()))]
        assert not [t for t in flat if t.type in ("html_block", "html_inline", "image", "link_open")]
        assert any("<evil onevil=evil()" in t.content for t in flat if t.type == "text")
        check(reader.render(card))


@pytest.mark.parametrize("ending", ["html", "svg"])
def test_explanations_show_hostile_cells_as_text(folder, ending):
    out = folder / f"found.{ending}"
    arguments = ["explain", str(folder), str(folder.parent / "two.csv"), "--out", str(out)]
    assert app(arguments, exit_on_error=False, print_error=False, result_action="return_value") == 0
    if ending == "html":
        check(out.read_text(encoding="utf-8"))
        return
    root = ElementTree.parse(out).getroot()
    assert not [e.tag for e in root.iter() if "evil" in e.tag or "script" in e.tag]
    assert not [name for e in root.iter() for name, value in e.items() if name.startswith("on") or "evil" in value]

"""README, docs and examples: their code runs, what they show is what it prints, and the pages build offline."""

import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from docs import made, pages
from perceivers.cli import app
from perceivers.modalities import MODALITIES
from perceivers.published import PRESETS
from perceivers.training.defaults import SIZES

DOCS = pages.ROOT / "docs"
README = "README.md"
RUNNING = [name for name, page in pages.PAGES.items() if pages.blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", RUNNING)
def test_the_code_of_a_page_runs_and_prints_what_stands_there(name, tmp_path):
    for ran in pages.run(pages.PAGES[name].read_text(encoding="utf-8"), tmp_path):
        if ran.written is not None:
            shown, printed = pages.words(ran.written), pages.words(ran.printed)
            assert shown == printed, f"out of date: python -m docs.pages {name}\n{ran.code}"
    if name == README:
        assert (tmp_path / "runs/wine/report.html").stat().st_size > 10_000
        assert (tmp_path / "predictions.csv").read_text().count("\n") == 179


def test_the_readme_has_the_sizes_and_the_commands_that_there_are():
    readme = (pages.ROOT / README).read_text(encoding="utf-8")
    for name, size in SIZES.items():
        row = f"| `{name}` | {size.num_latents} × {size.latent_channels} | {size.self_attends} | {size.self_heads} |"
        assert row in readme
    for command in (name for name in app if not name.startswith("-")):
        assert re.search(rf"^\| .*`{command}`.* \|", readme, re.MULTILINE), command


@pytest.mark.parametrize("name", pages.PAGES)
def test_what_is_made_from_the_code_stands_on_the_page_as_it_is_now(name):
    text = pages.PAGES[name].read_text(encoding="utf-8")
    assert made.filled(text) == text, "out of date: python -m docs.made"
    assert not re.search(r"^```{(?!toctree|eval-rst)", text, re.MULTILINE), "what only Sphinx would fill"
    assert text.count("<!-- made: ") == text.count("<!-- made -->")


def test_code_is_shown_by_its_name():
    shown = made.source("docs/made.py", "made")
    assert shown.startswith("```py\ndef made(name: str) -> str:\n")
    assert "[docs/made.py](../docs/made.py)" in shown
    assert "@dataclass" in made.source("perceivers/training/config.py", "Training")
    with pytest.raises(LookupError):
        made.source("docs/made.py", "nothing")


def test_every_page_that_should_run_does():
    assert {README, "docs/getting-started.md", "docs/data.md", "docs/how-it-works.md", "docs/python.md"} <= {*RUNNING}


@pytest.mark.parametrize("name", pages.EXAMPLES)
def test_an_example_runs_at_reduced_size_and_draws(name, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPS", "2")
    page = pages.as_page(pages.EXAMPLES[name], tmp_path, "pictures")
    assert page.startswith("# ")
    assert "```text" in page
    assert "![" in page
    MODALITIES.pop("angle", None)


@pytest.mark.parametrize("name", pages.EXAMPLES)
def test_the_page_of_an_example_has_its_text_and_code(name):
    script = pages.EXAMPLES[name]
    page = (pages.SHOWN / f"{script.stem}.md").read_text(encoding="utf-8")
    stale = f"out of date: python -m docs.pages {name}"
    assert [code for _, code in pages.blocks(page)] == [text for kind, text in pages.cells(script) if kind == "python"]
    assert all(text in page for kind, text in pages.cells(script) if kind == "markdown"), stale
    for picture in re.findall(r"^!\[.*\]\((.*)\)$", page, re.MULTILINE):
        assert (pages.SHOWN / picture).stat().st_size > 1_000


def test_a_block_knows_its_language_its_output_and_what_must_not_change(tmp_path):
    page = (
        "a\n\n```python\nx = 2\n```\n\n```python\nprint(x + 0.5)\n```\n\n```text\nold\n```\n\n```bash\necho hi\n```\n"
    )
    assert pages.with_outputs(page, tmp_path) == page.replace("old", "2.5")
    assert [(ran.written, ran.printed) for ran in pages.run(page, tmp_path)] == [
        (None, ""),
        ("old\n", "2.5\n"),
        (None, "hi\n"),
    ]
    assert pages.words("r2   0.45  −1e-05, 12,345 rows") == pages.words("r2 -0.1 3, 9 rows")
    assert pages.words("3 rows") != pages.words("3 columns")
    with pytest.raises(RuntimeError, match="exit code 3"):
        pages.run_bash("exit 3", tmp_path)


@pytest.mark.parametrize("name", pages.PAGES)
def test_what_a_page_points_to_is_there(name):
    page = pages.PAGES[name]
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!http)([^)#]+)", prose):
        assert (page.parent / link).exists(), link


class Addresses(HTMLParser):
    """What a browser would fetch to show a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.found.append(values.get("href") or "")


def test_the_pages_build_without_a_warning_and_need_no_network(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        addresses = Addresses()
        addresses.feed(page.read_text(encoding="utf-8"))
        assert not [found for found in addresses.found if re.match(r"(https?:)?//", found)], page
    options = (tmp_path / "options.html").read_text(encoding="utf-8")
    assert all(f'id="perceivers-{command}"' in options for command in app if not command.startswith("-"))
    assert all(f'id="{name}"' in (tmp_path / "data.html").read_text(encoding="utf-8") for name in MODALITIES)
    assert all(name in (tmp_path / "published.html").read_text(encoding="utf-8") for name in PRESETS)
    assert "softmax" in (tmp_path / "how-it-works.html").read_text(encoding="utf-8")


def test_the_figure_of_the_two_models_can_be_drawn_again(tmp_path):
    draw = runpy.run_path(str(DOCS / "figures/perceivers.py"))["draw"]
    first, second = (draw(tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert first == second
    assert all(word in first for word in ("encode", "process", "decode", "latents", "inputs", "outputs"))

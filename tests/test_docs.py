"""The pages' code runs, and the figures can be drawn again."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("perceiver-and-perceiver-io.md",)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_points_to_is_there(page):
    prose = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!http)([^)#]+)", prose):
        assert (DOCS / link).exists(), link


def test_the_figure_of_the_two_models_can_be_drawn_again(tmp_path):
    draw = runpy.run_path(str(DOCS / "figures/perceivers.py"))["draw"]
    first, second = (draw(tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert first == second
    assert all(word in first for word in ("encode", "process", "decode", "latents", "inputs", "outputs"))

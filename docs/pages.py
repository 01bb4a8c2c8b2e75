"""The code of README, docs and examples: it runs, block after block, and what it prints is written below it.

`python -m docs.pages [PAGE …]` runs pages and writes their outputs; an example is a script in jupytext's percent
format, which becomes a page with its outputs and pictures. Without a PAGE: all of them. The tests run the same blocks.
Not concerned with how a page looks (`conf.py`), nor with what is made from the code (`made.py`).
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLANS = {"design.md"}  # its code shows what is meant, some of it not yet there
PAGES = {
    p.relative_to(ROOT).as_posix(): p
    for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if p.name not in PLANS
}
EXAMPLES = {p.relative_to(ROOT).as_posix(): p for p in sorted((ROOT / "examples").glob("*.py"))}
SHOWN = ROOT / "docs/examples"
PICTURES = (".svg", ".png")
# A block that runs; where a block `text` follows, it holds what was printed.
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```\n(?:\n(```text\n)(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-−]?\d+([.,]\d+)*(e[+-]?\d+)?")


class Ran(NamedTuple):
    """A block that has run, where its output stands on the page (None: nowhere), and what it printed."""

    code: str
    written: str | None
    place: tuple[int, int] | None
    printed: str


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each block that runs."""
    return [(found[1], found[2]) for found in BLOCK.finditer(text)]


def run(text: str, folder: Path) -> Iterator[Ran]:
    """Runs the blocks of a page in order, in `folder`; python ones share their names. Raises where one fails."""
    names: dict[str, Any] = {}
    for found in BLOCK.finditer(text):
        printed = run_bash(found[2], folder) if found[1] == "bash" else run_python(found[2], folder, names)
        yield Ran(found[2], found[4], found.span(4) if found[3] else None, printed)


def run_bash(code: str, folder: Path) -> str:
    """What the commands print on stdout. Raises CalledProcessError."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", code], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{code}\nexit code {done.returncode}\n{done.stderr}")
    return done.stdout


def run_python(code: str, folder: Path, names: dict[str, Any]) -> str:
    """What the code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.chdir(folder):
        exec(compile(code, "page", "exec"), names)
    return printed.getvalue()


def words(output: str) -> list[str]:
    """An output without its numbers and blanks: what must be the same on every machine."""
    return NUMBER.sub("#", output).split()


def with_outputs(text: str, folder: Path) -> str:
    """The page with the outputs of its blocks as they are now."""
    for ran in reversed(list(run(text, folder))):
        if ran.place:
            start, stop = ran.place
            text = text[:start] + ran.printed.rstrip() + "\n" + text[stop:]
    return text


def cells(script: Path) -> list[tuple[str, str]]:
    """("markdown" or "python", content) of each cell of a script in the percent format."""
    found = []
    for markdown, content in CELL.findall(script.read_text(encoding="utf-8")):
        text = re.sub(r"^# ?", "", content, flags=re.MULTILINE) if markdown else content
        found.append(("markdown" if markdown else "python", text.strip() + "\n"))
    return found


def as_page(script: Path, folder: Path, pictures: str) -> str:
    """An example as a page: its text, its code, what that printed, and the pictures that it wrote into `folder`."""
    names: dict[str, Any] = {"__name__": "example"}
    lines = []
    for kind, content in cells(script):
        if kind == "markdown":
            lines.append(content)
            continue
        before = set(folder.iterdir())
        printed = run_python(content, folder, names)
        lines.append(f"```python\n{content}```\n")
        if printed.strip():
            lines.append(f"```text\n{printed.rstrip()}\n```\n")
        new = sorted(p for p in set(folder.iterdir()) - before if p.suffix in PICTURES)
        lines += [f"![{p.stem.replace('-', ' ')}]({pictures}/{p.name})\n" for p in new]
    lines.append(f"*Written by `python -m docs.pages examples/{script.name}`.*\n")
    return "\n".join(lines)


def write(name: str) -> None:
    """Runs a page or an example and writes its outputs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name in PAGES:
            text = PAGES[name].read_text(encoding="utf-8")
            PAGES[name].write_text(with_outputs(text, folder), encoding="utf-8")
            return
        script = EXAMPLES[name]
        page = as_page(script, folder, script.stem)
        SHOWN.mkdir(exist_ok=True)
        (SHOWN / f"{script.stem}.md").write_text(page, encoding="utf-8")
        shutil.rmtree(SHOWN / script.stem, ignore_errors=True)
        (SHOWN / script.stem).mkdir()
        for picture in folder.iterdir():
            if picture.suffix in PICTURES:
                shutil.copy(picture, SHOWN / script.stem)


def main(names: list[str]) -> None:
    """The command."""
    for name in names or [*PAGES, *EXAMPLES]:
        print(name, flush=True)
        write(name)


if __name__ == "__main__":
    main(sys.argv[1:])

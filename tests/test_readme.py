"""The README's code blocks run, in order, as a user would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    return found


def test_the_commands_run(tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in blocks("bash"):
        done = subprocess.run(
            ["bash", "-euc", block], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/wine/report.html").stat().st_size > 10_000
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 179


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_runs(block, capsys):
    exec(compile(block, "README.md", "exec"), {})

"""The environments of the packages that we are compared with: found, or made in the user's cache.

An environment holds the package and what it needs, and reads torch from ours: both sides then multiply with the same
build. Not concerned with running them (`process.py`).
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perceivers.errors import BadInput, Failed
from perceivers.terminal import say


@dataclass(frozen=True)
class Rival:
    """A package: what is installed, what is imported, and whether pip may choose what it needs."""

    packages: tuple[str, ...]
    module: str
    alone: bool


RIVALS = {
    "transformers": Rival(("transformers>=5,<6",), "transformers", alone=False),
    "perceiver-pytorch": Rival(("perceiver-pytorch==0.11.0",), "perceiver_pytorch", alone=True),
    # Its pins are of 2022; it runs with today's torch.
    "perceiver-io": Rival(("perceiver-io==0.6.0", "fairscale==0.4.13"), "perceiver", alone=True),
}


def cache() -> Path:
    """Where environments are made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perceivers" / "rivals"


def find(given: Iterable[str]) -> dict[str, str]:
    """{rival: its Python}: as `given` (NAME=PYTHON), else as installed by `install`, else our own where it has it.

    Raises BadInput for another name, or a Python that is not there.
    """
    found = {}
    for name, rival in RIVALS.items():
        own = python_of(cache() / name)
        if own.exists():
            found[name] = str(own)
        elif importlib.util.find_spec(rival.module):
            found[name] = sys.executable
    for one in given:
        name, _, python = one.partition("=")
        if name not in RIVALS or not python:
            raise BadInput(f"--rival {one}: expected NAME=PYTHON, NAME being one of {', '.join(RIVALS)}")
        if not Path(python).is_file():
            raise BadInput(f"--rival {one}: {python} is not there: give the Python of an environment that has {name}")
        found[name] = str(Path(python).absolute())
    return found


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(name: str) -> None:
    """Makes the environment of a rival, unless it is there. Raises Failed with pip's last line."""
    rival, place = RIVALS[name], cache() / name
    if python_of(place).exists():
        say(f"{name}: is there: {place}")
        return
    making = place.with_name(f".making-{name}")
    _run([sys.executable, "-m", "venv", "--clear", str(making)], name)
    site = _run([str(python_of(making)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], name).strip()
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    Path(site, "torch_of_perceivers.pth").write_text(f"{Path(torch.origin).parent.parent}\n", encoding="utf-8")
    options = ["--no-deps"] if rival.alone else []
    pip = [str(python_of(making)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, *options, *rival.packages], name)
    making.rename(place)  # whole or not at all; an environment's Python does not know its own folder
    say(f"{name}: installed: {place}")


def _run(command: list[str], name: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Failed(f"{name}: cannot be installed: {last}")
    return done.stdout

"""The pinned versions go together: each package is pinned once, those installed here are the pinned ones, and each can
be installed in the oldest Python that the project names.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


LINES = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
NAMES = [canonical(line.split("==")[0]) for line in LINES]
PINNED = dict(zip(NAMES, (line.split("==")[1] for line in LINES), strict=True))
HERE = {canonical(one.metadata["Name"]): one for one in metadata.distributions()}


def test_each_package_is_pinned_once_to_the_version_that_is_tested():
    assert sorted(NAMES) == sorted(set(NAMES))
    here = {name: one.version.split("+")[0] for name, one in HERE.items() if name in PINNED}
    assert here == {name: version for name, version in PINNED.items() if name in HERE}


def test_each_pinned_version_can_be_installed_in_the_oldest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    asked = {name: HERE[name].metadata["Requires-Python"] or "" for name in PINNED if name in HERE}
    assert {name: python for name, python in asked.items() if oldest not in SpecifierSet(python)} == {}

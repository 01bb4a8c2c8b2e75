"""The pinned versions go together: each package is pinned once, and those installed here are the pinned ones."""

import re
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_package_is_pinned_once_to_the_version_that_is_tested():
    lines = [line.strip() for line in CONSTRAINTS.read_text().splitlines() if "==" in line and line[0] != "#"]
    names = [canonical(line.split("==")[0]) for line in lines]
    assert sorted(names) == sorted(set(names))
    here = {canonical(one.metadata["Name"]): one.version.split("+")[0] for one in metadata.distributions()}
    pinned = dict(zip(names, (line.split("==")[1] for line in lines), strict=True))
    assert {name: here[name] for name in pinned if name in here} == {n: v for n, v in pinned.items() if n in here}

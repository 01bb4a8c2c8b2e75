"""Object File Format (off), as text: the corners and triangles of a mesh.

Format: Geomview's manual, "OFF Files". Colours, normals and texture coordinates are left out, and so are faces of fewer
than three corners. Not concerned with what is made of a mesh (`point_files.py`).
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from perceivers.errors import Unreadable

START = re.compile(
    r"\s*(?:ST)?C?N?OFF\s*(\d+)\s+(\d+)(?:\s+\d+)?[^\S\n]*\n", re.ASCII
)  # the counts may stand behind OFF


def read_off(path: Path) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"]]:
    """The corners, and for each triangle three of them; faces of more corners are cut into fans. Raises Unreadable, and
    ValueError where a line holds no numbers.
    """
    text = re.sub(r"#.*", "", path.read_text(encoding="latin-1"))
    start = START.match(text)
    if start is None:
        raise Unreadable("no OFF with the numbers of corners and faces at its start: save it as off in text, or as ply")
    corners, faces = int(start[1]), int(start[2])
    lines = [line for line in text[start.end() :].splitlines() if line.strip()]
    if len(lines) < corners + faces:
        declared = f"{corners:,} corners and {faces:,} faces are declared"
        raise Unreadable(f"cut short: {declared}, {len(lines):,} lines are there: copy it anew")
    if not corners or not faces:
        return np.zeros((corners, 3)), np.zeros((0, 3), np.int64)
    triangles = _triangles(lines[corners : corners + faces])
    if triangles.min(initial=0) < 0 or triangles.max(initial=0) >= corners:
        raise Unreadable(f"a face has a corner outside the range of the {corners:,} that there are: export it anew")
    return np.loadtxt(lines[:corners], comments=None, usecols=(0, 1, 2), ndmin=2), triangles


def _triangles(lines: Sequence[str]) -> Int[np.ndarray, "t 3"]:
    """Faces, each the number of its corners, these, and perhaps a colour, as triangles."""
    by_size = defaultdict(list)
    for line in lines:
        size = int(line.split(None, 1)[0])
        if 2 * size > len(line):
            raise Unreadable(f"a face of {size:,} corners does not name them: {line.strip():.40}")
        by_size[size].append(line)
    found = [np.zeros((0, 3), np.int64)]
    for size, alike in by_size.items():
        if size > 2:
            faces = np.loadtxt(alike, np.int64, comments=None, usecols=range(1, size + 1), ndmin=2)
            found += [faces[:, [0, i, i + 1]] for i in range(1, size - 1)]
    return np.concatenate(found)

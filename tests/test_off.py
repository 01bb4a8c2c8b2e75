"""Meshes in off files: against what was written and trimesh's reader."""

import numpy as np
import pytest
import trimesh

from perceivers.errors import Unreadable
from perceivers.modalities.off import read_off


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("mesh", [trimesh.creation.icosphere(2), trimesh.creation.torus(1, 0.4, 17, 13)])
def test_triangles_are_those_that_trimesh_reads(tmp_path, mesh):
    path = tmp_path / "a.off"
    mesh.export(path)
    vertices, faces = read_off(path)
    theirs = trimesh.load(path, process=False)
    np.testing.assert_array_equal(vertices, theirs.vertices)
    np.testing.assert_array_equal(faces, theirs.faces)


def test_polygons_are_cut_into_fans(tmp_path):
    random = np.random.default_rng(0)
    angles = np.sort(random.uniform(0, 2 * np.pi, 11))
    flat = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(11)])
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    corners = "\n".join(" ".join(map(repr, row)) for row in (flat @ turn).tolist())
    faces = "3 0 1 2\n5 0 2 3 4 5\n2 5 6\n7 0 5 6 7 8 9 10\n"
    vertices, triangles = read_off(written(tmp_path / "a.off", f"OFF\n11 4 0\n{corners}\n{faces}"))
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert len(triangles) == 9
    np.testing.assert_allclose(area, np.sin(np.diff(angles, append=angles[0] + 2 * np.pi)).sum() / 2)


@pytest.mark.parametrize(
    "start", ["OFF\n4 1 0\n", "OFF 4 1 6\n", "OFF4 1 0\n", "# made\nOFF # so\n\n4 1\n", "COFF\n4 1 0\n"]
)
def test_starts_comments_colours_and_empty_lines(tmp_path, start):
    body = "0 0 0 255 0 0 255\n1 0 0 255 0 0 255 # the second\n\n0 1 0 0 0 0 0\n1e-1 -2 3.5\n3 0 1 3 0.5 0.5 0.5\n"
    vertices, faces = read_off(written(tmp_path / "a.off", start + body))
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, -2, 3.5]])
    np.testing.assert_array_equal(faces, [[0, 1, 3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no OFF with the numbers"),
        ("OFF BINARY\n", "no OFF with the numbers"),
        ("OFF\n3 1 0\n0 0 0\n", "cut short: 3 corners and 1 faces are declared, 1 lines are there"),
        ("OFF\n1 1 0\n0 0 0\n3 0 0 1\n", "outside the range of the 1 that there are"),
        ("OFF\n1 1 0\n0 0 0\n3 0 0 -1\n", "outside the range"),
        ("OFF\n1 1 0\n0 0 0\n99999999 0 0 0\n", "a face of 99,999,999 corners does not name them: 99999999 0 0 0"),
    ],
)
def test_damage(tmp_path, text, message):
    with pytest.raises(Unreadable, match=message):
        read_off(written(tmp_path / "a.off", text))

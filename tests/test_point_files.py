"""Files of points and meshes: against what was written, and every kind of damage."""

import struct
import sys

import laspy
import numpy as np
import pytest
import trimesh
from plyfile import PlyData, PlyElement

from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import point_files

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-5, 5, (101, 3))
COLOURS = RNG.integers(0, 256, (101, 3))


def ply(path, text=False, points=POINTS, colours=True):
    names = [("x", "f8"), ("y", "f8"), ("z", "f8")] + [(c, "u1") for c in ("red", "green", "blue")] * colours
    columns = (*points.T, *COLOURS[: len(points)].T) if colours else points.T
    rows = np.array(list(zip(*columns, strict=True)), dtype=names)
    PlyData([PlyElement.describe(rows, "vertex")], text=text).write(str(path))
    return path


def pcd(path, how="binary", points=POINTS, declared=None):
    """Coordinates and colours, the latter packed as the format has it."""
    count = len(points) if declared is None else declared
    packed = (COLOURS[: len(points)] * [65536, 256, 1]).sum(1).astype(np.uint32)
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\n"
        f"COUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {how}\n"
    )
    if how == "ascii":
        body = "\n".join(f"{x} {y} {z} {c}" for (x, y, z), c in zip(points, packed, strict=True)).encode()
    elif how == "binary_compressed":
        plain = points.T.astype("<f4").tobytes() + packed.tobytes()  # all of x, all of y, …
        pieces = [plain[i : i + 32] for i in range(0, len(plain), 32)]
        content = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)  # LZF that finds nothing to shorten
        body = struct.pack("<II", len(content), len(plain)) + content
    else:
        rows = np.zeros(len(points), [("p", "<f4", 3), ("c", "<u4")])
        rows["p"], rows["c"] = points, packed
        body = rows.tobytes()
    path.write_bytes(header.encode() + body)
    return path


def las(path, point_format=3, version="1.2"):
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales = [1e-5] * 3
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = POINTS.T
    cloud.intensity = np.arange(101)
    if point_format in (3, 7):
        cloud.red, cloud.green, cloud.blue = COLOURS.T
    cloud.write(str(path))
    return path


def xyz(path, points=POINTS):
    np.savetxt(path, points)
    return path


def npz(path):
    np.savez(path, points=POINTS, intensity=np.arange(101), classes=np.arange(7))
    return path


def colours_of(cloud):
    return np.stack([cloud.features[name] for name in ("red", "green", "blue")], axis=1)


@pytest.mark.parametrize("text", [False, True])
def test_ply(tmp_path, text):
    found = point_files.read(ply(tmp_path / "a.ply", text))
    np.testing.assert_allclose(found.points, POINTS, atol=1e-6)
    np.testing.assert_array_equal(colours_of(found), COLOURS)


@pytest.mark.parametrize("how", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path, how):
    found = point_files.read(pcd(tmp_path / "a.pcd", how))
    np.testing.assert_allclose(found.points, POINTS, atol=1e-6)
    np.testing.assert_array_equal(colours_of(found), COLOURS)


def test_points_without_a_return_are_left_out_of_a_pcd_alone(tmp_path):
    points = POINTS.copy()
    points[[3, 50]] = np.nan
    found = point_files.read(pcd(tmp_path / "a.pcd", points=points))
    np.testing.assert_allclose(found.points, np.delete(POINTS, [3, 50], axis=0), atol=1e-6)
    np.testing.assert_array_equal(colours_of(found), np.delete(COLOURS, [3, 50], axis=0))
    for path in (xyz(tmp_path / "a.xyz", points), ply(tmp_path / "a.ply", points=points)):
        with pytest.raises(Unreadable, match=r"point 4: a coordinate is not a finite number \(2 such points\)"):
            point_files.read(path)


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
@pytest.mark.parametrize(("point_format", "version"), [(3, "1.2"), (7, "1.4")])
def test_las(tmp_path, name, point_format, version):
    found = point_files.read(las(tmp_path / name, point_format, version))
    np.testing.assert_allclose(found.points, POINTS, atol=1e-5)
    np.testing.assert_array_equal(found.features["intensity"], np.arange(101))
    np.testing.assert_array_equal(colours_of(found), COLOURS)


@pytest.mark.parametrize(("point_format", "version"), [(3, "1.2"), (6, "1.4")])
def test_a_laz_with_any_bytes_changed_is_read_or_refused(tmp_path, point_format, version):
    content = np.frombuffer(las(tmp_path / "a.laz", point_format, version).read_bytes(), np.uint8)
    random, path, refused = np.random.default_rng(0), tmp_path / "b.laz", 0
    for number in range(120):
        changed = content.copy()
        at = random.integers([len(content), 500][number % 2], size=3)
        changed[at] = random.choice([0, 127, 128, 255], 3)
        path.write_bytes(changed[: random.integers(len(content)) if number % 3 == 0 else None].tobytes())
        try:
            point_files.read(path)
        except Unreadable:
            refused += 1
    assert refused > 40


def test_npz_npy_xyz_and_arrays(tmp_path):
    found = point_files.read(npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(found.points, POINTS)
    assert list(found.features) == ["intensity"]
    wide = np.column_stack([POINTS, np.arange(101)])
    np.save(tmp_path / "a.npy", wide)
    (tmp_path / "b.xyz").write_text("# x y z\n" + "\n".join(", ".join(map(str, row)) for row in wide))
    for cell in (tmp_path / "a.npy", xyz(tmp_path / "a.xyz", wide), tmp_path / "b.xyz", wide, wide.tolist()):
        found = point_files.read(cell)
        np.testing.assert_allclose(found.points, POINTS)
        np.testing.assert_array_equal(found.features["column 4"], np.arange(101))
    flat = point_files.read([[1, 2], [3, 4]])
    np.testing.assert_array_equal(flat.points, [[1, 2, 0], [3, 4, 0]])


@pytest.mark.parametrize("ending", ["off", "obj", "stl", "ply"])
def test_meshes_are_sampled_evenly_by_area(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    trimesh.creation.box(extents=(1, 2, 3)).export(path)
    points = point_files.read(path).points
    assert points.shape == (8_192, 3)
    np.testing.assert_array_equal(points, point_files.read(path).points)  # seeded
    scaled = np.abs(points) / [0.5, 1, 1.5]
    np.testing.assert_allclose(scaled.max(1), 1, atol=1e-6)  # on the surface
    shares = np.bincount(scaled.argmax(1), minlength=3) / len(points)
    np.testing.assert_allclose(shares, np.array([6, 3, 2]) / 11, atol=0.02)
    inside = points[scaled.argmax(1) == 0][:, 1:] / [1, 1.5]
    np.testing.assert_allclose([inside.mean(), (inside**2).mean()], [0, 1 / 3], atol=0.02)  # evenly on a side


def test_a_mesh_of_vertices_alone_is_a_cloud_in_obj_and_ply(tmp_path):
    (tmp_path / "a.obj").write_text("# points\n" + "\n".join(f"v {x} {y} {z}" for x, y, z in POINTS))
    np.testing.assert_allclose(point_files.read(tmp_path / "a.obj").points, POINTS)


@pytest.mark.parametrize("cell", [None, float("nan"), ""])
def test_missing_cells(cell):
    assert point_files.read(cell) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("word", "'word' came, expected the path of a cloud of points"),
        ([], "no points in it"),
        (np.zeros((0, 3)), "no points in it"),
        ([1.0, 2.0, 3.0], "an array of 3 came, expected a row for each point"),
        ([[1.0], [2.0]], "an array of 2 × 1 came"),
        ([[1, 2, 3], [4, 5]], "points must be rows of numbers"),
        ([["a", "b", "c"]], "points must be rows of numbers"),
        ([[1, 2, None]], "points must be rows of numbers"),
        ([[1, 2, float("inf")]], "point 1: a coordinate is not a finite number"),
        ([[1, 2, 3, 4], [1, 2, 3, float("nan")]], "point 2: column 4 is not a finite number"),
    ],
)
def test_arrays_that_are_no_cloud(cell, message):
    with pytest.raises(Unreadable, match=message):
        point_files.read(cell)


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def headed(path):
    """A text without its last lines."""
    return written(path, b"".join(path.read_bytes().splitlines(keepends=True)[:50]))


def lying(path, at, number):
    """A file in whose header a number of four bytes says something else."""
    content = bytearray(path.read_bytes())
    content[at : at + 4] = struct.pack("<I", number)
    path.write_bytes(content)
    return path


def lying_pcd(path, at, number):
    return lying(path, path.read_bytes().index(b"binary_compressed\n") + len(b"binary_compressed\n") + at, number)


def many(path):
    return written(path, pcd(path).read_bytes().replace(b"POINTS 101", b"POINTS 9000000000"))


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def objects(path):
    (np.savez if path.suffix == ".npz" else np.save)(path, np.array([{"a": 1}], object))
    return path


def others(path):
    np.savez(path, a=POINTS, b=POINTS)
    return path


def lying_ply(path):
    return written(path, ply(path, text=True).read_bytes().replace(b"vertex 101", b"vertex 9000000000000"))


OFF = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n"
DAMAGED = {
    "cut ply": (lambda p: cut(ply(p / "a.ply")), "damaged, cut short, or not ply: .*early end-of-file"),
    "cut ascii ply": (lambda p: cut(ply(p / "a.ply", True)), "damaged, cut short, or not ply"),
    "ply with a cut header": (lambda p: cut(ply(p / "a.ply"), 0.02), "damaged, cut short, or not ply"),
    "ply that declares too much": (lambda p: lying_ply(p / "a.ply"), "declares more points than memory holds"),
    "ply without z": (
        lambda p: written(p / "a.ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n"),
        "no y among its columns",
    ),
    "cut las": (lambda p: cut(las(p / "a.las")), r"cut short: 101 points are declared, \d+ are there"),
    "las that declares too much": (
        lambda p: lying(las(p / "a.las"), 107, 2**31),
        "its header declares 2,147,483,648 points, more than 50,000,000",
    ),
    "las that declares more": (lambda p: lying(las(p / "a.las"), 107, 102), "102 points are declared, 101 are there"),
    "las of many records": (
        lambda p: lying(las(p / "a.las"), 100, 2**31),
        "damaged: its header declares 2,147,483,648 records beside the points",
    ),
    "cut laz": (lambda p: cut(las(p / "a.laz")), "cut short: the table of its chunks is not there"),
    "laz with a cut header": (lambda p: cut(las(p / "a.laz"), 0.2), "cut short: its points begin at byte"),
    "laz that declares more": (lambda p: lying(las(p / "a.laz"), 107, 2**24), "damaged, cut short, or not laz"),
    "las with a cut header": (lambda p: cut(las(p / "a.las"), 0.03), "not las, or its header is cut short"),
    "cut pcd": (lambda p: cut(pcd(p / "a.pcd"), 0.7), "cut short: 101 points are declared, "),
    "cut ascii pcd": (lambda p: cut(pcd(p / "a.pcd", "ascii"), 0.52), "cut short, or not pcd: the number of columns"),
    "ascii pcd without its end": (lambda p: headed(pcd(p / "a.pcd", "ascii")), "cut short: 101 points are declared, "),
    "ascii pcd of fewer columns": (
        lambda p: written(p / "a.pcd", pcd(p / "b.pcd", "ascii").read_bytes().replace(b"COUNT 1", b"COUNT 2")),
        "its header says 5 numbers a point, 4 came",
    ),
    "pcd with a cut header": (lambda p: cut(pcd(p / "a.pcd"), 0.05), "its header is cut short: no"),
    "cut compressed pcd": (
        lambda p: cut(pcd(p / "a.pcd", "binary_compressed")),
        "cut short: 1,667 bytes of points are declared",
    ),
    "compressed pcd that lies": (lambda p: lying_pcd(pcd(p / "a.pcd", "binary_compressed"), 4, 2**31), "take 1,616 by"),
    "compressed pcd of less": (lambda p: lying_pcd(pcd(p / "a.pcd", "binary_compressed"), 0, 33), "it does not stand"),
    "pcd of many points": (lambda p: many(p / "a.pcd"), "its header declares 9,000,000,000 points, more than"),
    "pcd of another kind": (lambda p: pcd(p / "a.pcd", "zipped"), "its data is zipped: save it as ascii"),
    "pcd without points": (lambda p: pcd(p / "a.pcd", points=POINTS[:0]), "no points in it"),
    "off without faces": (lambda p: written(p / "a.off", OFF.replace("3 1 0", "3 0 0")), "no faces in it"),
    "off with a wrong corner": (lambda p: written(p / "a.off", OFF + "3 0 1 7\n"), "outside the range"),
    "off without area": (lambda p: written(p / "a.off", OFF + "3 0 1 1\n"), "a mesh whose faces have no area"),
    "cut off": (lambda p: written(p / "a.off", OFF[:25]), "cut short: 3 corners and 1 faces are declared"),
    "off of words": (lambda p: written(p / "a.off", OFF + "3 one two three\n"), "damaged, cut short, or not off"),
    "stl without faces": (lambda p: written(p / "a.stl", bytes(84)), "no faces in it"),
    "cut stl": (lambda p: written(p / "a.stl", bytes(80) + struct.pack("<I", 99) + bytes(60)), "no faces in it"),
    "obj without anything": (lambda p: written(p / "a.obj", "# nothing\n"), "no points in it"),
    "words": (lambda p: written(p / "a.xyz", "one two three\n"), "damaged, cut short, or not xyz"),
    "two columns": (lambda p: written(p / "a.xyz", "1 2\n3 4\n"), "2 numbers a line came"),
    "empty": (lambda p: written(p / "a.xyz", ""), "an empty file: export it anew, or take its row out"),
    "objects": (lambda p: objects(p / "a.npy"), "damaged, cut short, or not npy: it holds pickled objects"),
    "objects in npz": (lambda p: objects(p / "a.npz"), "damaged, cut short, or not npz: it holds pickled objects"),
    "npz of other arrays": (lambda p: others(p / "a.npz"), "holds a, b: expected an array named points"),
    "no zip": (lambda p: written(p / "a.npz", "words"), "damaged, or not npz"),
    "other ending": (lambda p: written(p / "a.doc", ""), r"unknown ending '\.doc': expected one of \.ply"),
    "nowhere": (lambda p: p / "a.ply", "cannot be read: No such file"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_clear_line_that_names_the_file(tmp_path, kind):
    make, message = DAMAGED[kind]
    path = make(tmp_path)
    with pytest.raises(Unreadable, match=message) as caught:
        point_files.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_library_that_is_missing_names_the_extra(tmp_path, monkeypatch):
    path = ply(tmp_path / "a.ply")
    monkeypatch.setitem(sys.modules, "plyfile", None)
    with pytest.raises(BadInput, match=r"read by plyfile: pip install 'perceivers\[points\]'"):
        point_files.read(path)


def test_features_are_those_that_all_clouds_have_and_that_differ():
    def cloud(**features):
        return point_files.Cloud(POINTS, {name: np.asarray(values, float) for name, values in features.items()})

    one = cloud(red=np.arange(101), intensity=np.zeros(101), time=np.arange(101), nx=np.ones(101))
    two = cloud(red=np.arange(101), intensity=np.zeros(101), time=np.arange(101))
    assert point_files.common_features([one, two]) == ["red"]

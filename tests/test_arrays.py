"""Array files, whole and hostile: numpy writes them, and they are refused before they run code or fill memory."""

import contextlib
import io
import os
import zipfile

import numpy as np
import pytest

from perceivers.arrays import LARGEST, array_names, array_shape, read_array

ARRAY = np.arange(35.0).reshape(5, 7)


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def claiming(shape):
    """The header of an array that is not there."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_npy_and_npz_are_what_numpy_wrote(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    np.savez(tmp_path / "b.npz", ARRAY)
    np.savez_compressed(tmp_path / "c.npz", named=np.asfortranarray(ARRAY))
    for path in tmp_path.iterdir():
        assert array_shape(path) == (5, 7)
        np.testing.assert_array_equal(read_array(path), ARRAY)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_objects_are_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    np.savez("a.npz", np.array([Harm()], dtype=object))
    for path in list(tmp_path.iterdir()):
        with pytest.raises(ValueError, match="pickled objects"):
            read_array(path)
    assert not (tmp_path / "harmed").exists()


def test_an_array_that_only_claims_to_be_large_costs_no_memory(tmp_path):
    for shape, words in (((10**15,), "over 2.1 GB"), ((10**6,), "cut short"), ((10**9, 10**9), "over")):
        (tmp_path / "a.npy").write_bytes(claiming(shape) + bytes(80))
        with pytest.raises(ValueError, match=words):
            read_array(tmp_path / "a.npy")
        assert array_shape(tmp_path / "a.npy") == shape


def test_a_zip_bomb_is_refused_from_its_header(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(claiming((LARGEST // 8 + 1,)))
        member.write(bytes(10_000_000))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    assert array_shape(tmp_path / "a.npz") == (LARGEST // 8 + 1,)
    with pytest.raises(ValueError, match="over"):
        read_array(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_files_are_one_line(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez_compressed)(path, ARRAY)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoiled = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.3 else content)
        for place in rng.integers(0, max(1, len(spoiled)), 3):
            spoiled[place : place + 1] = bytes([rng.integers(256)])
        path.write_bytes(spoiled)
        array_shape(path)
        with contextlib.suppress(OSError, ValueError):
            read_array(path)


def test_several_arrays_and_none(tmp_path):
    np.savez(tmp_path / "a.npz", a=ARRAY, b=ARRAY)
    np.savez(tmp_path / "b.npz")
    for name, words in (("a.npz", "holds 2 arrays"), ("b.npz", "holds 0 arrays")):
        with pytest.raises(ValueError, match=words):
            read_array(tmp_path / name)
        assert array_shape(tmp_path / name) == ()


def test_arrays_of_an_npz_by_name(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(3), two=np.eye(2))
    assert array_names(path) == ["one", "two"]
    np.testing.assert_array_equal(read_array(path, "two"), np.eye(2))
    with pytest.raises(ValueError, match="it holds 0 arrays three, expected one"):
        read_array(path, "three")
    with pytest.raises(ValueError, match="it holds 2 arrays, expected one"):
        read_array(path)

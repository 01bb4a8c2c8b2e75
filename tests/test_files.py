import os
import stat
import threading

import pytest

from perceivers.files import write_atomic


def test_text_is_written_as_utf8_with_its_own_line_ends(tmp_path):
    write_atomic(tmp_path / "a.txt", "ä\r\nß\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\r\nß\n".encode()


def test_bytes_replace_what_was_there_and_leave_nothing_else(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a longer old content")
    write_atomic(tmp_path / "a.bin", b"\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_mode_is_kept_and_a_new_file_follows_the_umask(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("x")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_atomic(old, "y")
        write_atomic(new, "y")
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~0o027


def test_a_link_goes_on_pointing_to_its_file(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "a", "x")


def test_readers_never_see_a_part(tmp_path):
    path, sizes, done = tmp_path / "a", set(), threading.Event()
    write_atomic(path, b"a" * 100_003)

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            sizes.add((len(content), content[:1]))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        write_atomic(path, b"ab"[i % 2 : i % 2 + 1] * (100_003 + i % 2))
    done.set()
    reader.join()
    assert sizes <= {(100_003, b"a"), (100_004, b"b")}


def test_a_long_name_still_fits(tmp_path):
    path = tmp_path / ("n" * 250)
    write_atomic(path, "x")
    assert path.read_text() == "x"

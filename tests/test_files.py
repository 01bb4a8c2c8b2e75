import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from perceivers.errors import BadInput
from perceivers.files import append, check_place, read_yaml, remove_unfinished, write_atomic


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


# YAML -------------------------------------------------------------------------------------------------------------
def test_yaml_is_data(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1, 2.5, null, yes, word]\nb: {c: 'é'}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5, None, True, "word"], "b": {"c": "é"}}


HOSTILE = {
    "code": "a: !!python/object/apply:os.system ['touch harmed']",
    "name": "a: !!python/name:os.system",
    "module": "!!python/module:os",
    "bomb": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
    "merge bomb": "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}",
    "circle": "&a [*a]",
    "depth": "[" * 100_000,
    "braces": "{a: " * 100_000,
    "blocks": "".join(" " * i + "-\n" for i in range(300)),
    "date": "a: 2001-99-99",
    "list as key": "? [a]\n: b",
    "NUL": "a: \0",
    "latin-1": "a: é".encode("latin-1"),
    "two documents": "a: 1\n---\nb: 2\n",
    "digits": "a: " + "9" * 10_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_yaml_that_is_more_than_data_is_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = HOSTILE[name]
    (tmp_path / "a.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=r"a\.yaml") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


def test_yaml_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        read_yaml(tmp_path / "a.yaml")


# Places -----------------------------------------------------------------------------------------------------------
def test_a_place_is_refused_before_anything_begins(tmp_path, monkeypatch):
    check_place(tmp_path / "new.csv")
    for place, words in ((tmp_path, "is a folder"), (tmp_path / "none/a.csv", "no folder")):
        with pytest.raises(BadInput, match=words):
            check_place(place)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(BadInput, match="read-only"):
        check_place(tmp_path / "new.csv")


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x:\n  - {a: 1, b: 2, a: 3}\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"x\.yaml, line \d: 'a' stands there twice"):
        read_yaml(path)


def test_lines_are_added_at_the_end(tmp_path):
    for text in ("a\n", "ä\n"):
        append(tmp_path / "lines", text)
    assert (tmp_path / "lines").read_bytes() == "a\nä\n".encode()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_named_with_the_file():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        append(Path("/dev/full"), "x\n")


def test_only_unfinished_files_are_removed(tmp_path):
    for name in (".writing-1a", "writing", ".hidden"):
        (tmp_path / name).write_text("x")
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == [".hidden", "writing"]

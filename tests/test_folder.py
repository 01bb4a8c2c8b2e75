import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput
from perceivers.training import folder as module
from perceivers.training.folder import RunFolder, named_files

HOLD = """
import sys, time
from pathlib import Path
from perceivers.training.folder import RunFolder
with RunFolder(Path(sys.argv[1]), {}, 0.0):
    Path(sys.argv[1], "config.yaml").touch()
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_living_holder_is_named_and_a_dead_one_followed(tmp_path):
    out = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BadInput, match=f"process {holder.pid} on .*wait, or choose another --out"),
            RunFolder(out, {}, 0),
        ):
            pytest.fail("two hold the folder")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (out / "lock").exists()
    with RunFolder(out, {}, 0.0):
        assert f"process {os.getpid()} on" in (out / "lock").read_text()
    assert not (out / "lock").exists()


def test_the_lock_of_a_process_on_another_host(tmp_path):
    """What counts is whether the file is locked, which shared file systems tell across hosts."""
    with (tmp_path / "lock").open("w") as elsewhere:
        elsewhere.write("process 7 on elsewhere\n")
        elsewhere.flush()
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="process 7 on elsewhere"), RunFolder(tmp_path, {}, 0.0):
            pytest.fail("two hold the folder")
    assert (tmp_path / "lock").read_text() == "process 7 on elsewhere\n"
    with RunFolder(tmp_path, {}, 0.0):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def test_the_number_of_a_dead_process_may_be_used_again(tmp_path):
    (tmp_path / "lock").write_text(f"process {os.getpid()} on this host\n")  # it lives, but does not hold the lock
    with RunFolder(tmp_path, {}, 0.0):
        pass


def test_a_lock_that_its_holder_has_just_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, the run that held it ends, and another takes the folder."""
    calls, flock = [], fcntl.flock

    def late(file, how):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "lock").unlink()
        flock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    with RunFolder(tmp_path, {}, 0.0) as folder:
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(folder.lock.fileno()), (tmp_path / "lock").stat())


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for part in (tmp_path / ".writing-1", tmp_path / "checkpoints/.writing-2"):
        part.write_text("half")
    with RunFolder(tmp_path, {}, 0.0) as folder:
        assert folder.config() is None
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoints"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("x")
    with RunFolder(tmp_path, {}, 0.0) as folder, pytest.raises(BadInput, match=r"holds holiday\.txt but no run"):
        folder.config()
    assert os.listdir(tmp_path) == ["holiday.txt"]


def test_a_folder_in_which_nothing_began_is_not_left_behind(tmp_path):
    with RunFolder(tmp_path / "a/run", {}, 0.0):
        pass
    assert not (tmp_path / "a/run").exists()


def test_time_is_summed_over_starts_and_noted_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NOTE_SECONDS", 0.01)
    spent = tmp_path / "checkpoints/spent.json"
    with RunFolder(tmp_path, {}, time.monotonic() - 100) as folder:
        folder.count_time()
        for _ in range(500):
            if spent.exists():
                break
            time.sleep(0.01)
        noted = json.loads(spent.read_text())["seconds"]
    assert 100 <= noted < 160
    with RunFolder(tmp_path, {}, time.monotonic() - 1000) as folder:
        folder.count_time()
        assert 1100 <= folder.spent < 1200
    spent.write_text("{")
    with RunFolder(tmp_path, {}, 0.0) as folder, pytest.raises(BadInput, match="delete it"):
        folder.count_time()


def test_a_config_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("format: 99\nasked: {fingerprint: x}\n")
    with RunFolder(tmp_path, {}, 0.0) as folder, pytest.raises(BadInput, match="format 99, but 1 is known"):
        folder.config()


def test_the_difference_of_two_schemas_is_named_by_field(tmp_path):
    def asked(role):
        return {
            "schema": {"fields": [{"name": n, "modality": "number", "role": role} for n in ("a", "b")]},
            "fingerprint": "f",
        }

    with RunFolder(tmp_path / "run", asked("input"), 0.0) as folder:
        folder.write_config({}, {})
    with (
        pytest.raises(BadInput) as error,
        RunFolder(tmp_path / "run", asked("ignore"), 0.0) as folder,
    ):
        folder.config()
    assert "(schema.fields.a.role: 'input', now 'ignore'; schema.fields.b.role: 'input', now 'ignore')" in str(
        error.value
    )


def test_a_file_that_has_changed_makes_another_run(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"picture")
    table = Table(pl.DataFrame({"p": ["a.png", "b.png", "a.png", None, "gone.png"], "q": ["c.png"] * 5}), "t", tmp_path)
    fields = [Field("p", "image", "input", ("p",)), Field("q", "category", "input", ("q",))]
    files = named_files(table, fields)
    state = (tmp_path / "a.png").stat()
    assert list(files) == ["a.png", "b.png", "gone.png"]
    assert files["a.png"] == [7, state.st_mtime_ns]

    asked = {"fingerprint": "f"}
    with RunFolder(tmp_path / "run", asked, 0.0, files) as folder:
        folder.write_config({}, {})
    with RunFolder(tmp_path / "run", asked, 0.0, named_files(table, fields)) as folder:
        assert folder.config() is not None
    os.utime(tmp_path / "b.png", ns=(0, state.st_mtime_ns + 1))
    (tmp_path / "a.png").unlink()
    with (
        pytest.raises(BadInput, match=r"'a\.png' is gone since it began, and 1 more files differ"),
        RunFolder(tmp_path / "run", asked, 0.0, named_files(table, fields)) as folder,
    ):
        folder.config()

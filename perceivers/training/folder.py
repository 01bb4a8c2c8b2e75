"""The run folder: who holds it, whether it goes on, is finished or is another run, and the time that was spent.

Not concerned with what is trained (`train.py`).
"""

import fcntl
import hashlib
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import polars as pl
import yaml

from perceivers.core import kernels
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput
from perceivers.files import DUMPER, read_yaml, remove_unfinished, write_atomic
from perceivers.training.config import Config

CONFIG, METRICS, REPORT, FILES = "config.yaml", "metrics.json", "report.html", "files.json"
BASELINES, BASELINE_SCORES = "baselines.json", "baseline_scores.json"
ALONE = "alone.json"  # the metrics of the Perceiver without its linear part
MOST_SHOWN = 5  # differences
# What a run has before it is planned.
BEFORE_CONFIG = {"lock", "schema.yaml", BASELINES, BASELINE_SCORES, "checkpoints", FILES}
FORMAT = 1
NOTE_SECONDS = 5.0  # so often the time that was spent is noted, for a process may be killed


def fingerprint(table: Table) -> str:
    """SHA-256 of the table's columns and cells (of a file that it names: its path; see `named_files`)."""
    buffer = io.BytesIO()
    table.frame.write_ipc(buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def named_files(table: Table, fields: Iterable[Field]) -> dict[str, list[int]]:
    """{the cell: [size, time of modification in ns]} of the files that the cells of `fields` name; [] where none is."""
    root, found = table.root or Path.cwd(), {}
    for one in fields:
        for name in one.columns if one.names_files else ():
            if table.frame[name].dtype == pl.String:
                for cell in table.frame[name].drop_nulls().unique(maintain_order=True):
                    try:
                        state = os.stat(root / cell)
                        found[cell] = [state.st_size, state.st_mtime_ns]
                    except (OSError, ValueError):
                        found[cell] = []
    return found


def asked_of(config: Path) -> dict[str, Any]:
    """What a run was asked for, from its `config.yaml`. Raises BadInput where that is damaged."""
    content = read_yaml(config)
    asked = content.get("asked") if isinstance(content, dict) else None
    if not isinstance(asked, dict) or not isinstance(asked.get("fingerprint"), str):
        raise BadInput(f"{config}: damaged: it does not say what the run was asked for: copy the folder anew")
    return asked


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """{"training": {"lr": 1}} → {"training.lr": 1}, and the fields of a schema by name: differences are named alone."""
    flat = {}
    for name, value in options.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
            value = {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in value}
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": v for inner, v in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _lock(path: Path) -> TextIO:
    """The open file that holds the lock: the kernel lets go of it when its process ends, however that happens.

    Raises BlockingIOError where another process holds it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:  # a run that ended has just removed its empty folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass  # a run that ended has just removed this file: another process may hold its successor
        except OSError:
            file.close()
            raise
        file.close()


@dataclass
class RunFolder:
    """A folder that one process holds while it trains. `asked`, and the `files` of the data, are what makes it this
    run and no other.

    `began`: the start of the command on `time.monotonic`.
    """

    path: Path
    asked: dict[str, Any]
    began: float
    files: dict[str, list[int]] = field(default_factory=dict)

    def __enter__(self) -> "RunFolder":
        lock = self.path / "lock"
        try:
            self.lock = _lock(lock)
            self.lock.truncate(0)
            self.lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self.lock.flush()
            for folder in (self.path, self.checkpoints):
                remove_unfinished(folder)
        except BlockingIOError as error:
            holder = lock.read_text(encoding="utf-8").strip()
            raise BadInput(
                f"{self.path}: another process trains here ({holder}): wait, or choose another --out"
            ) from error
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be written: {error.strerror}; choose another --out") from error
        self.ended = threading.Event()
        self.noting = threading.Thread(target=self._note_spent, daemon=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self.noting.is_alive():
            self.noting.join()
            self.write_spent()
        (self.path / "lock").unlink(missing_ok=True)
        self.lock.close()
        with suppress(OSError):  # a folder in which nothing began is not left behind
            self.path.rmdir()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        return (self.path / METRICS).exists()

    def config(self) -> dict[str, Any] | None:
        """What `write_config` wrote, or None in a new folder. Raises BadInput where it belongs to another run."""
        file = self.path / CONFIG
        if not file.exists():
            others = sorted({path.name for path in self.path.iterdir()} - BEFORE_CONFIG)
            if others:
                raise BadInput(f"{self.path}: holds {others[0]} but no run: choose an empty or new folder for --out")
            return None
        content, before = read_yaml(file), asked_of(file)
        if content.get("format") != FORMAT:
            raise BadInput(f"{file}: format {content.get('format')}, but {FORMAT} is known here: update perceivers")
        now = json.loads(json.dumps(self.asked))
        before, now = _flat(before), _flat(now)
        names = sorted(now.keys() | before.keys(), key=lambda name: (name not in now or name not in before, name))
        different = [
            f"{k}: {before.get(k)!r:.80}, now {now.get(k)!r:.80}" for k in names if before.get(k) != now.get(k)
        ]
        if len(different) > MOST_SHOWN:
            different = [*different[:MOST_SHOWN], f"and {len(different) - MOST_SHOWN} more"]
        if different:
            raise BadInput(
                f"{self.path}: holds another run ({'; '.join(different)}): choose another --out, "
                f"to which --from {self.path} can give its weights"
            )
        self._check_files()
        return content

    def _check_files(self) -> None:
        """Raises BadInput where a file is another one than when the run began, by size and time of modification."""
        file, now = self.path / FILES, self.files
        try:
            before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except ValueError as error:
            raise BadInput(f"{file}: damaged: not JSON: {error}: choose another --out") from error
        if different := [name for name in now if before.get(name) != now[name]]:
            name, more = different[0], len(different) - 1
            what = "is gone" if not now[name] else "has changed" if before.get(name) else "was not there"
            raise BadInput(
                f"{self.path}: holds a run on other data: {name!r:.200} {what} since it began"
                f"{f', and {more:,} more files differ' if more else ''} (by size and time of modification): put the "
                "data back as they were, or choose another --out"
            )

    def resolved(self, stored: dict[str, Any], config: Config) -> Config:
        """The configuration that was written when the run was planned, with the workers of now."""
        try:
            before = Config.from_dict({k: stored[k] for k in config.to_dict()}, str(self.path / CONFIG))
        except KeyError as error:
            raise BadInput(f"{self.path / CONFIG}: has no {error}: choose another --out") from error
        return replace(before, training=replace(before.training, workers=config.training.workers))

    def kernels(self, stored: dict[str, Any]) -> dict[str, str]:
        """The record of kernels that was written when the run was planned. Raises BadInput where one is not here."""
        choices = stored.get("kernels") or {}
        try:
            if not isinstance(choices, dict) or not all(isinstance(x, str) for pair in choices.items() for x in pair):
                raise ValueError(f"kernels are shapes and names, got {choices!r:.80}")
            kernels.check(choices, learning=True)
        except ValueError as error:
            raise BadInput(
                f"{self.path / CONFIG}: {error}: go on where the run began, or choose another --out"
            ) from error
        return choices

    def write_config(self, resolved: dict[str, Any], choices: Mapping[str, str]) -> None:
        """The configuration of the run, and the `choices` of kernels that its probe has made."""
        if self.files:
            write_atomic(self.path / FILES, json.dumps(self.files, ensure_ascii=False) + "\n")
        content = {"format": FORMAT, "asked": json.loads(json.dumps(self.asked)), **resolved, "kernels": dict(choices)}
        write_atomic(self.path / CONFIG, yaml.dump(content, None, DUMPER, sort_keys=False, allow_unicode=True))

    @property
    def spent(self) -> float:
        """Seconds that this run took, earlier starts included."""
        return self.earlier + time.monotonic() - self.began

    def count_time(self) -> None:
        """From now on `spent` is known, and noted every few seconds for the next start."""
        self.checkpoints.mkdir(exist_ok=True)
        self.earlier = self._spent_before()
        self.noting.start()

    def _spent_before(self) -> float:
        try:
            return float(json.loads((self.checkpoints / "spent.json").read_text())["seconds"])
        except FileNotFoundError:
            return 0.0
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self.checkpoints / 'spent.json'}: damaged: delete it to count the time anew") from error

    def _note_spent(self) -> None:
        while not self.ended.wait(NOTE_SECONDS):
            self.write_spent()

    def write_spent(self) -> None:
        with suppress(OSError):  # a full disk is met and named where something that matters is written
            write_atomic(self.checkpoints / "spent.json", json.dumps({"seconds": round(self.spent, 1)}))

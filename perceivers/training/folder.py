"""The run folder: who holds it, whether it goes on, is finished or is another run, and the time that was spent.

Not concerned with what is trained (`train.py`).
"""

import fcntl
import hashlib
import io
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from perceivers.data.sources import Table
from perceivers.errors import BadInput
from perceivers.files import write_atomic

CONFIG, METRICS, REPORT = "config.yaml", "metrics.json", "report.html"
FORMAT = 1


def fingerprint(table: Table) -> str:
    """SHA-256 of the table's columns and cells (of a file that it names: its path)."""
    buffer = io.BytesIO()
    table.frame.write_ipc(buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """{"training": {"lr": 1}} → {"training.lr": 1}, so that a difference is named alone."""
    flat = {}
    for name, value in options.items():
        if name in ("training", "architecture"):
            flat |= {f"{name}.{inner}": v for inner, v in value.items()}
        else:
            flat[name] = value
    return flat


@dataclass
class RunFolder:
    """A folder that one process holds while it trains. `asked` is what makes it this run and no other."""

    path: Path
    asked: dict[str, Any]

    def __enter__(self) -> "RunFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be written: {error.strerror}; choose another --out") from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.lock.seek(0)
            raise BadInput(
                f"{self.path}: another process trains here ({self.lock.read().strip()}): wait, or choose another --out"
            ) from error
        self.lock.truncate(0)
        self.lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
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
            others = [p.name for p in self.path.iterdir() if p.name not in ("lock", "schema.yaml", "baselines.json")]
            if others:
                raise BadInput(f"{self.path}: holds {others[0]} but no run: choose an empty or new folder for --out")
            return None
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        before, now = content.get("asked", {}), json.loads(json.dumps(self.asked))
        before, now = _flat(before), _flat(now)
        different = [f"{k}: {before.get(k)!r}, now {now.get(k)!r}" for k in now if before.get(k) != now.get(k)]
        if different:
            raise BadInput(f"{self.path}: holds another run ({'; '.join(different)}): choose another --out")
        return content

    def write_config(self, resolved: dict[str, Any]) -> None:
        content = {"format": FORMAT, "asked": json.loads(json.dumps(self.asked)), **resolved}
        write_atomic(self.path / CONFIG, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def spent(self) -> float:
        """Seconds that earlier starts of this run took."""
        file = self.checkpoints / "spent.json"
        return json.loads(file.read_text())["seconds"] if file.exists() else 0.0

    def add_spent(self, seconds: float) -> None:
        self.checkpoints.mkdir(exist_ok=True)
        write_atomic(self.checkpoints / "spent.json", json.dumps({"seconds": seconds}))

"""The rows that were measured, in one file of a folder: what is there is not measured again.

Not concerned with what a row holds (`measure.py`).
"""

import json
import platform
from pathlib import Path
from typing import Any

import torch

import perceivers
from perceivers.errors import BadInput
from perceivers.files import write_atomic

FILE = "rows.json"
FORMAT = 1


def machine(device: str, threads: int, kernels: str) -> dict[str, Any]:
    """What ratios hold for: the processor, the versions, the threads, and our kernels where they are plain."""
    return {
        "processor": processor(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": threads,
        "torch": torch.__version__,
        "perceivers": perceivers.__version__,
        **({"kernels": kernels} if kernels == "plain" else {}),
    }


def processor() -> str:
    """Its name, and the vector instructions that torch uses of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


class Store:
    """`folder/rows.json`: the machine, and a row for each key. Raises BadInput where it holds another machine's."""

    def __init__(self, folder: Path, machine: dict[str, Any]):
        self.file, self.machine = folder / FILE, machine
        self.rows: dict[str, dict[str, Any]] = {}
        if self.file.exists():
            self.rows = self._read()
        elif folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder}: is a file: give a folder")

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            version, found, rows = content["format"], content["machine"], dict(content["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{self.file}: not rows that were measured: {error!r}: remove it, or give another"
            ) from error
        if version != FORMAT:
            raise BadInput(f"{self.file}: format {version}, but {FORMAT} is known here: give another --out")
        if differ := [
            f"{name} {found.get(name)}, now {self.machine.get(name)}"
            for name in {**found, **self.machine}
            if found.get(name) != self.machine.get(name)
        ]:
            raise BadInput(f"{self.file}: measured otherwise ({'; '.join(differ)}): give another --out")
        return rows

    def keep(self, key: str, row: dict[str, Any]) -> None:
        """Adds a row and writes the file at once."""
        self.rows[key] = row
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "machine": self.machine, "rows": self.rows}
        write_atomic(self.file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

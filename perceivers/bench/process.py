"""The other end of a side: starts its process, asks it, and ends it.

Not concerned with what is asked (`measure.py`).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import IO, Any

from perceivers.bench.works import GAINS, PLAIN

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = ("ours", PLAIN, *GAINS)


class SideFailed(Exception):
    """A side could not do what was asked; the message is its own."""


class Side:
    """A process with one role, to be asked one thing at a time. Used as a context: it ends with it."""

    def __init__(self, role: str, python: str, log: IO[bytes], threads: int):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment.pop("PYTHONPATH", None)  # ours must not shadow what the rival has
        if role in OURS:
            environment["PYTHONPATH"] = str(ROOT)
        self.role = role
        self.process = subprocess.Popen(
            [python, "-m", "sides", role],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: we end it
        )

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, do: str, **given: Any) -> Any:
        """The answer to one request. Raises SideFailed with what the side says, or that it is gone."""
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(json.dumps({"do": do, **given}).encode() + b"\n")
            pipe_in.flush()
            line = pipe_out.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = self.process.wait()
            reason = "ran out of memory" if code == -9 else f"ended with exit code {code}"
            raise SideFailed(f"{self.role}: its process {reason} while asked to {do}")
        answer = json.loads(line)
        if "error" in answer:
            raise SideFailed(f"{self.role}: {answer['error']}")
        return answer["ok"]

"""`python -m sides ROLE`: reads a JSON line {"do": …}, writes one with `ok` or `error`, until stdin ends.

Not concerned with who asks.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

from .worker import Worker

ROLES = {
    "ours": ".ours",
    "plain kernels": ".plain",
    "torch's products": ".plain",
    "projections apart": ".plain",
    "weights as they lie": ".plain",
    "whole attentions": ".plain",
    "the papers' order": ".plain",
    "inputs made": ".plain",
    "transformers": ".port",
    "perceiver-pytorch": ".perceiver_pytorch",
    "perceiver-io": ".perceiver_io",
}


def main(role: str) -> None:
    """Answers on the real stdout; what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            worker = worker or Worker(import_module(ROLES[role], __package__).build)
            answer = {"ok": worker.answer(json.loads(line))}
        except Exception as error:  # whatever a rival raises is said, and the next row goes on
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])

"""How near a plan comes: `python -m benchmarks.planning [NAME …]`, the only writer of docs/planning.md.

`perceivers plan --check` in turn on small pictures, a table, texts, sounds (with `--data DIR/fsdd`) and published
models. Finished rows are kept in benchmarks/planning.json. Not concerned with how a plan is made (`perceivers/plan/`).
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from perceivers.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "benchmarks/planning.json", ROOT / "docs/planning.md"
WORKS: dict[str, tuple[str, ...]] = {
    "digits": ("sample:digits",),
    "breast_cancer": ("sample:breast_cancer",),
    "reviews": ("examples/data/reviews.csv", "--target", "mood"),
    "fsdd": ("{data}/fsdd/fsdd.csv", "--target", "digit"),
    "language": ("deepmind/language-perceiver",),
    "vision-fourier": ("deepmind/vision-perceiver-fourier",),
}
TEXT = """# Planning

`perceivers plan` says what a training step on DATA, or a prediction of a MODEL, costs on this machine before anything
runs: memory, FLOPs, time, and which kernel each product and attention takes and why.

    perceivers plan sample:digits
    perceivers plan photos --size base --training.batch-size 256
    perceivers plan deepmind/optical-flow-perceiver --precision auto
    perceivers plan runs/digits INPUT…

Options for DATA are those of `train`. A published name needs no weights; a run folder needs rows, as `predict` does.
`--json` is for other programs, and `--check` then runs the real thing, in a process of its own, and prints it beside.

**Memory and FLOPs** are counted: the step or the prediction runs on weights that have no values, and the bytes of each
array count from when it is made to when nothing needs it. FLOPs are those of the plain model, so that work which a
fast path saves is not missing. What the libraries and the table hold is read off this very process.

**Time** is tried: each operation of a prediction alone, on arrays of its shapes; a training step at two rows and at
half the batch, which gives the time of a whole one. It is that of a machine that does nothing else.

**Kernels**: `plain` is torch's own product, `onednn` oneDNN's on plain weights, `packed` the same on weights that are
kept in its order; `apart` and `joined` are several products of one array; `fused` and `chunked` are attentions that
never hold all weights, and `folded` takes the layer norm of many inputs into their products. `--kernels plain` switches
the choice off, here and on `predict`, `evaluate`, `explain` and `bench`.

## How near it comes

Written by `python -m benchmarks.planning`, and measured right after it was planned, on {machine}.
*The model's* is what the process held beyond libraries and data; of a few megabytes, torch's own work space is a part.
Where other work has the same cores, as here, a plan and what is measured after it meet different machines, and seconds
differ by up to a third. A prediction with large weights also takes somewhat longer than planned: an operation that is
tried again finds its weights in the cache.

"""


def measure(name: str, data: Path | None) -> dict[str, Any]:
    """What was planned and measured for one row."""
    arguments = [part.format(data=data) for part in WORKS[name]]
    command = [sys.executable, "-m", "perceivers.cli", "plan", *arguments, "--check", "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return {
        key: found[key] for key in ("what", "precision", "rows", "inputs", "seconds", "peak_gb", "own_gb", "measured")
    }


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The page with all rows that were measured."""
    machine = f"{platform.machine()}, {platform.system()}, torch {torch.__version__}"
    lines = [
        "| | rows × inputs | precision | time, planned | measured | off "
        "| memory, planned | measured | off | of it the model's, planned | measured |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in WORKS:
        if name in rows:
            lines.append(_line(name, rows[name]))
    return TEXT.format(machine=machine) + "\n".join(lines) + "\n"


def _line(name: str, row: dict[str, Any]) -> str:
    found = row["measured"]
    cells = [
        f"{name}: {row['what'].split(' on ')[0].split(' of ')[0]}",
        f"{row['rows']:,} × {row['inputs']:,}",
        row["precision"],
        f"{1e3 * row['seconds']:,.0f} ms",
        f"{1e3 * found['seconds']:,.0f} ms",
        f"{found['seconds_off']:+.0%}",
        f"{1e3 * row['peak_gb']:,.0f} MB",
        f"{1e3 * found['peak_gb']:,.0f} MB",
        f"{found['peak_off']:+.0%}",
        f"{1e3 * row['own_gb']:,.0f} MB",
        f"{1e3 * found['own_gb']:,.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """The named rows, or all that the store lacks; then the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*WORKS, []])
    parser.add_argument("--data", type=Path, help="a folder with fsdd/")
    given = parser.parse_args()
    rows = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    for name in given.names or [name for name in WORKS if name not in rows]:
        if "{data}" in WORKS[name][0] and given.data is None:
            print(f"{name}: left out: give --data DIR")
            continue
        rows[name] = measure(name, given.data)
        print(_line(name, rows[name]), flush=True)
        write_atomic(STORE, json.dumps(rows, indent=1) + "\n")
    write_atomic(PAGE, page(rows))


if __name__ == "__main__":
    main()

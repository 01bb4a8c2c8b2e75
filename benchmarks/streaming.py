"""Memory and time of inputs that do not fit: `python -m benchmarks.streaming` prints a line for each case.

It is the only writer of benchmarks/streaming.json, which `python -m docs.made` writes into docs/limits.md.

10,000,000 inputs × 32 channels forward, 1,000,000 forward and backward, and the first once more from a memory map.
Each case is a process of its own, so that its peak is its own; what the model and the libraries take is taken off.
Not concerned with speed beside other packages (`perceivers bench`).
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from perceivers.core.inputs import Chunks, Sliced
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.files import write_atomic

STORE = Path(__file__).resolve().parent / "streaming.json"
CHANNELS, CHUNK = 32, 2**16
CONFIG = PerceiverIOConfig(CHANNELS, 64, num_latents=128, latent_channels=128, self_attends_per_block=4)
CASES = {"forward": 10_000_000, "backward": 1_000_000, "mapped": 10_000_000}


class Drawn:
    """Random inputs (1 m 32), drawn anew at every reading of a chunk."""

    def __init__(self, m: int):
        self.shape = (1, m, CHANNELS)

    def __len__(self) -> int:
        return -(-self.shape[1] // CHUNK)

    def chunk(self, index: int) -> tuple[Tensor, None]:
        """The chunk of that number: the same numbers at every call."""
        count = min(CHUNK, self.shape[1] - index * CHUNK)
        return torch.randn(1, count, CHANNELS, generator=torch.Generator().manual_seed(index)), None


def mapped(folder: Path, m: int) -> Sliced:
    """The same inputs in an npy file."""
    drawn = Drawn(m)
    with (folder / "x.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": drawn.shape})
        for i in range(len(drawn)):
            drawn.chunk(i)[0].numpy().tofile(file)
    return Sliced(np.load(folder / "x.npy", mmap_mode="r"), CHUNK)


def run(case: str) -> None:
    """One case in this process: prints its line."""
    torch.manual_seed(0)
    model, m = build(CONFIG).eval(), CASES[case]
    queries = torch.randn(1, 1, 64)
    with tempfile.TemporaryDirectory() as folder:
        model(Drawn(2 * CHUNK), queries).sum().backward()  # what the libraries set up at their first call is not ours
        inputs: Chunks = mapped(Path(folder), m) if case == "mapped" else Drawn(m)
        before, start = resident(), time.perf_counter()
        with torch.set_grad_enabled(case == "backward"):
            answer = model(inputs, queries)
        if case == "backward":
            answer.sum().backward()
        seconds = time.perf_counter() - start
    beyond = peak() - before
    print(f"{case:9} {m:>12,} × {CHANNELS}  {beyond:6.2f} GB beyond the model  {seconds:6.1f} s", flush=True)
    found = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    row = {"inputs": m, "channels": CHANNELS, "beyond_gb": round(beyond, 3)}
    write_atomic(STORE, json.dumps({**found, case: row}, indent=1) + "\n")


def resident() -> float:
    """GB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9


def peak() -> float:
    """GB of memory that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """All cases, or the one that is named."""
    if sys.argv[1:]:
        run(sys.argv[1])
        return
    for case in CASES:
        subprocess.run([sys.executable, "-m", "benchmarks.streaming", case], check=True)


if __name__ == "__main__":
    main()

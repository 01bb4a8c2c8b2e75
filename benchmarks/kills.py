"""Kills training at random moments, goes on, and asks that nothing differs from a run that nobody killed.

    python -m benchmarks.kills --kills 100

One process loads torch and forks: a start is cheap. Each kill is Ctrl-C, SIGTERM or SIGKILL, after a random time or
at a random write, before the file is in its place; each start has another number of workers. A run that comes to its
end must have the weights, `metrics.csv` and `metrics.json` of the run that went through, by the byte.
Not concerned with budgets.
"""

import argparse
import importlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from PIL import Image

from perceivers.errors import Stopped
from perceivers.training import callbacks
from perceivers.training.config import Architecture, Config, Training
from perceivers.training.train import train

for _late in ("matplotlib.figure", "matplotlib.backends.backend_svg", "sklearn.ensemble", "torch._dynamo"):
    importlib.import_module(_late)  # here once, and not in every start
KILLS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
COMPARED = ("model.safetensors", "metrics.csv", "metrics.json")
WRITES = 30  # about so many in a run
LIMIT = 300  # seconds after which a start counts as hanging
CONFIG = Config(
    steps=18,
    architecture=Architecture(num_latents=3, latent_channels=10, self_attends=1, self_heads=2),
    training=Training(batch_size=16, small=False, validations=6, threads=1),
)


def write_data(folder: Path) -> Path:
    """A table of 120 rows: a number, a category, a picture, and a class to answer."""
    drawn = np.random.default_rng(0)
    rows = []
    for i in range(120):
        picture, number = f"{i}.png", drawn.normal()
        Image.fromarray(drawn.integers(0, 255, (7, 5), dtype=np.uint8)).save(folder / picture)
        rows.append((number, f"kind {i % 3}", picture, "yes" if number > 0 else "no"))
    table = folder / "data.csv"
    table.write_text("number,kind,picture,answer\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return table


def start(data: Path, out: Path, config: Config, prepare: Callable[[], None] | None = None) -> int:
    """`train` in a process of its own: its id. It exits as the command line does."""
    child = os.fork()
    return child or _train(data, out, config, prepare)


def _train(data: Path, out: Path, config: Config, prepare: Callable[[], None] | None) -> NoReturn:
    os.dup2(os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C, and so would we
    code = 0
    try:
        if prepare is not None:
            prepare()
        train(str(data), out=out, targets=["answer"], config=config)
    except Stopped as stopped:
        code = 128 + stopped.signal
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def ended(child: int) -> int:
    """The exit code of a process, negative for the signal that killed it. Raises TimeoutError where it hangs."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    raise TimeoutError(f"a start hangs for {LIMIT} s")


def kill_at_write(number: int, which: int) -> Callable[[], None]:
    """Makes the process kill itself at the `which`-th call of `fsync`: a file is written, but not yet in its place."""

    def prepare() -> None:
        fsync, left = os.fsync, [which]

        def counted(fd: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            fsync(fd)

        os.fsync = counted

    return prepare


def killed(data: Path, out: Path, config: Config, chance: random.Random, seconds: float) -> tuple[str, int]:
    """One start, killed unless it ends before: how it was to be killed, and its exit code."""
    number = chance.choice(KILLS)
    config = replace(config, training=replace(config.training, workers=chance.randrange(3)))
    if chance.random() < 0.4:
        which = chance.randrange(1, WRITES)
        return f"{number.name} at write {which}", ended(start(data, out, config, kill_at_write(number, which)))
    child = start(data, out, config)
    wait = chance.random() * seconds
    time.sleep(wait)
    os.kill(child, number)
    return f"{number.name} after {wait:.2f} s", ended(child)


def same(out: Path, through: Path) -> list[str]:
    """The files that differ."""
    return [name for name in COMPARED if (out / name).read_bytes() != (through / name).read_bytes()]


def in_precision(precision: Literal["float32", "bf16"]) -> Config:
    """The configuration of all runs, with its kernels given."""
    return replace(CONFIG, training=replace(CONFIG.training, precision=precision))


def run_through(data: Path, out: Path, config: Config) -> float:
    """A run that nobody kills: the seconds that it took."""
    began = time.monotonic()
    code = ended(start(data, out, config))
    if code:
        raise SystemExit(f"{out.name}, left alone: exit code {code}\n{out.with_suffix('.log').read_text()}")
    return time.monotonic() - began


def run(kills: int, seed: int, folder: Path) -> int:
    """Runs, each killed until it ends, until there were enough kills. Returns how many runs came to an end."""
    chance, data = random.Random(seed), write_data(folder)
    configs = {precision: in_precision(precision) for precision in ("float32", "bf16")}
    seconds = min(run_through(data, folder / name, config) for name, config in configs.items())
    done = runs = 0
    while done < kills:
        precision, out = chance.choice(sorted(configs)), folder / f"killed-{runs}"
        code = None
        while code != 0 and done < kills:
            how, code = killed(data, out, configs[precision], chance, seconds)
            if code not in (0, *EXITS.values()):
                raise SystemExit(f"{out.name}, {how}: exit code {code}\n{out.with_suffix('.log').read_text()}")
            done += code != 0
            print(f"{out.name}: {how}: {code}", file=sys.stderr, flush=True)
        if code != 0:
            run_through(data, out, configs[precision])
        if different := same(out, folder / precision):
            lines = zip(
                *((run / "metrics.csv").read_text().splitlines() for run in (folder / precision, out)), strict=False
            )
            first = next((f"; metrics.csv first: {a} became {b}" for a, b in lines if a != b), "")
            raise SystemExit(
                f"{out.name} ({precision}): {', '.join(different)} differ from the run that nobody killed{first}"
            )
        runs += 1
    return runs


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    callbacks.CHECKPOINT_SECONDS = 0.2
    with tempfile.TemporaryDirectory() as folder:
        runs = run(arguments.kills, arguments.seed, Path(folder))
    print(f"{arguments.kills} kills, {runs} runs: all as if nobody had killed them")


if __name__ == "__main__":
    main()

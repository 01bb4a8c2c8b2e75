"""Memory and time of `perceivers predict` on very large files: `python -m benchmarks.large [CASE …]`.

It is the only writer of benchmarks/large.json, which `python -m docs.made` writes into docs/limits.md.

Two small models learn from generated files (stripes of two widths, tones of two pitches, both in noise), with the
default settings. Then a process of its own answers for each file below, of one class in turn with the other: its peak
is what the system says of it, and small files tell what the libraries take. Files are made one after the other in a
temporary folder (`TMPDIR`), which needs 3 GB of room. Not concerned with how well models learn (`benchmarks.accuracy`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import soundfile
from numpy.lib import format as npy
from PIL import Image

from perceivers.files import write_atomic

STORE = Path(__file__).resolve().parent / "large.json"
LEARNED = 48  # files of each class
STEPS = {"pictures": 200, "sounds": 40}
SIDE, LARGE_SIDE = 128, 20_000  # pixels
RATE, SECONDS = 16_000, 10
WIDTHS = {"fine": 6, "broad": 18}  # of stripes, in pixels
PITCHES = {"low": 300, "high": 900}  # of tones, in Hz
ROWS = 200  # of a picture that are made at once
COMMAND = (sys.executable, "-c", "from perceivers.cli import main; main()")


def stripes(name: str, side: int, seed: int) -> Iterator[np.ndarray]:
    """A square picture of that class, (h w 3) uint8, in bands."""
    random = np.random.default_rng(seed)
    angle, phase = random.uniform(0, 2 * np.pi, 2)
    x = np.arange(side)[None]
    for start in range(0, side, ROWS):
        y = np.arange(start, min(start + ROWS, side))[:, None]
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / WIDTHS[name]) + phase)
        band = 110 + 60 * wave[..., None] + random.integers(0, 32, (*wave.shape, 3))
        yield band.astype(np.uint8)


def tone(name: str, seconds: int, seed: int) -> Iterator[np.ndarray]:
    """A sound of that class, (n) float32, by the second."""
    random = np.random.default_rng(seed)
    pitch = PITCHES[name] * random.uniform(0.9, 1.1)
    for second in range(seconds):
        time_ = second + np.arange(RATE) / RATE
        yield (0.3 * np.sin(2 * np.pi * pitch * time_) + 0.1 * random.normal(size=RATE)).astype(np.float32)


def write_array(path: Path, side: int, name: str) -> None:
    """A picture in an npy file."""
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (side, side, 3)})
        for band in stripes(name, side, 0):
            band.tofile(file)


def write_picture(path: Path, side: int, name: str) -> None:
    """The same as a png, or as a tiff in compressed tiles."""
    array = path.with_suffix(".array")
    write_array(array, side, name)
    image = pyvips.Image.new_from_memory(np.load(array, mmap_mode="r"), side, side, 3, "uchar")
    if path.suffix == ".png":
        image.pngsave(str(path), compression=1)
    else:
        image.tiffsave(str(path), tile=True, tile_width=256, tile_height=256, compression="deflate")
    array.unlink()


def write_sound(path: Path, seconds: int, name: str) -> None:
    """A sound of 16 bits."""
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for second in tone(name, seconds, 0):
            file.write(second)


# What is answered: by which model, how it is made, its size, its class, and what stands in the table.
CASES: dict[str, tuple[str, Callable[[Path, int, str], None], int, str, str]] = {
    "small.png": ("pictures", write_picture, SIDE, "fine", "picture of 128 × 128, png"),
    "half.tif": ("pictures", write_picture, LARGE_SIDE // 2, "broad", "10,000 × 10,000, tiff in tiles"),
    "large.tif": ("pictures", write_picture, LARGE_SIDE, "fine", "20,000 × 20,000, tiff in tiles"),
    "large.npy": ("pictures", write_array, LARGE_SIDE, "broad", "20,000 × 20,000, npy"),
    "large.png": ("pictures", write_picture, LARGE_SIDE, "fine", "20,000 × 20,000, png"),
    "small.wav": ("sounds", write_sound, SECONDS, "low", "sound of 10 s, wav"),
    "minutes.wav": ("sounds", write_sound, 1_800, "high", "half an hour, wav"),
    "hour.wav": ("sounds", write_sound, 3_600, "low", "an hour, wav"),
    "hours.wav": ("sounds", write_sound, 4 * 3_600, "high", "four hours, wav"),
}


def learn(folder: Path, kind: str) -> None:
    """A run of that kind, by the ordinary `train`."""
    for number in range(LEARNED):
        for name in WIDTHS if kind == "pictures" else PITCHES:
            path = folder / kind / name / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "pictures":
                Image.fromarray(np.concatenate(list(stripes(name, SIDE, number + 1)))).save(path.with_suffix(".png"))
            else:
                samples = np.concatenate(list(tone(name, SECONDS, number + 1)))
                soundfile.write(path.with_suffix(".wav"), samples, RATE)
    asked = ("train", folder / kind, "--out", folder / f"{kind}-run", "--size", "tiny", "--steps", STEPS[kind])
    subprocess.run([*COMMAND, *map(str, asked)], check=True)


def measured(arguments: Sequence[str]) -> tuple[str, float, float]:
    """What a command in a process of its own says on stdout; its seconds; its peak of memory in GB. Raises
    CalledProcessError.
    """
    start = time.perf_counter()
    child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return said, time.perf_counter() - start, used.ru_maxrss / 1e6


def run(folder: Path, case: str) -> dict[str, Any]:
    """One case: its row of the store."""
    kind, write, size, name, what = CASES[case]
    run_folder, path = folder / f"{kind}-run", folder / case
    if not run_folder.exists():
        learn(folder, kind)
    write(path, size, name)
    said, seconds, peak = measured(["predict", str(run_folder), str(path), "--json"])
    answer = json.loads(said)["class"]
    row = {"input": what, "bytes": path.stat().st_size, "seconds": round(seconds, 1), "peak_gb": round(peak, 3)}
    path.unlink()
    return {**row, "right": answer == name}


def main() -> None:
    """All cases, or those that are named."""
    for case in (chosen := sys.argv[1:] or list(CASES)):
        if case not in CASES:
            sys.exit(f"{case}: no case; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            row = run(Path(folder), case)
            print(f"{case:12} {row}", flush=True)
            found = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
            found = {known: {**found, case: row}[known] for known in CASES if known in found or known == case}
            write_atomic(STORE, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

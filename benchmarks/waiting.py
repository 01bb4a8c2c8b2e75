"""How long a step waits for its data: `python -m benchmarks.waiting [KIND …]`, the only writer of docs/waiting.md.

Files of each kind are made in a temporary folder and learned from with default settings, twice: as it is, when what was
decoded is kept, and with nothing kept, so that every step opens, decodes and resamples its files, as with data far
larger than memory. Finished kinds are kept in benchmarks/waiting.json. Sounds are the recordings of
`--data DIR/fsdd`, and are not run without it; all else is generated. Not concerned with what the model learns.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import trimesh

from benchmarks.step import shares
from perceivers.data import infer, samples, shapes, sources
from perceivers.files import write_atomic
from perceivers.training.config import Config, Training
from perceivers.training.train import Data, prepare

ROOT = Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "benchmarks/waiting.json", ROOT / "docs/waiting.md"
FILES = 320  # of a kind
BATCH = 128  # as of 3,000 rows and more
CONFIG = Config(training=Training(batch_size=BATCH))
RATE = 16_000  # Hz, to which sounds of 8,000 are resampled
MOST = 0.05  # of a step


def sounds(folder: Path, ending: str, fsdd: Path) -> None:
    """Recordings of digits at 8 kHz."""
    for path in sorted((fsdd / "recordings").glob("*.wav"))[:: 3_000 // FILES][:FILES]:
        samples, rate = soundfile.read(path)
        soundfile.write(placed(folder, path.name[0], path.stem, ending), samples, rate)


def meshes(folder: Path, ending: str, _: Path) -> None:
    """Bent balls and rings of 5,120 and 4,096 triangles."""
    random = np.random.default_rng(0)
    bodies = {"ball": trimesh.creation.icosphere(4), "ring": trimesh.creation.torus(1, 0.4, 64, 32)}
    for number in range(FILES):
        name = ("ball", "ring")[number % 2]
        mesh = bodies[name].copy()
        mesh.vertices = mesh.vertices * random.uniform(0.8, 1.2, 3) + 0.01 * random.normal(size=mesh.vertices.shape)
        mesh.export(placed(folder, name, str(number), ending))


def clouds(folder: Path, ending: str, _: Path) -> None:
    """Clouds of 20,000 points, as lines of text or in binary."""
    random = np.random.default_rng(0)
    for number in range(FILES):
        name = ("cone", "torus")[number % 2]
        points = shapes.SURFACES[name](20_000, random)
        path = placed(folder, name, str(number), ending)
        if ending == "ply":
            trimesh.PointCloud(points).export(path)
        else:
            np.savetxt(path, points, fmt="%.6f")


def volumes(folder: Path, ending: str, _: Path) -> None:
    """Volumes of 32 × 32 × 32 numbers, compressed."""
    random = np.random.default_rng(0)
    z, y, x = np.meshgrid(*3 * [np.linspace(-1, 1, 32)], indexing="ij")
    for number in range(FILES):
        name, height = (("flat", 0.2), ("tall", 0.8))[number % 2]
        body = (x**2 + y**2) / 0.3 + (z / height) ** 2 < 1
        noisy = (body + 0.3 * random.normal(size=body.shape)).astype(np.float32)
        np.savez_compressed(placed(folder, name, str(number), ending), volume=noisy)


def spikes(folder: Path, ending: str, _: Path) -> None:
    """The trials of `sample:spikes`, a line or an entry for each spike."""
    frame = samples.load_sample("spikes").frame[:FILES]
    for number, (times, neurons, name) in enumerate(frame.iter_rows()):
        path = placed(folder, name, str(number), ending)
        if ending == "npz":
            np.savez(path, time=np.array(times), unit=np.array(neurons).astype(str))
        else:
            lines = [f"{time},{neuron}\n" for time, neuron in zip(times, neurons, strict=True)]
            path.write_text("time,unit\n" + "".join(lines))


KINDS: dict[str, tuple[Callable[[Path, str, Path], None], str]] = {
    "wav": (sounds, "sound, 8 to 16 kHz"),
    "flac": (sounds, "sound, 8 to 16 kHz"),
    "mp3": (sounds, "sound, 8 to 16 kHz"),
    "off": (meshes, "mesh, 8,192 points by area"),
    "stl": (meshes, "mesh, 8,192 points by area"),
    "xyz": (clouds, "cloud of 20,000 points"),
    "ply": (clouds, "cloud of 20,000 points, binary"),
    "volumes": (volumes, "array of 32 × 32 × 32, npz"),
    "csv": (spikes, "events, a table for each row"),
    "events": (spikes, "events, npz"),
}
ENDINGS = {"volumes": "npz", "events": "npz"}  # of the others the name


def placed(folder: Path, kind: str, name: str, ending: str) -> Path:
    """`folder`/`kind`/`name`.`ending`, in a folder that is there."""
    (folder / kind).mkdir(exist_ok=True)
    return folder / kind / f"{name}.{ending}"


def prepared(folder: Path) -> Data:
    """A folder of classes, ready for steps; sounds are resampled."""
    table = sources.read(folder)
    schema = infer.infer(table)
    changed = [field.with_options(rate=RATE) for field in schema.inputs if field.modality == "audio"]
    return prepare(table, schema.replace(*changed))


def forget(data: Data) -> None:
    """Nothing that was decoded is kept, and nothing that will be."""
    for column in data.rows.columns.values():
        column.kept.clear()
        column.room = column.room_in_files = 0


def reading(data: Data) -> float:
    """Seconds that a row takes until its example is there: the median of 50, one by one."""
    (column,) = [column for column in data.rows.columns.values() if column.field.role == "input"]
    times = []
    for row in data.parts["train"][:50]:
        began = time.perf_counter()
        column[int(row)]
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measured(kind: str, fsdd: Path, steps: int) -> dict[str, Any]:
    """What a kind takes: seconds, and shares of a step."""
    make, _ = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), ENDINGS.get(kind, kind), fsdd)
        data = prepared(Path(folder))
        kept, step_kept = shares(data, CONFIG, steps)
        forget(data)
        anew, step_anew = shares(data, CONFIG, steps)
        return {
            "read": reading(data),
            "kept": {"step": step_kept, "waiting": kept["waiting for data"]},
            "anew": {"step": step_anew, "waiting": anew["waiting for data"]},
            "steps": steps,
            "cores": len(os.sched_getaffinity(0)),
        }


def page(store: dict[str, Any]) -> str:
    """docs/waiting.md from what was kept."""
    lines = [
        "# Waiting for data",
        "",
        "Written by `python -m benchmarks.waiting`: the share of a training step in which nothing is done but to wait",
        f"for the next batch, which should be at most {MOST:.0%}. One thread reads ahead (`--training.workers 1`, the",
        "default). *Kept*: as it is, when what was decoded stays in memory, up to 1 GiB a column. *Anew*: nothing",
        f"is kept, and every step opens, decodes, resamples or samples its {BATCH} files.",
        "",
        "Waiting and the step are timed in the same process, so that whatever else the machine does falls on both.",
        "Where the model and the thread that reads share a core, what reading takes shows in a longer step rather than",
        f"in waiting: so the time to read a batch of {BATCH} files, by itself, stands beside both.",
        "",
        f"Machine: {platform.machine()}, {platform.system()}; torch {torch.__version__}. Sounds are recordings of the",
        "Free Spoken Digit Dataset; all else is generated.",
        "",
        f"| files | what they hold | to read {BATCH} | cores | step, kept | waiting, kept | step, anew "
        "| waiting, anew |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, (_, words) in KINDS.items():
        if (found := store.get(kind)) is None:
            lines.append(f"| {ENDINGS.get(kind, kind)} | {words} | not run |")
            continue
        both = [f"{1e3 * one['step']:.0f} ms | **{one['waiting']:.1%}**" for one in (found["kept"], found["anew"])]
        lines.append(
            f"| {ENDINGS.get(kind, kind)} | {words} | {1e3 * BATCH * found['read']:.0f} ms | {found['cores']} "
            f"| {both[0]} | {both[1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures what is named, keeps it, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="all by default")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder that holds fsdd")
    parser.add_argument("--steps", type=int, default=40, help="of each of the two runs")
    arguments = parser.parse_args()
    store = json.loads(STORE.read_text()) if STORE.exists() else {}
    for kind in arguments.kinds or KINDS:
        if KINDS[kind][0] is sounds and arguments.data is None:
            print(f"{kind}: not run: say --data DIR, which holds fsdd")
            continue
        store[kind] = found = measured(kind, (arguments.data or Path()) / "fsdd", arguments.steps)
        shown = [f"{name} {found[name]['waiting']:.1%} of {found[name]['step']:.3f} s" for name in ("kept", "anew")]
        print(f"{kind}: waiting, {', '.join(shown)}; to read one {found['read']:.5f} s", flush=True)
        write_atomic(STORE, json.dumps(store, indent=1) + "\n")
        write_atomic(PAGE, page(store))


if __name__ == "__main__":
    main()

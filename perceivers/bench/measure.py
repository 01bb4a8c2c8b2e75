"""One row: both sides are built and checked, then take turns.

Not concerned with what is measured (`works.py`) nor with what becomes of a row (`store.py`, `page.py`).
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from perceivers.bench.process import Side, SideFailed
from perceivers.bench.summary import taken
from perceivers.bench.works import CHUNKS, CLASSES, PLAIN, Work
from perceivers.core.cost import decode_flops, encode_flops, process_flops
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.core.precision import agreement
from perceivers.published.presets import AUTOENCODER, PRESETS

SAME = 1e-5  # the largest difference of outputs over the largest value, in float32
SAME_FLOPS = 0.05
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all rows share. `pythons` are the rivals' interpreters; `kernels`, auto or plain, are ours; what sides print
    goes to `log`.
    """

    pythons: Mapping[str, str]
    device: str
    threads: int
    kernels: str
    repeats: int
    log: IO[bytes]

    def side(self, role: str) -> Side:
        """A process for a role, not yet entered."""
        role = PLAIN if role == "ours" and self.kernels == "plain" else role
        return Side(role, self.pythons.get(role, sys.executable), self.log, self.threads)

    def build(self, side: Side, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Has a side make its model."""
        return side.ask("build", spec=dict(spec), device=self.device, threads=self.threads)


@contextmanager
def written(name: str | None) -> Iterator[dict[str, str]]:
    """Random weights of a published model and an example, as files for as long as they are needed."""
    if name is None:
        yield {}
        return
    with TemporaryDirectory(prefix="perceivers-bench-") as folder:
        command = [sys.executable, "-m", "perceivers.bench.weights", name, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SideFailed(f"weights of {name}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        yield {"folder": f"{folder}/model", "example": f"{folder}/example.pt"}


def measure(work: Work, setting: Setting, files: Mapping[str, str]) -> Row:
    """The row of a work: seconds and peaks of each turn, how equal the outputs are, FLOPs, and the machine's best rate.

    Raises SideFailed where a side cannot run, or is not equal.
    """
    spec = {**work.spec, **files}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="perceivers-outputs-")))
        row: Row = {"what": work.what, "model": work.model, "precision": work.precision, "times": work.times}
        if work.spec["kind"] == "published" and work.precision == "fast":
            with setting.side("ours") as plain:
                setting.build(plain, {**spec, "precision": "float32"})
                plain.ask("check", to=f"{scratch}/truth.pt")
        ours = stack.enter_context(setting.side("ours"))
        row["ours_about"] = setting.build(ours, spec)
        ours.ask("check", to=f"{scratch}/ours.pt")
        sides = {"ours": ours}
        if work.rival is not None:
            theirs = sides["theirs"] = stack.enter_context(setting.side(work.rival))
            row["rival"] = work.rival
            row["theirs_about"] = setting.build(theirs, work.rival_spec(spec))
            theirs.ask("check", to=f"{scratch}/theirs.pt")
            row |= _equal(work, theirs, scratch)
        row["flop"] = flop(work)
        row["rates"] = [_rate(setting, taken(row))]
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(setting.repeats):
            for name, side in sides.items():
                turns[name].append(side.ask("run"))
        row["rates"].append(_rate(setting, taken(row)))
    return row | turns


def _rate(setting: Setting, precision: str) -> float:
    with setting.side("ours") as side:
        return side.ask("probe", precision=precision, device=setting.device, threads=setting.threads)


def flop(work: Work) -> int:
    """Of the plain model; a step of training counts as three forward passes, and a clip as encoded once."""
    kind = work.spec["kind"]
    if kind == "published":
        return 10**9 * PRESETS[work.spec["name"]].gflop
    if kind == "clip":
        preset = PRESETS[work.spec["name"]]
        pixels = AUTOENCODER.num_frames * AUTOENCODER.frame_size[0] * AUTOENCODER.frame_size[1]
        rest = (AUTOENCODER.audio_patches + pixels) * (CHUNKS - 1) // CHUNKS
        return 10**9 * preset.gflop + decode_flops(AUTOENCODER.perceiver, 1, rest)
    if kind == "training":
        return 3 * work.spec["batch"] * 10**9 * PRESETS[work.spec["name"]].gflop
    config, shape = sized(work.spec), work.spec["shape"]
    stages = {
        "encode": encode_flops(config, 1, shape["inputs"]),
        "process": process_flops(config, 1),
        "decode": decode_flops(config, 1, shape["queries"]),
    }
    return stages[work.spec["stage"]] if kind == "stage" else sum(stages.values())


def sized(spec: Mapping[str, Any]) -> PerceiverIOConfig:
    """The Perceiver IO of a shape."""
    shape, widening = spec["shape"], spec["widening"]
    return PerceiverIOConfig(
        input_channels=shape["channels"],
        query_channels=shape["query_channels"],
        num_latents=shape["latents"],
        latent_channels=shape["latent_channels"],
        self_attends_per_block=shape["layers"],
        num_blocks=shape["blocks"],
        self_heads=shape["heads"],
        cross_qk_channels=shape["cross_channels"],
        cross_v_channels=shape["cross_channels"],
        decoder_qk_channels=shape["cross_channels"],
        decoder_v_channels=shape["cross_channels"],
        cross_widening=widening,
        self_widening=widening,
        decoder_widening=widening,
        decoder_query_residual=False,
    )


def _equal(work: Work, theirs: Side, scratch: Path) -> Row:
    """How equal both sides are. Raises SideFailed where they are not: then no ratio means anything."""
    if work.what == "others":
        counted, ours = theirs.ask("flops"), flop(work)
        if abs(counted / ours - 1) > SAME_FLOPS:
            raise SideFailed(f"{work.rival}: {counted:,} FLOPs, ours {ours:,}: more than 5 % apart")
        return {"theirs_flop": counted}
    if work.what == "clip":
        return {}  # its one chunk is compared in the published rows
    found = {name: load(scratch / f"{name}.pt") for name in ("ours", "theirs")}
    if work.precision == "float32":
        error = difference(found["ours"], found["theirs"])
        if not error <= SAME:  # nor where it is NaN
            raise SideFailed(f"outputs differ from {work.rival}'s by {error:.1e} of their largest value")
        return {"error": error}
    if work.what == "training":
        return {"error": difference(found["ours"], found["theirs"])}
    truth = load(scratch / "truth.pt")
    return {
        "error": difference(found["ours"], truth),
        "theirs_error": difference(found["theirs"], truth),
        **same_top(found["ours"], truth, CLASSES.get(work.model, ("output",))),
    }


def load(path: Path) -> dict[str, Any]:
    """The outputs that a side wrote."""
    import torch

    return torch.load(path)


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The largest difference over the largest value, of the worst output."""
    import torch

    errors = [(found[name] - one).abs().max() / one.abs().max() for name, one in expected.items()]
    return float(torch.stack(errors).max())  # NaN where one of them is


def same_top(found: Mapping[str, Any], truth: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """How many answers of these outputs are `clear`, their margin over twice the largest difference, and how many of
    those have the `same` largest class. Nothing where no output says a class.
    """
    agreements = [agreement(truth[name], found[name]) for name in names]
    if not agreements:
        return {}
    return {"clear": sum(one.decided for one in agreements), "same": sum(one.same for one in agreements)}

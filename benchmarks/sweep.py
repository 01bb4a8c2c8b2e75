"""What makes it learn: `python -m benchmarks.sweep [SET …] [--data DIR]`, the only writer of docs/learning.md.

Each variant changes one thing of the defaults and learns for the same time on the same rows: train rows alone, with
the validation rows in the place of the test; test rows are never read. What is compared is the Perceiver without its
linear part, which would hide what a variant does. The defaults run with two seeds more than the variants, which shows
what a difference may come from alone. Processes of one thread run side by side; finished trials are kept in
benchmarks/sweep.json. Not concerned with how well the winner does (`accuracy.py`).
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy import ROWS, targets_of
from perceivers.data import infer, sources, splits
from perceivers.data.loading import with_value
from perceivers.files import write_atomic
from perceivers.model import Model
from perceivers.training.config import Architecture, Config, Training
from perceivers.training.folder import ALONE, METRICS
from perceivers.training.train import train

ROOT = Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "benchmarks/sweep.json", ROOT / "docs/learning.md"
SETS = {  # minutes a trial
    "digits": 0.5,
    "breast_cancer": 0.5,
    "diabetes": 0.5,
    "JapaneseVowels": 0.5,
    "OSULeaf": 0.5,
    "reviews": 2.0,
    "mnist_5k": 2.0,
    "languages": 2.0,
}
FOLDS = 5  # of which the first stands for the test
SEEDS, MORE_SEEDS = 10, 2  # at most; of the defaults


@dataclass(frozen=True, eq=False)
class Variant:
    """One change of the defaults: options, or what stands in the place of a thing in the code, by its name."""

    factor: str
    name: str
    training: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    patches: dict[str, Any] = field(default_factory=dict)


def weights(model: Any) -> list[dict[str, Any]]:
    """All weights as one group, of which none is a start's."""
    return [{"params": list(model.parameters()), "new": True}]


def adamw(model: Any, training: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        weights(model), lr=training.adamw_lr, weight_decay=training.weight_decay, betas=(0.9, 0.98), fused=True
    )


def other(name: str, lr: float) -> Callable[[Any, Any], torch.optim.Optimizer]:
    """An optimiser of the package pytorch-optimizer for all weights."""

    def make(model: Any, training: Any) -> torch.optim.Optimizer:
        kind = importlib.import_module("pytorch_optimizer").load_optimizer(name)
        return kind(weights(model), lr=lr, weight_decay=training.weight_decay)

    return make


def mixed(self: Model, *pieces: Any) -> dict[str, Tensor]:
    """MixUp (Zhang et al. 2018) of the tokens: the losses of both rows, as these are weighted. Not of forecasts."""
    if not self.training:
        return LOSSES(self, *pieces)
    found = [_mixed(self, piece) for piece in pieces]
    return {name: torch.cat([losses[name] for losses in found]) for name in found[0]}


def _mixed(self: Model, batch: Any) -> dict[str, Tensor]:
    array, mask = self.read(batch)
    order, share = (
        torch.randperm(len(array)),
        float(np.random.default_rng(int(torch.randint(2**31, ()))).beta(0.2, 0.2)),
    )
    queries = self.queries(batch)
    tokens = share * array + (1 - share) * array[order]
    outputs = self.perceiver(tokens, torch.cat(queries, dim=1), mask | mask[order])
    pieces = outputs.split([q.shape[1] for q in queries], dim=1)
    losses = {}
    for (target_field, target), piece in zip(self.asked, pieces, strict=True):
        part, answer = batch[target_field.name], target(piece, batch)
        swapped = {name: value[order] for name, value in part.items()}
        losses[target_field.name] = share * target.loss(answer, part) + (1 - share) * target.loss(answer, swapped)
    return losses


LOSSES = Model.losses
OPTIMISER = "perceivers.training.module.optimiser"
VARIANTS = (
    Variant("", "default"),
    Variant("optimiser", "AdamW", patches={OPTIMISER: adamw}),
    Variant("optimiser", "SOAP", patches={OPTIMISER: other("soap", 3e-3)}),
    Variant("optimiser", "LAMB", patches={OPTIMISER: other("lamb", 5e-3)}),
    Variant("optimiser", "schedule-free AdamW", patches={OPTIMISER: other("schedulefreeadamw", 2e-3)}),
    Variant("rate of Muon", "half", training={"lr": 1e-3}),
    Variant("rate of Muon", "double", training={"lr": 4e-3}),
    Variant("weight average", "none", training={"average": 0.0}),
    Variant("weight average", "0.998", training={"average": 0.998}),
    Variant("dropped paths", "none", training={"drop_path": 0.0}),
    Variant("dropped paths", "0.3", training={"drop_path": 0.3}),
    Variant("batch", "32", training={"batch_size": 32}),
    Variant("batch", "256", training={"batch_size": 256}),
    Variant("latents", "16", architecture={"num_latents": 16}),
    Variant("latents", "64", architecture={"num_latents": 64}),
    Variant("self-attends", "2", architecture={"self_attends": 2}),
    Variant("self-attends", "8", architecture={"self_attends": 8}),
    Variant("cross-attention heads", "4", architecture={"cross_heads": 4}),
    Variant("label smoothing", "none", patches={"perceivers.modalities.category.LABEL_SMOOTHING": 0.0}),
    Variant("label smoothing", "0.1", patches={"perceivers.modalities.category.LABEL_SMOOTHING": 0.1}),
    Variant("MixUp", "0.2", patches={"perceivers.model.Model.losses": mixed}),
    Variant("bytes dropped", "none", patches={"perceivers.modalities.text.SPAN_DROP": 0.0}),
    Variant("bytes dropped", "0.2", patches={"perceivers.modalities.text.SPAN_DROP": 0.2}),
    Variant("bytes dropped", "0.6", patches={"perceivers.modalities.text.SPAN_DROP": 0.6}),
    Variant("epochs of texts", "4", patches={"perceivers.training.defaults.TEXT_EPOCHS": 4}),
    Variant("epochs of texts", "16", patches={"perceivers.training.defaults.TEXT_EPOCHS": 16}),
    Variant("n-grams", "2 and 3", patches={"perceivers.modalities.text.NGRAMS": (2, 3)}),
    Variant(
        "augmentation of pictures", "none", patches={"perceivers.modalities.image.Image.augment": lambda s, f, p, u: p}
    ),
)


def inner(row: Any, source: Any) -> dict[str, np.ndarray]:
    """Train and validation rows of a set, cut anew: the validation rows, or a fifth, in the place of the test."""
    table = sources.read(source)
    schema = infer.infer(table, targets_of(row), group=row.group)
    parts = splits.split(table, schema, np.flatnonzero(with_value(table, schema.targets)))
    seen = np.union1d(parts["train"], parts["validation"])
    return splits.folds(table, schema, seen, FOLDS, seed=1)[0]


def trial(set_name: str, variant: Variant, seed: int, folder: Path | None) -> list[float]:
    """The metric of one training: of the Perceiver, and with its linear part."""
    row = next(row for row in ROWS if row.name == set_name)
    source = row.source(folder)
    assert source is not None
    config = Config(
        minutes=SETS[set_name],
        training=Training(seed=seed, **variant.training),
        architecture=Architecture(**variant.architecture),
    )
    with ExitStack() as stack, tempfile.TemporaryDirectory() as out:
        for name, value in variant.patches.items():
            stack.enter_context(patch(name, value))
        train(source, out=Path(out) / "run", targets=targets_of(row), config=config, parts=inner(row, source))
        files = [Path(out) / "run" / name for name in (ALONE, METRICS)]
        found = [json.loads(file.read_text()) for file in files if file.exists()]
    values = [metrics[row.metric]["value"] for (metrics,) in (one.values() for one in found)]
    return [values[0], values[-1]]


def fits(set_name: str, variant: Variant) -> bool:
    """Whether a variant touches what the set has."""
    texts = {"reviews", "languages"}
    touched = {
        "modalities.text.": texts,
        "TEXT_EPOCHS": texts,
        "modalities.image.": {"digits", "mnist_5k"},
        "modalities.category.": SETS.keys() - {"diabetes"},
    }
    return all(set_name in sets for part, sets in touched.items() for name in variant.patches if part in name)


def key(set_name: str, variant: Variant, seed: int) -> str:
    """The name of a trial in the store."""
    return f"{set_name}/{variant.factor}/{variant.name}/{seed}"


def page(store: dict[str, list[float]]) -> str:
    """docs/learning.md."""
    sets = [name for name in SETS if any(one.startswith(f"{name}/") for one in store)]
    times = ", ".join(f"{name} {SETS[name]:g}" for name in sets)
    found = {name: {variant: _values(store, name, variant, 0) for variant in VARIANTS} for name in sets}
    lines = [
        "# What makes it learn",
        "",
        "Written by `python -m benchmarks.sweep`. Each variant changes one thing of the defaults, learns from rows of",
        "train with one thread, and is measured on other rows that are not of the test: accuracy, of diabetes r2, of",
        "the Perceiver without its linear part, which the last row has. In brackets the difference from the mean of",
        "the defaults; one below the spread of their seeds says nothing.",
        f"Minutes a trial: {times}.",
        "",
        "| factor | variant | " + " | ".join(sets) + " |",
        "|---|---|" + "---|" * len(sets),
    ]
    for variant in VARIANTS:
        cells = [_cell(found[name][variant], found[name][VARIANTS[0]], variant is VARIANTS[0]) for name in sets]
        lines.append(f"| {variant.factor} | {variant.name} | " + " | ".join(cells) + " |")
    both = [_cell(_values(store, name, VARIANTS[0], 1), found[name][VARIANTS[0]], False) for name in sets]
    lines.append("| linear part | the default with it | " + " | ".join(both) + " |")
    return "\n".join([*lines, "", *outcome(found), "", REJECTED])


def _values(store: dict[str, list[float]], set_name: str, variant: Variant, which: int) -> list[float]:
    """The Perceiver's (0), or those with the linear part (1), of all seeds."""
    return [store[k][which] for seed in range(SEEDS) if (k := key(set_name, variant, seed)) in store]


def _cell(found: list[float], default: list[float], is_default: bool) -> str:
    if not found:
        return "–"
    mean = statistics.mean(found)
    if is_default:
        return f"{mean:.3f} (spread {max(found) - min(found):.3f})"
    return f"{mean:.3f} ({mean - statistics.mean(default):+.3f})" if default else f"{mean:.3f}"


def outcome(found: dict[str, dict[Variant, list[float]]]) -> list[str]:
    """Which variants differ from the defaults by more than these differ among themselves, and where."""
    better, worse = [], []
    for variant in VARIANTS[1:]:
        clear = {}
        for name, of_set in found.items():
            default, own = of_set[VARIANTS[0]], of_set[variant]
            if own and default and abs(statistics.mean(own) - statistics.mean(default)) > max(default) - min(default):
                clear[name] = statistics.mean(own) - statistics.mean(default)
        for kind, sign in ((better, 1), (worse, -1)):
            where = [f"{name} {gain:+.3f}" for name, gain in clear.items() if sign * gain > 0]
            if where:
                kind.append(f"- {variant.factor}, {variant.name}: {', '.join(where)}")
    return [
        "## Clear differences",
        "",
        "Better than the default, beyond the spread of its seeds:",
        "",
        *(better or ["- none"]),
        "",
        "Worse:",
        "",
        *(worse or ["- none"]),
    ]


REJECTED = """\
A default is changed where a variant is clearly better on sets of a kind and clearly worse on none, in the minutes that
people have (ten), not in those of a trial. The rules, from the kind of data, rows and length, are one file:
[perceivers/training/defaults.py](../perceivers/training/defaults.py).

## Tried elsewhere and not kept

Each on rows of train, and without a gain above the noise: larger initial latents; latents that start from inputs; a
convolutional stem for pictures; of texts n-grams dropped one by one or by kind, tables of 2^16 and 2^17 rows, n-grams
up to 8 bytes, hashed words as tokens, the mean of the n-grams added to the query; of sounds layer normalisation in the
place of batch normalisation; of forecasts the mean of linear maps of several lengths in the place of the best one.
"""


def main() -> None:
    """Runs what is missing, side by side, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], help="sets to run; all by default")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of data that no package holds")
    parser.add_argument("--seeds", type=int, default=1, choices=range(1, SEEDS - MORE_SEEDS + 1), metavar="N")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--factor", action="append", help="only these factors, beside the default; may be repeated")
    parser.add_argument("--one", metavar="SET/FACTOR/VARIANT/SEED", help="a single trial, its metric on stdout")
    arguments = parser.parse_args()
    if arguments.one:
        set_name, factor, name, seed = arguments.one.split("/")
        variant = next(v for v in VARIANTS if (v.factor, v.name) == (factor, name))
        print(json.dumps(trial(set_name, variant, int(seed), arguments.data)))
        return
    store = json.loads(STORE.read_text()) if STORE.exists() else {}
    rows = {row.name: row for row in ROWS}
    keys = [
        key(name, variant, seed)
        for variant in VARIANTS
        for name in arguments.sets or SETS
        if rows[name].source(arguments.data) is not None
        if fits(name, variant) and (not arguments.factor or variant.factor in ("", *arguments.factor))
        for seed in range(arguments.seeds + (MORE_SEEDS if variant is VARIANTS[0] else 0))
    ]

    def run(name: str) -> list[float] | None:
        command = [sys.executable, "-m", "benchmarks.sweep", "--one", name]
        command += ["--data", str(arguments.data)] if arguments.data else []
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1]}", flush=True)
            return None
        return json.loads(done.stdout.strip().splitlines()[-1])

    missing = [name for name in keys if name not in store]
    with ThreadPoolExecutor(arguments.processes) as pool:
        for name, found in zip(missing, pool.map(run, missing), strict=True):
            if found is not None:
                store[name] = found
                print(f"{name}: {found[0]:.4f}", flush=True)
                write_atomic(STORE, json.dumps(store, indent=1, sort_keys=True) + "\n")
    write_atomic(PAGE, page(store))


if __name__ == "__main__":
    main()

"""What makes it learn: `python -m benchmarks.sweep [SET …] [--data DIR]`, the only writer of docs/learning.md.

Each variant changes one thing of the defaults and learns in as many steps on the same rows: train rows alone, with
the validation rows in the place of the test; test rows are never read. What is compared is the Perceiver without its
linear part, which would hide what a variant does. The defaults run with two seeds more than the variants, which shows
what a difference may come from alone. Processes of one thread run side by side; finished trials are kept in
benchmarks/sweep.json. Not concerned with how well the winner does (`accuracy.py`).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import stats

from benchmarks.accuracy import ROWS, Row, targets_of
from benchmarks.variants import VARIANTS, Variant
from perceivers.data import infer, sources, splits
from perceivers.data.loading import with_value
from perceivers.files import write_atomic
from perceivers.training.config import Architecture, Config, Training
from perceivers.training.folder import ALONE, METRICS
from perceivers.training.train import train

ROOT = Path(__file__).resolve().parent.parent
STORE, PAGE = ROOT / "benchmarks/sweep.json", ROOT / "docs/learning.md"
SETS = {  # steps of a trial: other work on the machine changes nothing
    "digits": 200,
    "breast_cancer": 400,
    "diabetes": 300,
    "JapaneseVowels": 100,
    "OSULeaf": 300,
    "reviews": 150,
    "mnist_5k": 150,
    "languages": 300,
}
WHOLE = {  # in the minutes that the set has in `accuracy.py`: for what looks good in few steps, where it is named
    "reviews in its minutes": "reviews",
    "languages in its minutes": "languages",
}
FOLDS = 5  # of which the first stands for the test
SEEDS, MORE_SEEDS = 10, 2  # at most; of the defaults


def inner(row: Any, source: Any) -> dict[str, np.ndarray]:
    """Train and validation rows of a set, cut anew: the validation rows, or a fifth, in the place of the test."""
    table = sources.read(source)
    schema = infer.infer(table, targets_of(row), group=row.group)
    parts = splits.split(table, schema, np.flatnonzero(with_value(table, schema.targets)))
    seen = np.union1d(parts["train"], parts["validation"])
    return splits.folds(table, schema, seen, FOLDS, seed=1)[0]


def row_of(set_name: str) -> Row:
    """What `accuracy.py` knows of a set."""
    return next(row for row in ROWS if row.name == WHOLE.get(set_name, set_name))


def trial(set_name: str, variant: Variant, seed: int, folder: Path | None) -> list[float]:
    """The metric of one training: of the Perceiver, and with its linear part."""
    row = row_of(set_name)
    source = row.source(folder)
    assert source is not None
    config = Config(
        steps=SETS.get(set_name),
        minutes=row.minutes if set_name in WHOLE else None,
        training=Training(seed=seed, **variant.training),
        architecture=Architecture(**variant.architecture),
    )
    with ExitStack() as stack, tempfile.TemporaryDirectory() as out:
        for name, value in variant.patches.items():
            stack.enter_context(patch(name, value))
        run = Path(out) / "run"
        train(source, out=run, targets=targets_of(row), config=config, group=row.group, parts=inner(row, source))
        files = [run / name for name in (ALONE, METRICS)]
        found = [json.loads(file.read_text()) for file in files if file.exists()]
    values = [metrics[row.metric]["value"] for (metrics,) in (one.values() for one in found)]
    return [values[0], values[-1]]


def fits(set_name: str, variant: Variant) -> bool:
    """Whether a variant touches what the set has."""
    touched = {
        "recipe.TEXT_": {"reviews", "languages"},
        "recipe.ARRAY_BLOCKS": {"digits", "mnist_5k"},
        "modalities.image.": {"digits", "mnist_5k"},
        "recipe.IMAGE_TOKENS": {"mnist_5k"},
        "recipe.SERIES_BLOCKS": {"JapaneseVowels", "OSULeaf"},
        "modalities.series.": {"JapaneseVowels", "OSULeaf"},
        "modalities.number.": {"diabetes"},
        "recipe.CLASS_": SETS.keys() - {"diabetes"},
        "field_drop": {"breast_cancer", "diabetes"},
    }
    names = [*variant.patches, *variant.training]
    return all(row_of(set_name).name in sets for part, sets in touched.items() for name in names if part in name)


def key(set_name: str, variant: Variant, seed: int) -> str:
    """The name of a trial in the store."""
    return f"{set_name}/{variant.factor}/{variant.name}/{seed}"


def page(store: dict[str, list[float]]) -> str:
    """docs/learning.md."""
    sets = [name for name in (*SETS, *WHOLE) if any(one.startswith(f"{name}/") for one in store)]
    steps = ", ".join(f"{name} {SETS[name]}" for name in sets if name in SETS)
    found = {name: {variant: _values(store, name, variant, 0) for variant in VARIANTS} for name in sets}
    lines = [
        "# What makes it learn",
        "",
        "Written by `python -m benchmarks.sweep`. Each variant changes one thing of the defaults, learns from rows of",
        "train in as many steps, whatever one of them costs, and is measured on other rows that are not of the test:",
        "accuracy, of diabetes r2, of the Perceiver without its linear part, which the last row has. In brackets the",
        "difference from the mean of the defaults; one below the spread of their seeds says nothing.",
        f"Steps of a trial: {steps}; in a set's minutes, all that the budget of the results gives.",
        "A dash: not tried, or the set has nothing that it touches.",
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


def beyond(own: list[float], default: list[float]) -> float | None:
    """The difference of the means where it is outside the interval that 95 % of such differences would be in, were they
    of seeds alone (Student's t, the spread as the defaults' seeds have it); else None.
    """
    difference = statistics.mean(own) - statistics.mean(default)
    n, m = len(default), len(own)
    t = float(stats.t.ppf(0.975, n - 1))
    return difference if abs(difference) > t * statistics.stdev(default) * math.sqrt(1 / n + 1 / m) else None


def outcome(found: dict[str, dict[Variant, list[float]]]) -> list[str]:
    """Which variants differ from the defaults by more than seeds do, and where."""
    better, worse, pairs = [], [], 0
    for variant in VARIANTS[1:]:
        clear = {}
        for name, of_set in found.items():
            default, own = of_set[VARIANTS[0]], of_set[variant]
            if own and len(default) > 1:
                pairs += 1
                if (difference := beyond(own, default)) is not None:
                    clear[name] = difference
        for kind, sign in ((better, 1), (worse, -1)):
            where = [f"{name} {gain:+.3f}" for name, gain in clear.items() if sign * gain > 0]
            if where:
                kind.append(f"- {variant.factor}, {variant.name}: {', '.join(where)}")
    return [
        "## Clear differences",
        "",
        "Beyond what the default's own seeds differ by (95 %, Student's t; a variant is mostly one seed). Of",
        f"{pairs} pairs of a variant and a set one in twenty is here by chance.",
        "",
        "Better than the default:",
        "",
        *(better or ["- none"]),
        "",
        "Worse:",
        "",
        *(worse or ["- none"]),
    ]


REJECTED = """\
A default is changed where a variant is clearly better on sets of a kind and clearly worse on none, in the minutes that
people have (ten), not in the few steps of a trial. The rules, from the kind of data, rows and length, are one file:
[perceivers/recipe.py](../perceivers/recipe.py).

## Tried elsewhere and not kept

By hand, on rows of train, one to three seeds, and without a gain above the noise: larger initial latents; latents that
start from inputs; of texts n-grams dropped one by one or by kind, tables of 2^16 and 2^17 rows, n-grams up to 8 bytes,
hashed words as tokens, the mean of the n-grams added to the query, on 20 languages twice the epochs, residual
convolutions over tokens; naive Bayes beside it of 2^16 to 2^18 n-grams, or of up to 6 characters; of sounds layer
normalisation in the place of batch normalisation; of pictures batch normalisation in the place of layer normalisation;
of series batch normalisation in the blocks, a third block, blocks over patches, SOAP for all weights (in three minutes
on three other sets of aeon it is better on one and as good on two, and its steps are 40 % longer); of forecasts the
mean of linear maps of several lengths in the place of the best one.
"""


def main() -> None:
    """Runs what is missing, side by side, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS, *WHOLE], help="sets to run; by default all in few steps")
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
    keys = [
        key(name, variant, seed)
        for variant in VARIANTS
        for name in arguments.sets or SETS
        if row_of(name).source(arguments.data) is not None
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

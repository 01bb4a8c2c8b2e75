"""How well the default settings learn: `python -m benchmarks.accuracy [ROW …]`, the only writer of docs/results.md.

Each row of the table is a data set, trained with default settings and a time budget, on its own split or on folds.
Finished runs are kept in benchmarks/results.json; a second start goes on where the first stopped. `--again` forgets
the rows that are named. Rows whose data are neither samples nor in an installed package need `--data DIR`, the folder
that holds them or such packages unpacked, and are not run without it. `--baselines` adds a small CNN, RNN and
Transformer encoder, M5 for sound and PointNet for points, one run a fold each with the whole budget of ours.
`pretraining` is a table of its own (`pretraining.py`), which takes over an hour, so that it runs only where it is
named. Not concerned with how a model is trained.
"""

import argparse
import json
import math
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from benchmarks import packages, pretraining, rivals
from perceivers.bench.store import processor
from perceivers.data import infer, sources, splits
from perceivers.data.loading import with_value
from perceivers.data.sources import Table
from perceivers.evaluate import evaluate
from perceivers.files import write_atomic
from perceivers.terminal import counted
from perceivers.training.config import Config, Training
from perceivers.training.folder import ALONE
from perceivers.training.train import Data, prepare, train

ROOT = Path(__file__).resolve().parent.parent
STORE, PAGE, RUNS = ROOT / "benchmarks/results.json", ROOT / "docs/results.md", ROOT / "runs/benchmarks"


@dataclass(frozen=True)
class Row:
    """A data set, the budget of one run, how often, and the number that it should reach, if one is asked.

    `data` is a sample, what `packages.SOURCES` finds, or the name of a folder in DIR. With several `seeds` the same
    split is learned so often.
    """

    name: str
    data: str
    metric: str
    minutes: float
    folds: int
    must: float | None
    reference: str
    target: str | None = None  # where the source brings none
    group: str | None = None  # stays on one side
    seeds: int = 1
    time: str | None = None  # of the steps of a long table
    horizon: int | None = None  # so many are forecast
    bayes: bool = False  # naive Bayes of 3-grams is measured, too

    @property
    def runs(self) -> int:
        return self.folds * self.seeds

    def source(self, folder: Path | None) -> str | Path | Table | None:
        """What is read; None where it is not there."""
        if self.data.startswith("sample:"):
            return self.data
        if self.data in packages.SOURCES:
            return packages.SOURCES[self.data](folder)
        return folder / self.data if folder is not None and (folder / self.data).exists() else None


ROWS = (
    Row("digits", "sample:digits", "accuracy", 3, 1, 0.98, "support vector machine about 0.98", seeds=3),
    Row("breast_cancer", "sample:breast_cancer", "accuracy", 1, 5, 0.965, "logistic regression about 0.97"),
    Row("wine", "sample:wine", "accuracy", 1, 5, 0.97, "logistic regression about 0.98"),
    Row("diabetes", "sample:diabetes", "r2", 1, 5, 0.45, "ridge about 0.48"),
    Row("shapes", "sample:shapes", "accuracy", 5, 1, 0.97, "the data are generated"),
    Row("fsdd", "fsdd", "accuracy", 5, 1, 0.97, "CNNs 0.97 to 0.99", "digit"),
    Row("fsdd_speakers", "fsdd", "accuracy", 5, 3, None, "the speakers of the test are unseen", "digit", "speaker"),
    Row("mnist_5k", "mnist", "accuracy", 10, 1, 0.97, "3 nearest neighbours 0.942, logistic 0.923"),
    Row("reviews", "reviews", "accuracy", 10, 1, 0.78, "tf-idf and logistic regression 0.809"),
    Row("languages", "languages", "accuracy", 10, 1, 0.95, "–", group="message", bayes=True),
    Row("ItalyPowerDemand", "ItalyPowerDemand", "accuracy", 10, 1, 0.955, "1-NN DTW 0.950, InceptionTime 0.966"),
    Row("GunPoint", "GunPoint", "accuracy", 3, 1, 0.94, "1-NN DTW 0.907, InceptionTime 1.0", seeds=3),
    Row("JapaneseVowels", "JapaneseVowels", "accuracy", 3, 1, 0.96, "1-NN DTW 0.95", seeds=3),
    Row("OSULeaf", "OSULeaf", "accuracy", 3, 1, 0.80, "1-NN DTW 0.591, InceptionTime 0.921", seeds=3),
    Row("BasicMotions", "BasicMotions", "accuracy", 3, 1, 0.95, "1-NN DTW 0.975", seeds=3),
    Row("BasicMotions_array", "BasicMotions_array", "accuracy", 3, 1, 0.95, "1-NN DTW 0.975", seeds=3),
    Row("BasicMotions_events", "BasicMotions_events", "accuracy", 3, 1, 0.95, "1-NN DTW 0.975", seeds=3),
    Row("sunspots", "sunspots", "mse", 3, 1, None, "to be below both", "sunspots", seeds=3, time="time", horizon=24),
)


def targets_of(row: Row) -> tuple[str, ...]:
    return () if row.target is None else (row.target,)


def parts_of(row: Row, source: str | Path | Table, fold: int) -> dict[str, np.ndarray] | None:
    """The row ids of a fold; None where the row has its ordinary split."""
    if row.folds == 1:
        return None
    table = sources.read(source)
    schema = infer.infer(table, targets_of(row), group=row.group)
    ids = np.flatnonzero(with_value(table, schema.targets))
    return splits.folds(table, schema, ids, row.folds, seed=0)[fold]


def run(row: Row, source: str | Path | Table, number: int) -> dict[str, Any]:
    """One training with default settings → its metric, the baselines' on the same rows, and the time it took."""
    fold, seed = divmod(number, row.seeds)
    out = RUNS / f"{row.name}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    train(
        source,
        out=out,
        targets=targets_of(row),
        config=Config(minutes=row.minutes, training=Training(seed=seed)),
        group=row.group,
        time_column=row.time,
        horizon=row.horizon,
        parts=parts_of(row, source, fold),
    )
    seconds = time.monotonic() - began
    ((_, metrics),) = json.loads((out / "metrics.json").read_text()).items()
    ((_, baselines),) = json.loads((out / "baselines.json").read_text()).items()
    alone = {}
    if (out / ALONE).exists():
        ((_, without),) = json.loads((out / ALONE).read_text()).items()
        alone = {"alone": without[row.metric]["value"]}
    return {
        "n": metrics["n"],
        **metrics[row.metric],
        **alone,
        "baselines": {name: found[row.metric]["value"] for name, found in baselines.items() if row.metric in found},
        "seconds": round(seconds, 1),
        "budget": 60 * row.minutes,
        "machine": this_machine(),
    }


def this_machine() -> str:
    """The processor, torch's threads and its version: what a budget of time holds for."""
    return f"{processor()}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}"


def prepared(row: Row, source: str | Path | Table, fold: int) -> Data:
    """The rows of a fold, as a training has them."""
    table = sources.read(source)
    schema = infer.infer(table, targets_of(row), group=row.group, time=row.time, horizon=row.horizon)
    return prepare(table, schema, parts_of(row, source, fold))


def bayes(row: Row, source: str | Path | Table) -> dict[str, Any]:
    """Naive Bayes of 1 to 3 characters within words on our split, its smoothing chosen on the validation rows."""
    data = prepared(row, source, 0)
    texts, classes = (
        data.table.frame[field.columns[0]].to_numpy() for field in (*data.schema.inputs, *data.schema.targets)
    )
    train = data.parts["train"]

    def accuracy(smoothing: float, part: str) -> float:
        counts = CountVectorizer(analyzer="char_wb", ngram_range=(1, 3))
        model = make_pipeline(counts, MultinomialNB(alpha=smoothing)).fit(texts[train], classes[train])
        return float(model.score(texts[data.parts[part]], classes[data.parts[part]]))

    best = max((1.0, 0.3, 0.1, 0.03, 0.01), key=lambda smoothing: accuracy(smoothing, "validation"))
    return {"value": accuracy(best, "test"), "smoothing": best}


def compete(
    row: Row, source: str | Path | Table, fold: int, kept: dict[str, Any], only: list[str], keep: Callable[[], None]
) -> None:
    """The neural baselines, each with the whole budget, on the rows of one of our runs, put into `kept`, {name: metric
    and time}, where they are missing; of these `only` some, where they are named. `keep` is called after each.
    """
    data = prepared(row, source, fold)
    for name, rival in rivals.rivals(data).items():
        if name in kept or (only and name not in only):
            continue
        began = time.monotonic()
        model = rivals.compete(rival, data, 60 * row.minutes, seed=0)
        ((evaluation,), _) = evaluate(model, data.table, data.parts["test"])
        metric = evaluation.metrics[row.metric]
        kept[name] = {**metric, "seconds": round(time.monotonic() - began, 1), "machine": this_machine()}
        keep()
        print(f"{row.name}: {name} {row.metric} {metric['value']:.4f}", flush=True)


def interval(row: Row, runs: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The mean over runs and its 95 % interval: of one run its own; of folds Student's t over them; of seeds, which
    are tested on the same rows, this and the mean of their own intervals together.
    """
    values = [r["value"] for r in runs]
    if len(values) == 1:
        return values[0], runs[0]["low"], runs[0]["high"]
    mean = statistics.mean(values)
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}[len(values)]
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    low, high = mean - half, min(1.0, mean + half) if row.metric in ("accuracy", "r2") else mean + half
    if row.seeds > 1:
        low, high = (
            min(low, statistics.mean(r["low"] for r in runs)),
            max(high, statistics.mean(r["high"] for r in runs)),
        )
    return mean, low, high


def averages(found: list[dict[str, dict[str, Any]]]) -> str:
    """The mean value of each baseline over folds or seeds."""
    everywhere = [name for name in found[0] if all(name in f for f in found)]
    return ", ".join(f"{name} {statistics.mean(f[name]['value'] for f in found):.3f}" for name in everywhere)


def page(store: dict[str, Any]) -> str:
    """docs/results.md from the runs that were kept."""
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.accuracy`; every run with default settings. The intervals are of 95 %: of",
        "one run over its test rows, of folds over these, of seeds over seeds and test rows, whichever is wider. The",
        "baselines ran on the same splits.",
        "",
        *machines(store),
        "",
        "*Alone* is the Perceiver without its linear part, from the same runs; – where it has none.",
        "Neural baselines learned once for each fold, with the whole budget; ours may end sooner, where more steps",
        "teach nothing. A table has no order that a CNN or an RNN could use, so a Transformer alone is beside it.",
        "",
        "| data | metric | test rows | budget | slowest run | perceivers | alone | asked | baselines, same split "
        "| neural baselines | elsewhere |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        runs = [store[key] for number in range(row.runs) if (key := f"{row.name}/{number}") in store]
        if len(runs) < row.runs:
            lines.append(f"| {row.name} | {row.metric} | not run |")
            continue
        mean, low, high = interval(row, runs)
        simple = averages([{name: {"value": value} for name, value in r["baselines"].items()} for r in runs])
        if f"{row.name}/bayes" in store:
            simple += f", 3-gram Bayes {store[f'{row.name}/bayes']['value']:.3f}"
        rivals_found = [store[key] for fold in range(row.folds) if (key := f"{row.name}/neural/{fold}") in store]
        neural = averages(rivals_found) if len(rivals_found) == row.folds else "–"
        times = f", {row.folds} folds" if row.folds > 1 else f", {row.seeds} seeds" if row.seeds > 1 else ""
        by_itself = statistics.mean(r.get("alone", r["value"]) for r in runs)  # a run without a linear part is that
        alone = f"{by_itself:.3f}" if any("alone" in r for r in runs) else "–"
        n = sum(r["n"] for r in runs) // row.seeds
        lines.append(
            f"| {row.name}{times} | {row.metric} | {n:,} | {60 * row.minutes:.0f} s "
            f"| {max(r['seconds'] for r in runs):.0f} s | **{mean:.3f}** ({low:.3f} to {high:.3f}) | {alone} "
            f"| {row.must or '–'} | {simple} | {neural} | {row.reference} |"
        )
    return "\n".join([*lines, "", *pretraining.section(store)]) + "\n"


def machines(store: dict[str, Any]) -> list[str]:
    """Where the runs of the first table were made, ours and neural baselines."""
    names = {row.name for row in ROWS}
    found = Counter(
        run.get("machine", "machines that were not noted")
        for key, kept in store.items()
        if key.split("/")[0] in names and not key.endswith("/bayes")
        for run in (kept.values() if "/neural/" in key else [kept])
    )
    return [f"- {counted(count, 'run')}: {name}" for name, count in found.most_common()]


def pretrain(folder: Path | None, store: dict[str, Any], again: bool) -> None:
    """The row `pretraining`: what is missing of it, kept as it ends."""
    table = packages.languages(folder)
    if table is None:
        print("pretraining: not run: neither a package nor the folder of --data has Django")
        return
    if again:
        shutil.rmtree(RUNS / "pretraining-first", ignore_errors=True)
        for key in [key for key in store if key.startswith("pretraining/")]:
            del store[key]
    print(f"pretraining: about {pretraining.PLAN.minutes():.0f} minutes, less what is kept", flush=True)
    keep = partial(_keep, store)
    schema = infer.infer(table, group="message")
    parts = splits.split(table, schema, np.arange(len(table.frame)))
    test = np.isin(np.arange(len(table.frame)), parts["test"])
    labelled = table.frame.drop("message").with_columns(split=pl.Series(np.where(test, "test", "train")))
    pretraining.run(pretraining.PLAN, labelled, RUNS, store, keep)


def _keep(store: dict[str, Any]) -> None:
    write_atomic(STORE, json.dumps(store, indent=1) + "\n")


def main() -> None:
    """Runs what is missing, keeps each run as it ends, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        choices=[[], *(row.name for row in ROWS), "pretraining"],
        help="rows to run; all of the first table by default",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of data that no package holds")
    parser.add_argument("--baselines", action="store_true", help="run the neural baselines, not ours")
    parser.add_argument("--only", action="append", default=[], choices=rivals.NAMES, help="of the neural baselines")
    parser.add_argument("--again", action="store_true", help="forget earlier runs of these rows")
    arguments = parser.parse_args()
    store = json.loads(STORE.read_text()) if STORE.exists() else {}
    wanted = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    for row in wanted:
        source = row.source(arguments.data)
        if source is None:
            print(f"{row.name}: not run: neither a package nor the folder of --data has {row.data}")
            continue
        if arguments.baselines:
            keys = [f"{row.name}/neural/{fold}" for fold in range(row.folds)]
        else:
            keys = [f"{row.name}/{number}" for number in range(row.runs)]
        for number, key in enumerate(keys):
            if arguments.baselines:
                kept = store.setdefault(key, {})
                if arguments.again:
                    for name in arguments.only or list(kept):
                        kept.pop(name, None)
                compete(row, source, number, kept, arguments.only, partial(_keep, store))
            elif arguments.again or key not in store:
                store[key] = run(row, source, number)
                print(f"{key}: {row.metric} {store[key]['value']:.4f} in {store[key]['seconds']} s", flush=True)
                _keep(store)
        if row.bayes and (arguments.again or f"{row.name}/bayes" not in store):
            store[f"{row.name}/bayes"] = bayes(row, source)
            _keep(store)
    if "pretraining" in arguments.rows:
        pretrain(arguments.data, store, arguments.again)
    PAGE.parent.mkdir(exist_ok=True)
    write_atomic(PAGE, page(store))


if __name__ == "__main__":
    main()

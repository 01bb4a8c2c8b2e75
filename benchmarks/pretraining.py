"""Whether masked bytes of texts without labels are a start: the row `pretraining` of `benchmarks.accuracy`.

One model fills masked bytes of messages in twenty languages, and is not told which is which. Then 50, 100, 500 and
2,000 labels, three draws of each, are learned from that start and from nothing, in the same time, and both are tested
on the same messages, which no one has read in any language. Not concerned with the page.
"""

import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceivers.data.schema import Field, Schema
from perceivers.training.config import Config, Training
from perceivers.training.train import train

TEXT, LABEL = "text", "language"
MASKED = Schema(
    tuple(Field(*of, (TEXT,)) for of in ((f"{TEXT}.masked", "masked", "input"), (TEXT, "masked", "target")))
)
STUDENT_T = {2: 12.71, 3: 4.30}  # of so many differences, for 95 %
VALIDATION = 0.15  # of the labels
START, ALONE = "start", "alone"
PERCEIVER = Training(wide=False)  # a linear part is the same with a start and without
FIRST, FEW, MANY = (Config(minutes=minutes, training=PERCEIVER) for minutes in (20, 1, 2))
Store = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How long and how often; with `many` labels a run has more time."""

    labels: tuple[int, ...] = (50, 100, 500, 2_000)
    seeds: int = 3
    first: Config = FIRST
    few: Config = FEW
    many: Config = MANY
    from_labels: int = 500

    def config(self, labels: int, seed: int) -> Config:
        """Of one run."""
        config = self.many if labels >= self.from_labels else self.few
        return replace(config, training=replace(config.training, seed=seed))

    def minutes(self) -> float:
        """All of it, where nothing was done before."""
        each = [2 * self.seeds * (self.config(labels, 0).minutes or 0) for labels in self.labels]
        return (self.first.minutes or 0) + sum(each)


PLAN = Plan()


def run(plan: Plan, labelled: pl.DataFrame, runs: Path, store: Store, keep: Callable[[], None]) -> None:
    """Runs what `store` lacks and puts it there, calling `keep` after each.

    `labelled` has the columns text, language and split; the texts of train are the first model's, without labels. A run
    that was cut off goes on.
    """
    frame = labelled.filter(pl.col("split") == "train").select(TEXT)
    first = train(frame, out=runs / "pretraining-first", schema=MASKED, config=plan.first)
    metrics = json.loads((first / "metrics.json").read_text())[TEXT]
    store["pretraining/first"] = {**metrics["bits_per_byte"], "n": metrics["n"], "texts": len(frame)}
    keep()
    for labels in plan.labels:
        for seed in range(plan.seeds):
            parts = drawn(labelled, labels, seed)
            for name, start in ((START, first), (ALONE, None)):
                if (key := key_of(labels, seed, name)) not in store:
                    out = runs / key.replace("/", "-")
                    store[key] = _tuned(labelled, parts, plan.config(labels, seed), start, out)
                    print(f"{key}: accuracy {store[key]['value']:.4f} in {store[key]['seconds']} s", flush=True)
                    keep()


def key_of(labels: int, seed: int, name: str) -> str:
    """Where a run is kept."""
    return f"pretraining/{labels}/{seed}/{name}"


def drawn(labelled: pl.DataFrame, labels: int, seed: int) -> dict[str, np.ndarray]:
    """So many rows of train, as many of each class as of any other, some of them for validation; and all test rows."""
    rows = labelled.with_row_index().filter(pl.col("split") == "train")
    rng = np.random.default_rng(seed)
    shuffled = rows[rng.permutation(len(rows))].with_columns(turn=pl.int_range(pl.len()).over(LABEL))
    chosen = shuffled.sort("turn", maintain_order=True)["index"].to_numpy()[:labels]
    learned, validation = np.split(rng.permutation(chosen), [labels - round(VALIDATION * labels)])
    return {
        "train": np.sort(learned),
        "validation": np.sort(validation),
        "test": np.flatnonzero(labelled["split"] == "test"),
    }


def _tuned(
    labelled: pl.DataFrame, parts: dict[str, np.ndarray], config: Config, start: Path | None, out: Path
) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    train(labelled.drop("split"), out=out, targets=[LABEL], config=config, start=start, parts=parts)
    metrics = json.loads((out / "metrics.json").read_text())[LABEL]
    baselines = json.loads((out / "baselines.json").read_text())[LABEL]
    simple = {name: found["accuracy"]["value"] for name, found in baselines.items()}
    seconds = round(time.monotonic() - began, 1)
    return {"n": metrics["n"], **metrics["accuracy"], "baselines": simple, "seconds": seconds}


def section(store: Store, plan: Plan = PLAN) -> Iterator[str]:
    """The lines of the page."""
    yield "## Pretraining"
    yield ""
    if "pretraining/first" not in store:
        yield "Not run: `python -m benchmarks.accuracy pretraining`."
        return
    first = store["pretraining/first"]
    minutes, texts = f"{plan.first.minutes:.0f}", f"{first['texts']:,}"
    yield f"A model that fills masked bytes learned for {minutes} minutes from {texts} messages in twenty languages"
    yield f"without labels ({first['value']:.2f} bits a byte on {first['n']:,} of them, set aside). It is the start"
    yield "(`--from`) for few labels, which language a message is in, against the same time from nothing; both are"
    yield "tested on the same messages, which neither has read in any language. The gain is the mean over"
    yield f"{plan.seeds} draws of labels, with Student's interval of the differences. Perceivers without a linear part."
    yield ""
    yield "| labels | from masked bytes | from nothing | gain (95 %) | logistic regression, same labels | slowest run |"
    yield "|---|---|---|---|---|---|"
    for labels in plan.labels:
        pairs = [[store.get(key_of(labels, seed, name)) for name in (START, ALONE)] for seed in range(plan.seeds)]
        done = [(with_start, alone) for with_start, alone in pairs if with_start and alone]
        yield f"| {labels:,} | not run |" if len(done) < plan.seeds else _row(labels, done)


def _row(labels: int, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    ours, alone = (statistics.mean(pair[i]["value"] for pair in pairs) for i in (0, 1))
    gain, half = difference([a["value"] - b["value"] for a, b in pairs])
    simple = statistics.mean(b["baselines"]["logistic regression"] for _, b in pairs)
    slowest = max(found["seconds"] for pair in pairs for found in pair)
    interval = f"{gain:+.3f} ({gain - half:+.3f} to {gain + half:+.3f})"
    return f"| {labels:,} | **{ours:.3f}** | {alone:.3f} | {interval} | {simple:.3f} | {slowest:.0f} s |"


def difference(values: list[float]) -> tuple[float, float]:
    """The mean of differences and half of its 95 % interval; of one there is no interval."""
    if len(values) == 1:
        return values[0], math.nan
    return statistics.mean(values), STUDENT_T[len(values)] * statistics.stdev(values) / math.sqrt(len(values))

"""Whether masked bytes of texts without labels are a start: the row `pretraining` of `benchmarks.accuracy`.

One model fills masked bytes of 4,000 reviews of food, whose labels it does not see, and of sentences from other
reviews. Then 50, 100, 500 and 2,000 labels, three draws of each, are learned from that start and from nothing, in the
same time, and both are tested on the same 1,000 reviews, which were in neither. Not concerned with the page.
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

from perceivers.training.config import Config
from perceivers.training.train import train

STUDENT_T = {2: 12.71, 3: 4.30}  # of so many differences, for 95 %
VALIDATION = 0.15  # of the labels
START, ALONE = "start", "alone"
FIRST, FEW, MANY = Config(minutes=45), Config(minutes=1), Config(minutes=2)
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


def run(
    plan: Plan, labelled: pl.DataFrame, texts: list[str], runs: Path, store: Store, keep: Callable[[], None]
) -> None:
    """Runs what `store` lacks and puts it there, calling `keep` after each.

    `labelled` has the columns review, score and split; `texts` have no labels. A run that was cut off goes on.
    """
    frame = pl.DataFrame({"review": texts})
    first = train(frame, out=runs / "pretraining-first", targets=["review"], config=plan.first)
    metrics = json.loads((first / "metrics.json").read_text())["review"]
    store["pretraining/first"] = {**metrics["bits_per_byte"], "n": metrics["n"], "texts": len(texts)}
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
    """So many rows of train, the same share of each class, some of them for validation; and all test rows."""
    rows = labelled.with_row_index().filter(pl.col("split") == "train")
    rng = np.random.default_rng(seed)
    chosen = []
    for of_class in rows.partition_by("score", maintain_order=True):
        ids = rng.permutation(of_class["index"].to_numpy())[: round(labels * len(of_class) / len(rows))]
        chosen.append(np.array_split(ids, [round(VALIDATION * len(ids))]))
    validation, learned = (np.sort(np.concatenate(part)) for part in zip(*chosen, strict=True))
    return {"train": learned, "validation": validation, "test": np.flatnonzero(labelled["split"] == "test")}


def _tuned(
    labelled: pl.DataFrame, parts: dict[str, np.ndarray], config: Config, start: Path | None, out: Path
) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    train(labelled.drop("split"), out=out, targets=["score"], config=config, start=start, parts=parts)
    metrics = json.loads((out / "metrics.json").read_text())["score"]
    baselines = json.loads((out / "baselines.json").read_text())["score"]
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
    yield f"A model that fills masked bytes learned for {minutes} minutes from {texts} texts of reviews"
    yield f"without labels ({first['value']:.2f} bits a byte on {first['n']:,} others). It is the start (`--from`)"
    yield "for few labels, against the same time from nothing; both are tested on the same reviews, which neither has"
    yield f"read. The gain is the mean over {plan.seeds} draws of labels, with Student's interval of the differences."
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

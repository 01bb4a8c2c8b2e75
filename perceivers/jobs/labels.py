"""How often a published model names the right class, where data say which is right.

Not concerned with how it finds its answer.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from perceivers.data import sources
from perceivers.data.schema import Field
from perceivers.errors import BadInput
from perceivers.evaluate import Evaluation, require_truth, with_unknown
from perceivers.jobs.base import Job
from perceivers.modalities import MODALITIES

CATEGORY = MODALITIES["category"]
CLASS = Field("class", "category", "target", ("class",), CATEGORY.options)


def evaluations(
    job: Job, classes: Sequence[str], data: Any, probabilities: Callable[[Any], Float[np.ndarray, " k"]]
) -> tuple[list[Evaluation], dict[int, str], list[str]]:
    """As `Loaded.evaluations`, for a model whose answer to an example is the probability of each of `classes`.

    The truth is the column `class`: a class's name, one of the names between its commas, or its index. What the model
    does not know counts as wrong. Raises BadInput where there is no such column, or nothing in it is known.
    """
    table = sources.read(data)
    require_truth(table, [CLASS])
    known = _names(classes)
    truth = [known.get(str(cell).strip(), str(cell)) for cell in table.frame["class"].to_list()]
    table = replace(table, frame=table.frame.with_columns(pl.Series("class", truth)))
    field = with_unknown(CLASS.with_options(categories=list(classes)), table, np.arange(len(truth)))
    if not set(truth) & set(classes):
        raise BadInput(
            f"{table.name}: no class of {job.name} is called {truth[0]!r:.60}, nor is any other in the column 'class': "
            f"its classes are {classes[0]!r}, {classes[1]!r} and so on"
        )
    failed: dict[int, str] = {}
    found = dict(job.each(table, lambda row, example: probabilities(example), failed))
    rows = np.array(list(found))
    places = {name: i for i, name in enumerate(field.options["categories"])}
    right = np.array([places[truth[row]] for row in found])
    answers = np.zeros((len(rows), len(places)))
    answers[:, : len(classes)] = list(found.values())
    metrics = CATEGORY.metrics(field, answers, right.tolist(), None)
    unknown = int((right >= len(classes)).sum())
    notes = [f"{unknown:,} rows of classes that {job.name} does not know: counted as wrong"] if unknown else []
    return [Evaluation(field, rows, answers, right, metrics)], failed, notes


def _names(classes: Sequence[str]) -> dict[str, str]:
    """What a class may be called → its name; a word that several share is none of theirs."""
    words = {(word.strip(), name) for name in classes for word in (*name.split(","), name)}
    shared = Counter(word for word, _ in words)
    by_index = {str(i): name for i, name in enumerate(classes)}
    return by_index | {word: name for word, name in words if shared[word] == 1}

"""Explanations of single answers for people and programs: lines of text, JSON, a page, a picture.

Not concerned with how they are found (`perceivers/explain.py`).
"""

import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perceivers.errors import BadInput
from perceivers.explain import Explanation
from perceivers.files import write_atomic
from perceivers.modalities.shaded import COLOUR, Plain
from perceivers.report import looks
from perceivers.report.page import render

MOST_DRAWN = 12  # answers on a page or in a picture
FEWEST_LINES, MOST_LINES = 5, 10  # fields that a picture has room for
BLUE, GREY = "#2866c8", "#5b6472"


def writer(path: Path) -> Callable[[Sequence[Explanation], dict[str, dict[str, str]], Path], None]:
    """What writes a file of that ending. Raises BadInput where there is nothing."""
    found = WRITERS.get(path.suffix.lower())
    if found is None:
        raise BadInput(f"{path}: unknown ending {path.suffix!r}: use one of {', '.join(WRITERS)}")
    return found


def to_json(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]]) -> str:
    """{"method": {target: {"share": …, "attention": …}}, "answers": [{"row", "target", "answer", "fields"}]}."""
    content = {"method": methods, "answers": [e.to_dict() for e in explanations]}
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)


def to_lines(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]]) -> list[str]:
    """For a terminal: an answer, and below it a line for each field."""
    lines = []
    for e in explanations:
        found = looks.looked(e, f"row {e.row + 1}")
        width = max(len(line.name) for line, _, _ in found.lines)
        lines.append(f"{found.name}  {e.target.name}: {found.answer}")
        lines += [
            f"  {line.name:<{width}}  share {line.share:>6}  attention {line.attention:>6}  {change}"
            for line, change, _ in found.lines
        ]
        lines += [f"  and {found.more} more fields"] if found.more else []
    return [*lines, *(f"{line}." for one in methods.values() for line in looks.sentences(one))]


def _write_json(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    write_atomic(path, to_json(explanations, methods) + "\n")


def _write_page(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    content = {
        "explained_answers": [(e.target.name, looks.looked(e, f"row {e.row + 1}")) for e in explanations[:MOST_DRAWN]],
        "count": len(explanations),
        "methods": {target: looks.sentences(one) for target, one in methods.items()},
    }
    write_atomic(path, render("explained.html.j2", content, autoescape=True))


def _write_picture(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    """An answer a row: its fields as bars on the left, drawings of what has an inside on the right."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = explanations[:MOST_DRAWN]
    settings = {"svg.fonttype": "path", "svg.hashsalt": "explained", "text.parse_math": False}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # signs that its fonts lack are drawn as boxes
        figure = Figure(figsize=(9, 0.9 + 2.4 * len(drawn)), layout="constrained", dpi=120)
        panels = figure.subfigures(len(drawn), 1, squeeze=False)[:, 0]
        for panel, e in zip(panels, drawn, strict=True):
            _draw_answer(panel, e)
        figure.supxlabel("blue: share of the answer; orange: attention", fontsize=8, color=GREY)
        buffer = io.BytesIO()
        kind = path.suffix.lower()[1:]
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomic(path, buffer.getvalue())


def _draw_answer(panel: Any, e: Explanation) -> None:
    found = looks.looked(e, f"row {e.row + 1}")
    insides = [(f.field.name, s) for f in e.fields if not isinstance(s := f.shaded(), Plain)][:3]
    panel.suptitle(f"{found.name}   {e.target.name}: {found.answer}"[:90], x=0.02, ha="left", fontsize=10)
    axes = panel.subplots(1, 1 + max(1, len(insides)), squeeze=False)[0]
    _draw_bars(axes[0], [line for line, _, _ in found.lines[:MOST_LINES]])
    for place in axes[1:]:
        place.axis("off")
    for place, (name, shaded) in zip(axes[1:], insides, strict=False):
        shaded.draw(place)
        place.set_title(name[:40], fontsize=8)


def _draw_bars(axes: Any, lines: Sequence[looks.FieldLine]) -> None:
    places = range(len(lines))
    axes.barh([i - 0.18 for i in places], [line.share_width for line in lines], 0.36, color=BLUE)
    orange = tuple(c / 255 for c in COLOUR)
    axes.barh([i + 0.18 for i in places], [line.attention_width for line in lines], 0.3, color=orange)
    axes.set_yticks(list(places), [f"{line.name[:24]}  {line.share}" for line in lines], fontsize=7)
    axes.set(xlim=(0, 100), xticks=[], ylim=(max(len(lines), FEWEST_LINES) - 0.5, -0.5))
    axes.spines[["top", "right", "bottom"]].set_visible(False)


WRITERS = {".html": _write_page, ".json": _write_json, ".png": _write_picture, ".svg": _write_picture}

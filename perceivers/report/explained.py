"""Explanations of single answers for people and programs: lines of text, JSON, a page, a picture.

Not concerned with how they are found (`perceivers/explain.py`).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from perceivers.errors import BadInput
from perceivers.explain import Explanation
from perceivers.files import check_place, write_atomic
from perceivers.report import looks
from perceivers.report.page import render
from perceivers.report.pictures import picture

MOST_DRAWN = 12  # rows on a page or in a picture


def writer(path: Path) -> Callable[[Sequence[Explanation], dict[str, dict[str, str]], Path], None]:
    """What writes a file of that ending. Raises BadInput where there is nothing, or no file could be at `path`."""
    found = WRITERS.get(path.suffix.lower())
    if found is None:
        raise BadInput(f"{path}: unknown ending {path.suffix!r}: use one of {', '.join(WRITERS)}")
    check_place(path)
    return found


def to_json(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]]) -> str:
    """{"method": {target: {"share": …, "attention": …}}, "answers": [{"row", "target", "answer", "fields"}]}."""
    content = {"method": methods, "answers": [e.to_dict() for e in explanations]}
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)


def to_lines(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]]) -> list[str]:
    """For a terminal: an answer, and below it a line for each field."""
    lines = []
    for e in explanations:
        found = looks.looked(e, looks.row_name(e))
        sure = looks.sure_text(e)
        lines.append(f"{found.name}  {e.target.name}: {found.answer}{f', {sure}' if sure else ''}")
        if len(e.fields) == 1:
            lines.append(f"  {e.fields[0].field.name} is the only field: the whole answer rests on it")
            continue
        width = max(len(line.name) for line, _, _ in found.lines)
        lines += [
            f"  {line.name:<{width}}  share {line.share:>6}  attention {line.attention:>6}  {change}".rstrip()
            for line, change, _ in found.lines
        ]
        lines += [f"  and {found.more} more fields"] if found.more else []
    means = dict.fromkeys(looks.change_means(e) for e in explanations if len(e.fields) > 1)
    found = dict.fromkeys(line for one in methods.values() for line in looks.sentences(one))
    return [*lines, *(f"{line}." for line in (*means, *found))]


def _write_json(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    write_atomic(path, to_json(explanations, methods) + "\n")


def _write_page(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    content = {
        "explained_answers": [(e.target.name, looks.looked(e, looks.row_name(e))) for e in explanations],
        "several": any(len(e.fields) > 1 for e in explanations),
        "methods": {target: looks.sentences(one) for target, one in methods.items()},
    }
    write_atomic(path, render("explained.html.j2", content, autoescape=True))


def _write_picture(explanations: Sequence[Explanation], methods: dict[str, dict[str, str]], path: Path) -> None:
    write_atomic(path, picture(explanations, path.suffix.lower()[1:]))


WRITERS = {".html": _write_page, ".json": _write_json, ".png": _write_picture, ".svg": _write_picture}

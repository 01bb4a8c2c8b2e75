"""The measured rows as lines for a person, and as a page with pictures.

Not concerned with how a number was found (`summary.py`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean

from perceivers.bench import growth
from perceivers.bench.store import Store
from perceivers.bench.summary import Comparison, comparisons, limits, mean_ratio
from perceivers.bench.works import GAINS, PLAIN
from perceivers.errors import BadInput
from perceivers.files import check_place, write_atomic

FIGURES = "figures"
REJECTED = """Tried and not kept, since a step or a pass was as long or longer: float32 training by oneDNN's products;
gradients of biases as products; an attention with gradients of its own; GELU and both products of an MLP as one
function; batches cut into smaller ones; Muon's product by halves; one room for all blocks of an attention; float32
products as three of the halves of their factors in bfloat16, since torch adds up in float32 only where it casts the
factors itself, which costs what is gained. Products in int8, a scale for each row and each output: language and
ImageNet fourier then err by more than 2e-2, with attention in float32 even."""
TITLES = {
    "published": "The published models",
    "kernels": "The same models with every fast path switched off",
    "gains": "What each fast path is worth",
    "clip": "A whole clip of the autoencoder",
    "training": "Training",
    "others": "Packages without published weights",
}
EXPLAINED = {
    "gains": [
        "Ours beside ours with one path switched off. What each of them does:",
        "\n".join(f"- **{name}** switches off: {meaning}." for name, meaning in GAINS.items()),
        REJECTED,
    ]
}
GROWTH = "Ours in float32, one stage at a time. The arrays lie in memory, where an input that streams need not."


def check(path: Path) -> None:
    """Raises BadInput where no page could be written: asked before anything begins."""
    if path.suffix != ".md":
        raise BadInput(f"--write {path}: a page is written as Markdown: give a name that ends in .md")
    check_place(path)


def lines(found: Sequence[Comparison]) -> list[str]:
    """A line for each row, then the means."""
    out = []
    for one in found:
        against = "" if one.ratio is None else f"  {one.row['rival']} {one.theirs_s:.4g} s  ratio {ratio(one)}"
        peaks = (
            gigabytes(one.peak) if one.theirs_peak is None else f"{gigabytes(one.peak)} ({gigabytes(one.theirs_peak)})"
        )
        out.append(
            f"{one.model}, {one.way}: {one.ours_s:.4g} s{against}  {one.row['flop'] / 1e9:,.0f} GFLOP"
            f"  limit {one.share:.0%}  {peaks} GB"
        )
    for way, group in by_way(of(found, "published")).items():
        out.append(means(way, group))
    return out


def means(way: str, group: Sequence[Comparison]) -> str:
    """The geometric means over models."""
    ratio = mean_ratio(group)
    against = "" if ratio is None else f"{ratio:.2f} times as fast as transformers, "
    return f"{way}, geometric means: {against}{geometric_mean(one.share for one in group):.0%} of the limit"


def of(found: Iterable[Comparison], what: str) -> list[Comparison]:
    """The rows of one kind."""
    return [one for one in found if one.row["what"] == what]


def by_way(found: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Rows by their precision and what it was on this machine, in order."""
    groups: dict[str, list[Comparison]] = {}
    for one in found:
        groups.setdefault(one.way, []).append(one)
    return groups


def ratio(one: Comparison) -> str:
    """The median and its extremes."""
    return f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"


def gigabytes(size: float | None) -> str:
    """Bytes in GB."""
    return "–" if size is None else f"{size / 1e9:.2f}"


def write(path: Path, store: Store) -> None:
    """The page, and its pictures in `figures/` beside it."""
    found = comparisons(store.rows.values())
    parts = [_head(path, store)]
    for what, title in TITLES.items():
        if rows := of(found, what):
            parts += [f"## {title}", *EXPLAINED.get(what, ()), *filter(None, _tables(rows))]
    if rows := of(found, "growth"):
        (path.parent / FIGURES).mkdir(exist_ok=True)
        picture = f"{FIGURES}/{path.stem}-growth.svg"
        write_atomic(path.parent / picture, growth.picture(rows))
        parts += ["## Growth", GROWTH, growth.text(rows), f"![Seconds and memory over sizes]({picture})"]
    write_atomic(path, "\n\n".join(parts) + "\n")


def _head(path: Path, store: Store) -> str:
    machine = store.machine
    rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {p}" for p, rate in limits(store.rows.values()).items())
    return (
        "# Performance\n\n"
        f"Written by `perceivers bench --out {store.file.parent} --write {path}`.\n"
        "Both sides run in processes of their own, take turns in one run, and are checked first: equal outputs (1e-5\n"
        "in float32) beside `transformers`, equal FLOPs (5 %) beside the others. Times are medians over turns, ratios\n"
        "are medians over pairs of turns with their extremes: above 1 ours is faster. The limit is the FLOPs of the\n"
        "plain model over the best matrix product that a probe found on the machine, before and after any of the\n"
        "rows, of which some were measured on other days. Memory is the peak of the process, weights included.\n\n"
        f"Machine: {machine['processor']}, {machine['device']}, {machine['threads']} threads;\n"
        f"torch {machine['torch']}, perceivers {machine['perceivers']}. Best matrix product: {rates}."
    )


def _tables(rows: Sequence[Comparison]) -> list[str]:
    parts = []
    for way, group in by_way(rows).items():
        parts.append("\n".join([f"{way.capitalize()}:", "", *_table(group)]))
        if group[0].row["what"] == "published":
            parts.append(f"{means(way, group).capitalize()}.")
    return parts + ([agreement(rows)] if rows[0].row["what"] == "published" else [])


def agreement(rows: Sequence[Comparison]) -> str:
    """What the fast way is worth beside the others' exact one, and how often it answers alike."""
    exact = {one.model: one.theirs_s for one in rows if one.row["precision"] == "float32" and one.theirs_s}
    fast = [one for one in rows if one.row["precision"] == "fast"]
    ratios = [exact[one.model] / one.ours_s for one in fast if one.model in exact]
    tops = [one.row["same_top"] for one in fast if "same_top" in one.row]  # rows of old have no more than the share
    clear = sum(one.row.get("clear", 0) for one in fast)
    same = sum(one.row.get("same", 0) for one in fast)
    counted = (
        f"the same top answer in {same:,} of {clear:,} answers whose exact margin exceeds twice the error"
        if clear
        else ""
    )
    beside = f"{geometric_mean(ratios):.2f} times as fast as transformers in float32" if ratios else ""
    cases = "every case" if min(tops, default=1) == 1 else f"at least {min(tops):.2%} of the cases"
    top = f"the same top answer in {cases} where the exact margin exceeds twice the error" if tops else ""
    said = "; ".join(filter(None, (beside, counted, top)))
    return f"The fast way, geometric mean: {said}." if said else ""


def _table(group: Sequence[Comparison]) -> list[str]:
    columns = ("", "GFLOP", "ours, s", "beside, s", "ratio", "share of limit", "error", "peak, GB", "beside, GB")
    rows = [columns, ("---",) * len(columns), *map(_cells, group)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(one: Comparison) -> tuple[str, ...]:
    alone = one.theirs_s is None
    error = one.row.get("error")
    return (
        _name(one),
        f"{one.row['flop'] / 1e9:,.0f}",
        f"{one.ours_s:.3g}",
        "–" if alone else f"{one.theirs_s:.3g}",
        "–" if alone else ratio(one),
        f"{one.share:.0%}",
        "–" if error is None else f"{error:.1e}",
        gigabytes(one.peak),
        gigabytes(one.theirs_peak),
    )


def _name(one: Comparison) -> str:
    if "rival" not in one.row:
        return one.model
    version = "" if one.row["rival"] in (PLAIN, *GAINS) else f" {one.row['theirs_about']['version']}"
    return f"{one.model}, beside {one.row['rival']}{version}"

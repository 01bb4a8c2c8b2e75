"""The command `bench`. Not concerned with how a row is measured: see `bench/`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from perceivers.commands.options import Json, Kernels
from perceivers.commands.output import dumps
from perceivers.errors import BadInput
from perceivers.terminal import say


def bench(
    *what: Literal["published", "kernels", "gains", "clip", "training", "others", "growth"],
    models: Annotated[list[str] | None, Parameter(name="model")] = None,
    precision: Annotated[list[Literal["float32", "fast"]] | None, Parameter()] = None,
    repeats: int = 5,
    minutes: float = 60.0,
    threads: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    kernels: Kernels = "auto",
    rival: Annotated[list[str] | None, Parameter()] = None,
    install_rivals: bool = False,
    out: Path = Path("runs/bench"),
    write: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure speed and memory beside the other packages, in turn, each in a process of its own.

    Started again with the same --out, it goes on with the rows that are missing.

    Parameters
    ----------
    what
        published: the six models. kernels: the same beside plain products. gains: each fast path
        switched off alone. clip: the whole clip of the autoencoder.
        training: a step. others: packages without published weights. growth: time over the sizes of inputs, latents
        and outputs. All by default.
    models
        Published models to measure, with or without deepmind/; may be repeated. All by default.
    precision
        float32 (equal to 1e-5), or fast (bfloat16); both by default.
    repeats
        Turns of each side.
    minutes
        No row begins after so many.
    threads
        As many as torch takes, by default.
    device
        A GPU where there is one, by default.
    rival
        NAME=PYTHON: where a package is installed, if not by --install-rivals; may be repeated.
    install_rivals
        Make an environment in the user's cache for each of the other packages that is not found.
    out
        The folder of the measured rows.
    write
        Write a page here (md), with its pictures in figures/ beside it.
    """
    from perceivers.bench import page, rivals
    from perceivers.bench.measure import Setting
    from perceivers.bench.run import available, run
    from perceivers.bench.settings import resolve
    from perceivers.bench.store import Store, machine
    from perceivers.bench.summary import comparisons
    from perceivers.bench.works import PRECISIONS, WHATS, names, works
    from perceivers.training.signals import Signals

    chosen = names(models)
    place, number = resolve(device, threads)
    if kernels == "plain" and (alike := {"kernels", "gains"}.intersection(what or WHATS)):
        raise BadInput(
            f"--kernels plain: there is nothing to compare in {' and '.join(sorted(alike))}: name other rows to measure"
        )
    if repeats < 1 or not minutes > 0:
        raise BadInput(f"--repeats {repeats} --minutes {minutes:g}: give 1 or more, and more than 0")
    if write is not None:
        page.check(write)
    store = Store(out, machine(place, number, kernels))
    if install_rivals:
        for name in rivals.RIVALS.keys() - rivals.find(rival or ()):
            rivals.install(name)
    pythons = rivals.find(rival or ())
    found = available(works(what or WHATS, chosen, precision or PRECISIONS), pythons)
    out.mkdir(parents=True, exist_ok=True)
    message = f"stopped; the same command goes on with the rows that {out} lacks"
    with (out / "sides.log").open("ab") as log, Signals(message):
        failed = run(found, store, Setting(pythons, place, number, kernels, repeats, log), 60 * minutes)
    measured = comparisons([store.rows[work.key] for work in found if work.key in store.rows])
    print(dumps([one.as_json() for one in measured]) if as_json else "\n".join(page.lines(measured)))
    if write is not None:
        page.write(write, store)
        say(f"page: {write}")
    return 1 if failed else 0

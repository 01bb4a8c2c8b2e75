"""The published models at full size: `python -m benchmarks.parity [NAME …] [--json]`. Exit 1 where one is not equal.

The hub source against `transformers`, with the same random weights, written by it and read by us: the arrays after
the encoder, after all self-attends and at the end. The original source, whose arrays exist at reduced sizes only (in
the tests), by parameters and operations, and against `transformers` where it can be written for it.
Relative error is the largest difference over the largest value. Each row is kept as it ends; docs/parity.md is written
from those that were kept, by this command alone.
Not concerned with speed for its own sake: the seconds are there to plan by.
"""

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import perceivers
from perceivers.errors import BadInput
from perceivers.files import write_atomic
from perceivers.published import PRESETS, export_hub, load
from perceivers.published.config import configured
from perceivers.published.models import Autoencoder, Published, make
from perceivers.published.presets import Preset
from perceivers.published.sources import HUB, ORIGINAL, Source

ROOT = Path(__file__).parent.parent
STORE, PAGE = ROOT / "benchmarks/parity.json", ROOT / "docs/parity.md"
TOLERANCE = 1e-5
CHUNKS = 128

Arrays = dict[str, Tensor]


def example(preset: Preset) -> tuple[Tensor, ...]:
    """One random example, as our model takes it."""
    torch.manual_seed(31)
    if "language" in preset.name:
        return torch.randint(262, (1, 2048)), torch.arange(2048)[None] < 1531
    if "flow" in preset.name:
        return (torch.rand(1, 2, 27, 368, 496) * 2 - 1,)
    if "multimodal" in preset.name:
        return torch.rand(1, 16, 3, 224, 224), torch.rand(1, 30720) * 2 - 1
    return (torch.randn(1, 3, 224, 224),)


def first_chunk(device: str = "cpu") -> dict[str, Tensor]:
    """What is asked of the autoencoder in the first of its 128 chunks."""
    sizes = {"audio": 1920, "image": 16 * 224 * 224}
    return {name: torch.arange(size, device=device).tensor_split(CHUNKS)[0] for name, size in sizes.items()}


def randomise(model: nn.Module) -> None:
    """Every tensor random, at a scale that keeps activations about 1: zeros and ones could hide an error."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(1)
            elif name.endswith("running_var"):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif tensor.ndim > 1 and name.endswith("weight") and "embedding" not in name:
                tensor.normal_(std=tensor[0].numel() ** -0.5)
            else:
                tensor.add_(0.1 * torch.randn_like(tensor))


@torch.no_grad()
def write_theirs(preset: Preset, folder: Path) -> Arrays:
    """Makes a model of `transformers`, writes it into `folder`, and runs it."""
    import transformers

    with torch.device("meta"):
        config = configured(make(preset.sizes("hub"), HUB))
    torch.manual_seed(37)
    config = transformers.PerceiverConfig.from_dict(config, attn_implementation="eager")
    model = getattr(transformers, preset.architecture)(config).eval()
    randomise(model)
    model.save_pretrained(folder)
    return run_theirs(preset, model)


def run_theirs(preset: Preset, model: Any) -> Arrays:
    """The arrays of a model of `transformers`."""
    arguments = example(preset)
    if "language" in preset.name:
        given: dict[str, Any] = {"inputs": arguments[0], "attention_mask": arguments[1].long()}
    elif "multimodal" in preset.name:
        inputs = {"image": arguments[0], "audio": arguments[1][..., None], "label": torch.zeros(1, 700)}
        given = {"inputs": inputs, "subsampled_output_points": first_chunk()}
    else:
        given = {"inputs": arguments[0]}
    kept = Hidden(model.perceiver.encoder)
    logits = model(**given).logits
    return kept.arrays | (dict(logits) if isinstance(logits, dict) else {"output": logits})


class Hidden:
    """Keeps the first and the last hidden state of a port's encoder, and no other."""

    def __init__(self, encoder: nn.Module):
        self.arrays: Arrays = {}
        encoder.get_submodule("cross_attention").register_forward_hook(self._keep("encoded", 0))
        encoder.register_forward_hook(self._keep("processed", 0))

    def _keep(self, name: str, place: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self.arrays[name] = output[place]

        return hook


@torch.no_grad()
def run_ours(preset: Preset, model: Published) -> Arrays:
    """The same arrays of our model."""
    arguments = example(preset)
    found: Arrays = {}
    hooks = [
        model.perceiver.encoder.register_forward_hook(lambda _m, _a, output: found.update(encoded=output)),
        model.perceiver.block[-1].register_forward_hook(lambda _m, _a, output: found.update(processed=output)),
    ]
    if isinstance(model, Autoencoder):
        found |= model.decode(model.encode(*arguments), first_chunk())
    else:
        found["output"] = model(*arguments)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def exported(preset: Preset) -> dict[str, float] | str:
    """The errors of the outputs that `transformers` computes from an export of our model of the original source.

    Of a text where there is text: elsewhere the original's queries see nothing. The reason, where it is refused.
    """
    import transformers

    torch.manual_seed(41)
    model = make(preset.original, ORIGINAL)
    randomise(model)
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_hub(model, Path(folder) / "model")
        except BadInput as reason:
            return str(reason)
        kind = getattr(transformers, preset.architecture)
        port = kind.from_pretrained(Path(folder) / "model", attn_implementation="eager").eval()
    theirs, ours = run_theirs(preset, port), run_ours(preset, model)
    place = example(preset)[1] if "language" in preset.name else ...
    outputs = theirs.keys() - {"encoded", "processed"}
    return {name: relative(ours[name][place], theirs[name][place]) for name in sorted(outputs)}


def relative(got: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return ((got - expected).abs().max() / expected.abs().max()).item()


def numbers(preset: Preset, source: Source) -> dict[str, float]:
    """Parameters, and 10⁹ operations of a forward pass (two for a multiply-add), on the meta device."""
    with torch.device("meta"):
        model = make(preset.sizes(source.name), source)
        arguments = [argument.to("meta") for argument in example(preset)]
    with FlopCounterMode(display=False) as counter:
        if isinstance(model, Autoencoder):
            model.decode(model.encode(*arguments), first_chunk("meta"))
        else:
            model(*arguments)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "gflop": round(counter.get_total_flops() / 1e9, 1)}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def compare(preset: Preset) -> dict[str, Any]:
    """One row: the errors at full size, the seconds, and the numbers of both sources."""
    row: dict[str, Any] = {"model": preset.name, "published": {"parameters": preset.parameters, "gflop": preset.gflop}}
    row |= {source.name: numbers(preset, source) for source in (ORIGINAL, HUB)}
    with tempfile.TemporaryDirectory() as folder:
        expected, theirs_s = timed(lambda: write_theirs(preset, Path(folder)))
        gc.collect()
        model, load_s = timed(lambda: load(folder))
        found, ours_s = timed(lambda: run_ours(preset, model))
        row["errors"] = {name: relative(found[name], value) for name, value in expected.items()}
    seconds = {"theirs": theirs_s, "load": load_s, "ours": ours_s}
    row["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    del expected, model, found
    row["exported"] = exported(preset)
    errors = [row["errors"]] + ([row["exported"]] if isinstance(row["exported"], dict) else [])
    counts = {row[name]["parameters"] for name in ("published", "original", "hub")}
    row["equal"] = len(counts) == 1 and all(max(each.values()) < TOLERANCE for each in errors)
    return row


def page(store: dict[str, dict[str, Any]]) -> str:
    """docs/parity.md from the rows that were kept."""
    import transformers

    lines = [
        "# Parity of the published models",
        "",
        "Written by `python -m benchmarks.parity`: at full size, float32, random weights. Errors are the largest",
        "difference over the largest value. The tests compare the original source with arrays of the original code, at",
        "reduced sizes.",
        "",
        f"Machine: {platform.machine()}; torch {torch.__version__}, transformers {transformers.__version__},"
        f" perceivers {perceivers.__version__}.",
        "",
        "| model | parameters | GFLOP, original (published) | hub source: after encode, process, at the end"
        " | original source, exported, in transformers |",
        "|---|---|---|---|---|",
    ]
    for name in PRESETS:
        if name not in store:
            lines.append(f"| {name} | not run |")
            continue
        row = store[name]
        errors = dict(row["errors"])
        on_the_way = ", ".join(f"{errors.pop(name):.1e}" for name in ("encoded", "processed"))
        original, published = row["original"], row["published"]
        lines.append(
            f"| {row['model']} | {original['parameters']:,} | {original['gflop']:,} ({published['gflop']:,})"
            f" | {on_the_way}, {max(errors.values()):.1e}"
            f" | {in_words(row['exported'])} |"
        )
    return "\n".join(lines) + "\n"


def in_words(exported: dict[str, float] | str) -> str:
    """The largest error, or why there is none."""
    return f"refused: {exported}" if isinstance(exported, str) else f"{max(exported.values()):.1e}"


def line(row: dict[str, Any]) -> str:
    """A row for a person."""
    errors = "  ".join(f"{name} {value:.1e}" for name, value in row["errors"].items())
    operations = f"{row['original']['gflop']:.0f} GFLOP (published {row['published']['gflop']})"
    seconds = row["seconds"]
    return (
        f"{row['model']:36} {'equal' if row['equal'] else 'NOT EQUAL':9}  {errors}\n"
        f"{'':36} {row['original']['parameters']:,} parameters, {operations};"
        f" theirs {seconds['theirs']} s, load {seconds['load']} s, ours {seconds['ours']} s\n"
        f"{'':36} the original, exported: {in_words(row['exported'])}"
    )


def main() -> int:
    """0 where all models that were asked for are equal, 1 where one is not, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PRESETS)}; all if none is given")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in PRESETS]:
        parser.error(f"{unknown[0]} is none of {', '.join(PRESETS)}")
    rows, store = [], json.loads(STORE.read_text()) if STORE.exists() else {}
    for name in options.names or PRESETS:
        rows.append(compare(PRESETS[name]))
        print(line(rows[-1]), file=sys.stderr if options.json else sys.stdout, flush=True)
        store[name] = rows[-1]
        write_atomic(STORE, json.dumps(store, indent=1) + "\n")
        write_atomic(PAGE, page(store))
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0 if all(row["equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

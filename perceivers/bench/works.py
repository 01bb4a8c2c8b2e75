"""What is measured: each comparison as a few numbers, in the order in which it is run.

Not concerned with how (`measure.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from perceivers.errors import BadInput
from perceivers.published.presets import PRESETS

Precision = Literal["float32", "fast"]
What = Literal["published", "kernels", "gains", "clip", "training", "others", "growth"]
WHATS: tuple[What, ...] = get_args(What)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CHUNKS = 128  # in which the autoencoder's clip is decoded
PLAIN = "plain kernels"  # ours, every fast path switched off
# Ours with one fast path switched off, and what that path does.
GAINS = {
    "torch's products": (
        "oneDNN's products on the plain weights, bias and GELU fused: where they are faster than torch's own, "
        "which on some CPUs leave vector units unused"
    ),
    "weights as they lie": (
        "in bfloat16 weights are kept a second time, in the order in which oneDNN reads them, which else is made anew "
        "for each product"
    ),
    "projections apart": "queries, keys and values of one array as one product, which reads the array once",
    "whole attentions": "attention in blocks whose weights stay in the cache, the softmax carried along",
    "the papers' order": (
        "with one head, projections are taken in the order that costs least: keys and values of 50,176 pixels need "
        "not be made where the queries can be carried through their weights; with it goes that inputs are not made, "
        "which rests on it"
    ),
    "inputs made": (
        "with one head, many inputs and queries go through in pieces that stay in the cache, their layer norm folded "
        "into the products; of Fourier positions rows and columns go in alone: a pixel's are a sum of both; or, where "
        "that is faster in bfloat16, each piece is made and goes through torch's fused attention"
    ),
}
FAST_GAIN = "weights as they lie"  # there is none in float32
OWNER = "deepmind/"
FOURIER = "deepmind/vision-perceiver-fourier"
AUTOENCODER = "deepmind/multimodal-perceiver"
FLOW = "deepmind/optical-flow-perceiver"
# The outputs whose largest value is a class, where they are not the only one.
CLASSES: dict[str, tuple[str, ...]] = {AUTOENCODER: ("label",), FLOW: ()}
GAINING = ("deepmind/language-perceiver", FOURIER, FLOW)  # the smallest pass; many inputs; and many queries

# Sizes for the packages that have no published weights: ImageNet's pixels, and a long array.
SHAPES: dict[str, dict[str, int]] = {
    "ImageNet": {
        "inputs": 50_176,
        "channels": 261,
        "latents": 512,
        "latent_channels": 1024,
        "layers": 6,
        "blocks": 8,
        "heads": 8,
        "cross_channels": 261,
        "queries": 1,
        "query_channels": 1024,
    },
    "4,000,000 inputs": {
        "inputs": 4_000_000,
        "channels": 32,
        "latents": 128,
        "latent_channels": 256,
        "layers": 4,
        "blocks": 1,
        "heads": 8,
        "cross_channels": 32,
        "queries": 1,
        "query_channels": 256,
    },
}
WIDENING = {"perceiver-pytorch": 6, "perceiver-io": 1}  # gated feed-forwards of width 4 cost as much as ours of 6

# Growth: one size is varied, the others are these.
GROWTH = {
    "inputs": 10_000,
    "channels": 32,
    "latents": 256,
    "latent_channels": 256,
    "layers": 4,
    "blocks": 1,
    "heads": 8,
    "cross_channels": 32,
    "queries": 1_000,
    "query_channels": 256,
}
STAGES = {"inputs": "encode", "latents": "process", "queries": "decode"}
SIZES = {
    "inputs": tuple(round(10 ** (k / 2)) for k in range(6, 15)),
    "latents": tuple(2**k for k in range(5, 14)),
    "queries": tuple(round(10 ** (k / 2)) for k in range(6, 13)),
}


@dataclass(frozen=True)
class Work:
    """One row: `spec` is what both sides build, `rival` whom we are compared with, `model` what it is called."""

    what: What
    model: str
    precision: Precision
    spec: dict[str, Any]
    rival: str | None = "transformers"
    times: int = 1  # so many of the rival's runs do what one of ours does

    @property
    def key(self) -> str:
        """Its name in the store."""
        return "/".join([self.what, *([self.rival] if self.rival else []), self.model, self.precision])

    @property
    def weights(self) -> str | None:
        """The published model whose weights both sides read."""
        return self.spec.get("name")

    def rival_spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """What the rival builds: of a clip one chunk, in float32, since that is its only way; ours without a gain."""
        if self.what == "gains":
            return {**spec, "without": self.rival}
        return {**spec, "kind": "published", "precision": "float32"} if self.what == "clip" else spec


def works(whats: Sequence[What], models: Sequence[str], precisions: Sequence[Precision]) -> list[Work]:
    """The rows of `whats` in turn; `models` chooses among the published ones."""
    makers = {
        "published": lambda: _published("published", "transformers", models, precisions),
        "kernels": lambda: _published("kernels", PLAIN, models, precisions),
        "gains": lambda: [
            work
            for gain in GAINS
            for work in _published("gains", gain, [m for m in GAINING if m in models], precisions)
            if gain != FAST_GAIN or work.precision == "fast"
        ],
        "clip": lambda: _clip(precisions) if AUTOENCODER in models else (),
        "training": lambda: _training(precisions) if FOURIER in models else (),
        "others": lambda: _others(precisions),
        "growth": _growth,
    }
    return [work for what in whats for work in makers[what]()]


def names(models: Iterable[str] | None) -> list[str]:
    """The published models of these names, which may leave out `deepmind/`. Raises BadInput for another."""
    whole = [name if name.startswith(OWNER) else f"{OWNER}{name}" for name in models or PRESETS]
    if unknown := next((name for name in whole if name not in PRESETS), None):
        raise BadInput(f"--model {unknown}: no published model: those are {', '.join(PRESETS)}")
    return whole


def _published(what: What, rival: str, models: Sequence[str], precisions: Sequence[Precision]) -> Iterator[Work]:
    for name in models:
        for precision in precisions:
            yield Work(what, name, precision, {"kind": "published", "name": name, "precision": precision}, rival)


def _clip(precisions: Sequence[Precision]) -> Iterator[Work]:
    """The whole clip; theirs encodes for each chunk, and is measured at one, in float32."""
    for precision in precisions:
        yield Work(
            "clip",
            "a whole clip",
            precision,
            {"kind": "clip", "name": AUTOENCODER, "precision": precision},
            times=CHUNKS,
        )


def _training(precisions: Sequence[Precision]) -> Iterator[Work]:
    for precision in precisions:
        spec = {"kind": "training", "name": FOURIER, "precision": precision, "batch": 2}
        for about, checkpointing in (("", "off"), (", light checkpointing", "light"), (", checkpointing", "full")):
            model = f"ImageNet fourier, a step at batch 2{about}"
            yield Work("training", model, precision, {**spec, "checkpointing": checkpointing})


def _others(precisions: Sequence[Precision]) -> Iterator[Work]:
    for model, shape in SHAPES.items():
        for rival, widening in WIDENING.items():
            for precision in precisions:
                spec = {"kind": "equal", "shape": shape, "widening": widening, "precision": precision}
                yield Work("others", model, precision, spec, rival)


def _growth() -> Iterator[Work]:
    for axis, sizes in SIZES.items():
        for size in sizes:
            shape = GROWTH | {axis: size}
            spec = {"kind": "stage", "stage": STAGES[axis], "shape": shape, "widening": 1, "precision": "float32"}
            yield Work("growth", f"{axis} {size}", "float32", spec, None)

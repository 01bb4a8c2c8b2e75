"""Our side: the published models, a Perceiver IO of any sizes, a training step, and one stage alone.

Not concerned with turns or rows (`measure.py`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import perceivers
from perceivers import published
from perceivers.allocation import keep
from perceivers.bench.measure import sized
from perceivers.core import kernels
from perceivers.core.perceiver import build as build_perceiver
from perceivers.core.precision import lower
from perceivers.published.models import Autoencoder

from .step import about, array, step
from .worker import Built, Spec

M = TypeVar("M", bound=nn.Module)
Run = Callable[[], dict[str, Tensor]]


def build(spec: Spec, device: torch.device) -> Built:
    """What `spec` asks for; its `kind` is a key of KINDS. Memory is got as our commands get it."""
    keep()
    model, run = KINDS[spec["kind"]](spec, device)
    return Built(run, {**about(model, perceivers.__version__), "precision": taken(model, spec)})


def taken(model: nn.Module, spec: Spec) -> str:
    """What is computed in: the fast way may be float32."""
    lowered = any(weight.dtype == torch.bfloat16 for weight in model.parameters())
    return "bfloat16" if lowered or (spec["kind"] == "training" and spec["precision"] == "fast") else "float32"


def in_precision(model: M, spec: Spec) -> M:
    """A model for inference: in float32, or in what this machine is good at."""
    lower(model, "auto" if spec["precision"] == "fast" else "float32")
    return model


def autocast(spec: Spec, device: torch.device) -> AbstractContextManager[Any]:
    """A step's precision: float32, or the fast way."""
    return torch.autocast(device.type, torch.bfloat16, enabled=spec["precision"] == "fast")


def _published(spec: Spec, device: torch.device) -> tuple[nn.Module, Run]:
    model = in_precision(published.load(spec["folder"]).to(device), spec)
    arguments = [argument.to(device) for argument in torch.load(spec["example"])]

    def run() -> dict[str, Tensor]:
        with torch.no_grad():
            if isinstance(model, Autoencoder):
                *clip, audio, image = arguments
                return model.decode(model.encode(*clip), {"audio": audio, "image": image})
            return {"output": model(*arguments)}

    return model, run


def _clip(spec: Spec, device: torch.device) -> tuple[nn.Module, Run]:
    """The whole clip: encoded once, all its 128 chunks decoded."""
    model = in_precision(published.load(spec["folder"]).to(device), spec)
    video, audio = (argument.to(device) for argument in torch.load(spec["example"])[:2])

    def run() -> dict[str, Tensor]:
        with torch.no_grad():
            return model(video, audio)

    return model, run


def _training(spec: Spec, device: torch.device) -> tuple[nn.Module, Run]:
    """A step with the kernels that its first one finds, as a run takes them."""
    model = published.load(spec["folder"]).to(device).train()
    model.perceiver.checkpointing = spec["checkpointing"]
    take = step(model, model, spec["batch"], device, lambda: autocast(spec, device))
    if spec.get("kernels") == "plain":
        return model, take
    choices: dict[str, str] = {}

    def run() -> dict[str, Tensor]:
        if choices:
            with kernels.recorded(choices):
                return take()
        with kernels.probing() as found:
            outputs = take()
        choices.update(found)
        return outputs

    return model, run


def _equal(spec: Spec, device: torch.device) -> tuple[nn.Module, Run]:
    """A whole pass, at the sizes of a rival's model."""
    model, shape = in_precision(build_perceiver(sized(spec)).to(device), spec), spec["shape"]
    inputs = array(shape["inputs"], shape["channels"], device)
    queries = array(shape["queries"], shape["query_channels"], device)

    def run() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"output": model(inputs, queries)}

    return model, run


def _stage(spec: Spec, device: torch.device) -> tuple[nn.Module, Run]:
    """`encode`, `process` or `decode` alone."""
    model, shape = in_precision(build_perceiver(sized(spec)).to(device), spec), spec["shape"]
    inputs = array(shape["inputs"], shape["channels"], device)
    latents = array(shape["latents"], shape["latent_channels"], device)
    queries = array(shape["queries"], shape["query_channels"], device)
    stages: dict[str, Callable[[], Tensor]] = {
        "encode": lambda: model.encode(inputs),
        "process": lambda: model.process(latents),
        "decode": lambda: model.decode(latents, queries),
    }
    stage = stages[spec["stage"]]

    def run() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"output": stage()}

    return model, run


KINDS = {"published": _published, "clip": _clip, "training": _training, "equal": _equal, "stage": _stage}

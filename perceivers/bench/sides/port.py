"""The side of `transformers`: the port of the published models, as its users run it.

Not concerned with our side (`ours.py`).
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from .step import about, step
from .worker import Built, Spec


def build(spec: Spec, device: torch.device) -> Built:
    """The model of a Hub folder, in its own default way; `fast` is autocast to bfloat16."""
    architecture = json.loads((Path(spec["folder"]) / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(spec["folder"], attention_probs_dropout_prob=0.0)

    model.to(device)

    def precise() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16, enabled=spec["precision"] == "fast")

    return Built(KINDS[spec["kind"]](model, spec, device, precise), about(model, transformers.__version__))


def _published(model: Any, spec: Spec, device: torch.device, precise: Callable[[], AbstractContextManager[Any]]) -> Any:
    arguments = [argument.to(device) for argument in torch.load(spec["example"])]
    given = GIVEN.get(type(model).__name__, lambda inputs: {"inputs": inputs})(*arguments)
    model.eval()

    def run() -> dict[str, Tensor]:
        with torch.no_grad(), precise():
            logits = model(**given).logits
        return dict(logits) if isinstance(logits, dict) else {"output": logits}

    return run


def _training(model: Any, spec: Spec, device: torch.device, precise: Callable[[], AbstractContextManager[Any]]) -> Any:
    model.train()

    return step(model, lambda images: model(inputs=images).logits, spec["batch"], device, precise)


def _text(ids: Tensor, mask: Tensor) -> dict[str, Any]:
    return {"inputs": ids, "attention_mask": mask.long()}


def _clip(video: Tensor, sound: Tensor, audio: Tensor, image: Tensor) -> dict[str, Any]:
    """One of the 128 chunks; the class is masked, as in our model."""
    label = torch.zeros(len(video), 700, device=video.device)
    return {
        "inputs": {"image": video, "audio": sound[..., None], "label": label},
        "subsampled_output_points": {"audio": audio, "image": image},
    }


GIVEN: dict[str, Callable[..., dict[str, Any]]] = {
    "PerceiverForMaskedLM": _text,
    "PerceiverForMultimodalAutoencoding": _clip,
}
KINDS = {"published": _published, "training": _training}

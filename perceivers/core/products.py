"""The products of a linear layer: torch's own, and oneDNN's on the plain weights and on weights packed once.

Not concerned with which of them is taken (`kernels.py`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from perceivers.core.derived import cast_once, derived


def kind_of(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type in which a product is computed."""
    place = x.device.type
    return torch.get_autocast_dtype(place) if not x.is_meta and torch.is_autocast_enabled(place) else weight.dtype


def cast(x: Tensor, weight: Tensor) -> Tensor:
    """In the type of the weights; autocast casts both by its own rules."""
    return x if x.is_meta or torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


def onednn_types() -> tuple[torch.dtype, ...]:
    """What oneDNN multiplies on this CPU; nothing in a torch without it."""
    if not torch.backends.mkldnn.is_available():
        return ()
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if bf16 else (torch.float32,)


def plain(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    y = linear(x, weight, bias)
    return y if activation is None else activation(y)


def onednn(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    """A product of oneDNN on the plain weights, the bias and without gradients GELU fused."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        y = _Product.apply(x, weight, bias, kind_of(x, weight))
        return y if activation is None else activation(y)
    x, weight, bias = (array.to(kind_of(x, weight)) for array in (x, weight, bias))
    if isinstance(activation, nn.GELU):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], activation.approximate)
    y = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y if activation is None else activation(y)


class _Product(torch.autograd.Function):
    """The product with its gradients, which are plain products. All of them are computed in one type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kind: torch.dtype) -> Tensor:
        ctx.types = x.dtype, weight.dtype, bias.dtype
        x, weight = x.to(kind), cast_once(weight, kind)
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias.to(kind), "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]  the decorator has no names of arguments
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (x, weight), (x_type, weight_type, bias_type) = ctx.saved_tensors, ctx.types
        grad, rows = grad_outputs[0].flatten(0, -2), x.flatten(0, -2)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = (grad @ weight).view(x.shape).to(x_type)
        if ctx.needs_input_grad[1]:  # the narrower of the two is the one that is transposed
            wider = grad.shape[1] > rows.shape[1]
            to_weight = ((rows.mT @ grad).mT if wider else grad.mT @ rows).to(weight_type)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(0).to(bias_type)
        return to_x, to_weight, to_bias, None


def packed(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    """As `onednn`, of weights in the order in which it reads them: they are kept a second time. Without gradients."""
    return onednn(x, derived([weight], lambda: pack(weight)), bias, activation)


def pack(weight: Tensor) -> Tensor:
    """The same weights in the order in which oneDNN reads them."""
    return weight.clone() if isinstance(weight, FakeTensor) else torch.ops.mkldnn._reorder_linear_weight(weight)


PRODUCTS: dict[str, Callable[..., Tensor]] = {"plain": plain, "onednn": onednn, "packed": packed}
LEARNING_PRODUCTS = ("plain", "onednn")  # those that have gradients

"""The papers' equations in numpy, in float64, as loops over rows, heads and queries: slow, and independent of torch.

Not concerned with speed, nor with anything but numbers. Weights are taken from the modules that are tested.
"""

import math

import numpy as np


def array(tensor):
    return tensor.detach().double().numpy()


def linear(layer, x):
    return x @ array(layer.weight).T + array(layer.bias)


def layer_norm(layer, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * array(layer.weight) + array(layer.bias)


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(module, inputs_q, inputs_kv, mask=None):
    """The output (b n e), and the weights (b h n m). `mask` (b n m)."""
    q, k, v = linear(module.to_q, inputs_q), linear(module.to_k, inputs_kv), linear(module.to_v, inputs_kv)
    h = module.num_heads
    pooled = np.zeros((*q.shape[:2], v.shape[-1]))
    weights = np.zeros((len(q), h, q.shape[1], k.shape[1]))
    for b in range(len(q)):
        for head, (qs, ks, vs) in enumerate(zip(*(np.split(x[b], h, axis=-1) for x in (q, k, v)), strict=True)):
            at = slice(head * vs.shape[1], (head + 1) * vs.shape[1])
            for n in range(len(qs)):
                seen = [m for m in range(len(ks)) if mask is None or mask[b, n, m]]
                if not seen:
                    continue
                e = np.exp(np.array([qs[n] @ ks[m] / math.sqrt(qs.shape[1]) for m in seen]))
                weights[b, head, n, seen] = e / e.sum()
                pooled[b, n, at] = weights[b, head, n] @ vs
    return linear(module.output, pooled), weights


def mlp(module, x):
    return linear(module[2], tanh_gelu(linear(module[0], x)))


def cross_attend(module, queries, inputs, mask=None):
    x, _ = attention(module.attention, layer_norm(module.query_norm, queries), layer_norm(module.kv_norm, inputs), mask)
    if module.query_residual:
        x = x + queries
    return x + mlp(module.mlp, layer_norm(module.mlp_norm, x))


def self_attend(module, x):
    normed = layer_norm(module.norm, x)
    x = x + attention(module.attention, normed, normed)[0]
    return x + mlp(module.mlp, layer_norm(module.mlp_norm, x))


def perceiver_io(module, inputs, queries, mask=None):
    """Outputs (b o e). `mask` (b m)."""
    latents = np.broadcast_to(array(module.latents.array), (len(inputs), *module.latents.array.shape))
    if mask is not None:
        mask = np.broadcast_to(mask[:, None], (len(inputs), latents.shape[1], inputs.shape[1]))
    latents = cross_attend(module.encoder, latents, inputs, mask)
    for _ in range(module.num_blocks):
        for layer in module.block:
            latents = self_attend(layer, latents)
    return cross_attend(module.decoder, queries, latents)


def perceiver(module, inputs):
    """Logits (b k)."""
    latents = np.broadcast_to(array(module.latents.array), (len(inputs), *module.latents.array.shape))
    for cross, stack in module.order:
        latents = cross_attend(module.cross_attends[cross], latents, inputs)
        for layer in module.stacks[stack]:
            latents = self_attend(layer, latents)
    return linear(module.logits, latents.mean(1))


def relative(got, expected):
    """The largest difference over the largest value."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max()

from dataclasses import replace

import naive
import numpy as np
import pytest
import torch
from test_attention import perturbed

from perceivers.core.attention import record_attention
from perceivers.core.perceiver import PerceiverIOConfig, build

B, M, C, A, E, N, D = 2, 23, 13, 7, 11, 5, 12
CONFIG = PerceiverIOConfig(
    input_channels=C,
    query_channels=E,
    num_latents=N,
    latent_channels=D,
    self_attends_per_block=2,
    num_blocks=3,
    cross_heads=3,
    self_heads=4,
    self_widening=2,
    cross_qk_channels=9,
    cross_v_channels=15,
)


class Pieces:
    """An array in pieces along m, as (array, mask) or ((features, positions), mask)."""

    def __init__(self, pieces, shape):
        self.pieces, self.shape = pieces, shape

    def __len__(self):
        return len(self.pieces)

    def chunk(self, index):
        return self.pieces[index]


def split(array, *sizes, mask=None):
    masks = [None] * len(sizes) if mask is None else mask.split(sizes, 1)
    return Pieces(list(zip(array.split(sizes, 1), masks, strict=True)), tuple(array.shape))


@pytest.fixture
def model():
    torch.manual_seed(5)
    return perturbed(build(CONFIG))


@pytest.fixture
def arrays():
    torch.manual_seed(7)
    return torch.randn(B, M, C), torch.randn(B, A, E), torch.rand(B, M) < 0.6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_the_whole_model_is_the_naive_loop(masked, residual, arrays):
    torch.manual_seed(5)
    model = perturbed(build(replace(CONFIG, decoder_query_residual=residual)))
    inputs, queries, mask = arrays
    expected = naive.perceiver_io(model, inputs.numpy(), queries.numpy(), mask.numpy() if masked else None)
    assert naive.relative(naive.array(model(inputs, queries, mask if masked else None)), expected) < 1e-5


def test_chunks_are_the_whole(model, arrays):
    inputs, queries, mask = arrays
    whole = model(inputs, queries, mask)
    got = model(split(inputs, 2, 11, 10, mask=mask), split(queries, 3, 4))
    assert naive.relative(naive.array(got), naive.array(whole)) < 1e-6


def test_a_chunk_without_a_mask_is_all_seen(model, arrays):
    inputs, queries, _ = arrays
    pieces = split(inputs, 20, 3)
    pieces.pieces[1] = (pieces.pieces[1][0], torch.zeros(B, 3, dtype=torch.bool))
    assert torch.allclose(model(pieces, queries), model(inputs[:, :20], queries), atol=1e-6)


@pytest.mark.parametrize("per_row", [False, True])
def test_features_and_positions_apart_are_the_joined_array(per_row, model, arrays):
    inputs, queries, _ = arrays
    features, positions = inputs.split((4, C - 4), -1)
    if not per_row:
        positions = positions[0]
        inputs = torch.cat([features, positions.expand(B, -1, -1)], -1)
    assert torch.equal(model((features, positions), queries), model(inputs, queries))


def test_masked_inputs_do_not_matter(model, arrays):
    inputs, queries, mask = arrays
    other = torch.where(mask.unsqueeze(-1), inputs, 1e3 * torch.randn_like(inputs))
    assert torch.equal(model(other, queries, mask), model(inputs, queries, mask))


def test_the_order_of_inputs_does_not_matter(model, arrays):
    inputs, queries, mask = arrays
    order = torch.randperm(M)
    assert torch.allclose(model(inputs[:, order], queries, mask[:, order]), model(inputs, queries, mask), atol=1e-5)


def test_outputs_do_not_see_each_other(model, arrays):
    inputs, queries, _ = arrays
    assert torch.allclose(model(inputs, queries[:, 2:3]), model(inputs, queries)[:, 2:3], atol=1e-6)


def test_a_query_that_is_masked_sees_no_latents(model, arrays):
    inputs, queries, _ = arrays
    seeing = torch.arange(A).expand(B, -1) < 4
    latents = model.encode(inputs)
    some, every = model.decode(latents, queries, seeing), model.decode(latents, queries)
    assert torch.equal(model.decode(latents + 1, queries, seeing)[:, 4:], some[:, 4:])
    assert torch.allclose(some[:, :4], every[:, :4], atol=1e-6)
    assert torch.allclose(model.decode(latents, split(queries, 2, A - 2, mask=seeing)), some, atol=1e-5)


def test_gradients_reach_every_parameter(model, arrays):
    inputs, queries, mask = arrays
    model(inputs, queries, mask).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        moved = parameter.grad.abs().max() > 1e-6
        assert moved or name.endswith("to_k.bias"), name  # no key bias can move a softmax


def test_blocks_share_their_weights(model, arrays):
    once = build(replace(CONFIG, num_blocks=1))
    once.load_state_dict(model.state_dict())
    latents = model.encode(arrays[0])
    assert torch.equal(model.process(latents), once.process(once.process(once.process(latents))))


def test_attention_of_every_layer_can_be_asked_for(model, arrays):
    inputs, queries, mask = arrays
    with record_attention(model) as weights:
        model(inputs, queries, mask)
    shapes = {name: [tuple(w.shape) for w in found] for name, found in weights.items()}
    assert shapes == {
        "encoder.attention": [(B, 3, N, M)],
        "block.0.attention": [(B, 4, N, N)] * 3,
        "block.1.attention": [(B, 4, N, N)] * 3,
        "decoder.attention": [(B, 1, A, N)],
    }


def count(q, kv, qk, v, widening, norms):
    """Parameters of one attend: q, k, v and output, MLP, and the layer norms of widths `norms`."""
    attention = (q + 1) * qk + (kv + 1) * qk + (kv + 1) * v + (v + 1) * q
    return attention + (q + 1) * widening * q + (widening * q + 1) * q + 2 * sum(norms)


def test_parameter_counts_on_the_meta_device():
    with torch.device("meta"):
        model = build(CONFIG)
    expected = (
        N * D + count(D, C, 9, 15, 1, (D, C, D)) + 2 * count(D, D, D, D, 2, (D, D)) + count(E, D, E, E, 1, (E, D, E))
    )
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("inputs", "mask", "message"),
    [
        (Pieces([], (B, 0, C)), None, "no chunks"),
        (Pieces([(torch.zeros(B, 3, C), None)], (B, 4, C)), None, r"make \(2, 3, 13\), but `shape` says \(2, 4, 13\)"),
        (
            Pieces([(torch.zeros(B, 3, C), None)], (B, 3, C)),
            torch.ones(B, 3, dtype=torch.bool),
            "bring their own masks",
        ),
    ],
)
def test_bad_chunks_are_refused(inputs, mask, message, model):
    with pytest.raises(ValueError, match=message):
        model.encode(inputs, mask)


def hub_attend(prefix, layer, norms):
    """The state of one attend under the names of `transformers`."""
    parts = {
        f"{prefix}.attention.self.layernorm1": norms[0],
        f"{prefix}.attention.self.query": layer.attention.to_q,
        f"{prefix}.attention.self.key": layer.attention.to_k,
        f"{prefix}.attention.self.value": layer.attention.to_v,
        f"{prefix}.attention.output.dense": layer.attention.output,
        f"{prefix}.layernorm": layer.mlp_norm,
        f"{prefix}.mlp.dense1": layer.mlp[0],
        f"{prefix}.mlp.dense2": layer.mlp[2],
    }
    parts |= {f"{prefix}.attention.self.layernorm2": norm for norm in norms[1:]}
    return {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}


def test_equal_weights_give_the_outputs_of_transformers():
    from transformers import PerceiverConfig, PerceiverModel
    from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder

    torch.manual_seed(11)
    ours = perturbed(
        build(
            PerceiverIOConfig(
                input_channels=C,
                query_channels=E,
                num_latents=N,
                latent_channels=D,
                self_attends_per_block=2,
                num_blocks=3,
                cross_heads=3,
                self_heads=4,
                cross_qk_channels=24,
                cross_v_channels=D,
                self_qk_channels=24,
                self_v_channels=D,
                decoder_qk_channels=D,
                decoder_v_channels=D,
                decoder_query_residual=False,
            ),
            activation=torch.nn.GELU,
        )
    ).eval()
    config = PerceiverConfig(
        num_latents=N,
        d_latents=D,
        d_model=C,
        num_blocks=3,
        num_self_attends_per_block=2,
        num_self_attention_heads=4,
        num_cross_attention_heads=3,
        qk_channels=24,
        v_channels=D,
        attn_implementation="eager",
    )
    trainable = {"num_channels": E, "index_dims": A}
    decoder = PerceiverBasicDecoder(
        config,
        E,
        output_index_dims=A,
        num_channels=E,
        final_project=False,
        trainable_position_encoding_kwargs=trainable,
    )
    theirs = PerceiverModel(config, decoder=decoder).eval()
    queries = theirs.decoder.output_position_encodings.position_embeddings.detach()
    state = {"embeddings.latents": ours.latents.array} | hub_attend(
        "encoder.cross_attention", ours.encoder, (ours.encoder.query_norm, ours.encoder.kv_norm)
    )
    for i, layer in enumerate(ours.block):
        state |= hub_attend(f"encoder.self_attends.{i}", layer, (layer.norm,))
    cross = "decoder.decoding_cross_attention"
    state |= hub_attend(cross, ours.decoder, (ours.decoder.query_norm, ours.decoder.kv_norm))
    state["decoder.output_position_encodings.position_embeddings"] = queries
    theirs.load_state_dict(state)

    inputs, mask = torch.randn(B, M, C), torch.rand(B, M) < 0.6
    with torch.no_grad():
        expected = theirs(inputs, attention_mask=mask).logits
        got = ours(inputs, queries.expand(B, -1, -1), mask)
    assert naive.relative(got, expected.numpy()) < 1e-5
    assert np.abs(expected).max() > 0.1

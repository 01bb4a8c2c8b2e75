"""What each parameter is called here, in the port's files and in the original's, and how it lies in the latter.

Not concerned with reading files (`weights.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from perceivers.published.presets import (
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    FourierSizes,
    LanguageSizes,
    LearnedSizes,
    Sizes,
)

Layout = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Name:
    """One tensor: its three names, and the step from the original's layout to ours (the port's is ours)."""

    ours: str
    hub: str
    original: str
    layout: Layout


def _as_is(array: np.ndarray) -> np.ndarray:
    return array


def _transposed(array: np.ndarray) -> np.ndarray:
    """Haiku's linear weights are (in, out), and its convolutions' are (height, width, in, out)."""
    return array.transpose((3, 2, 0, 1)) if array.ndim == 4 else array.T


def _flat(array: np.ndarray) -> np.ndarray:
    """Haiku's batch norm keeps (1, 1, 1, channels)."""
    return array.reshape(-1)


def _linear(ours: str, hub: str, original: str) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"{hub}.weight", f"{original}/w", _transposed)
    yield Name(f"{ours}.bias", f"{hub}.bias", f"{original}/b", _as_is)


def _norm(ours: str, hub: str, original: str) -> Iterator[Name]:
    yield Name(f"{ours}.weight", f"{hub}.weight", f"{original}/scale", _as_is)
    yield Name(f"{ours}.bias", f"{hub}.bias", f"{original}/offset", _as_is)


def _learned(ours: str, hub: str, original: str) -> Iterator[Name]:
    yield Name(f"{ours}.array", hub, f"{original}/pos_embs", _as_is)


def _attention_and_mlp(ours: str, hub: str, original: str) -> Iterator[Name]:
    projections = (("to_q", "self.query"), ("to_k", "self.key"), ("to_v", "self.value"), ("output", "output.dense"))
    for number, (mine, theirs) in enumerate(projections):
        haiku = "linear" if number == 0 else f"linear_{number}"
        yield from _linear(f"{ours}.attention.{mine}", f"{hub}.attention.{theirs}", f"{original}/attention/{haiku}")
    yield from _linear(f"{ours}.mlp.0", f"{hub}.mlp.dense1", f"{original}/mlp/linear")
    yield from _linear(f"{ours}.mlp.2", f"{hub}.mlp.dense2", f"{original}/mlp/linear_1")


def _cross_attend(ours: str, hub: str, original: str) -> Iterator[Name]:
    yield from _norm(f"{ours}.query_norm", f"{hub}.attention.self.layernorm1", f"{original}/layer_norm")
    yield from _norm(f"{ours}.kv_norm", f"{hub}.attention.self.layernorm2", f"{original}/layer_norm_1")
    yield from _norm(f"{ours}.mlp_norm", f"{hub}.layernorm", f"{original}/layer_norm_2")
    yield from _attention_and_mlp(ours, hub, original)


def _self_attend(ours: str, hub: str, original: str) -> Iterator[Name]:
    yield from _norm(f"{ours}.norm", f"{hub}.attention.self.layernorm1", f"{original}/layer_norm")
    yield from _norm(f"{ours}.mlp_norm", f"{hub}.layernorm", f"{original}/layer_norm_1")
    yield from _attention_and_mlp(ours, hub, original)


def _perceiver(layers: int, encoder: str, hub_decoder: str, decoder: str) -> Iterator[Name]:
    """The Perceiver IO in the middle. `encoder` and `decoder` are the original's scopes."""
    yield from _learned("perceiver.latents", "perceiver.embeddings.latents", f"{encoder}/~/trainable_position_encoding")
    hub = "perceiver.encoder"
    yield from _cross_attend("perceiver.encoder", f"{hub}.cross_attention", f"{encoder}/~/cross_attention")
    for i in range(layers):
        haiku = "self_attention" if i == 0 else f"self_attention_{i}"
        yield from _self_attend(f"perceiver.block.{i}", f"{hub}.self_attends.{i}", f"{encoder}/~/{haiku}")
    yield from _cross_attend(
        "perceiver.decoder", f"{hub_decoder}.decoding_cross_attention", f"{decoder}/cross_attention"
    )


def _language() -> Iterator[Name]:
    hub = "perceiver.input_preprocessor"
    yield Name("inputs.embedding.array", f"{hub}.embeddings.weight", "embed/embeddings", _as_is)
    yield from _learned("inputs.positions", f"{hub}.position_embeddings.weight", "trainable_position_encoding")
    queries = "perceiver.decoder.output_position_encodings.position_embeddings"
    yield from _learned("queries", queries, "basic_decoder/~/trainable_position_encoding")
    yield Name("bias", "embedding_decoder.bias", "embedding_decoder/bias", _as_is)


def _classifier() -> Iterator[Name]:
    hub, original = "perceiver.decoder.decoder", "classification_decoder/~/basic_decoder"
    queries = f"{hub}.output_position_encodings.position_embeddings"
    yield from _learned("query", queries, f"{original}/~/trainable_position_encoding")
    yield from _linear("logits", f"{hub}.final_layer", f"{original}/output")


def _learned_inputs() -> Iterator[Name]:
    hub, original = "perceiver.input_preprocessor", "image_preprocessor"
    yield from _linear("inputs.pixels", f"{hub}.convnet_1x1", f"{original}/~/conv2_d")
    build = f"{original}/~_build_network_inputs"
    positions = f"{hub}.position_embeddings.position_embeddings"
    yield from _learned("inputs.positions", positions, f"{build}/trainable_position_encoding")
    projector = f"{build}/position_encoding_projector/linear"
    yield from _linear("inputs.project", f"{hub}.positions_projection", projector)


def _stem_inputs() -> Iterator[Name]:
    ours, hub = "inputs.stem", "perceiver.input_preprocessor.convnet"
    original = "image_preprocessor/~/conv2_d_downsample/~"
    yield Name(f"{ours}.conv.weight", f"{hub}.conv.weight", f"{original}/conv/w", _transposed)
    for mine, theirs in (
        ("weight", "scale"),
        ("bias", "offset"),
        ("running_mean", "~/mean_ema/average"),
        ("running_var", "~/var_ema/average"),
    ):
        yield Name(f"{ours}.norm.{mine}", f"{hub}.batchnorm.{mine}", f"{original}/batchnorm/{theirs}", _flat)
    counter, seen = "num_batches_tracked", f"{original}/batchnorm/~/mean_ema/counter"
    yield Name(f"{ours}.norm.{counter}", f"{hub}.batchnorm.{counter}", seen, _as_is)


def _flow() -> Iterator[Name]:
    projection = "perceiver.input_preprocessor.conv_after_patches"
    yield from _linear("inputs.project", projection, "image_preprocessor/patches_linear")
    yield from _linear("flow", "perceiver.decoder.decoder.final_layer", "flow_decoder/~/basic_decoder/output")


def _autoencoder() -> Iterator[Name]:
    hub = "perceiver.input_preprocessor"
    postprocessors = {
        "audio": "audio_postprocessor",
        "image": "projection_postprocessor",
        "label": "classification_postprocessor",
    }
    for field, postprocessor in postprocessors.items():
        encoder = f"multimodal_preprocessor/{field}"
        yield from _learned(f"inputs.padded.{field}.padding", f"{hub}.padding.{field}", f"{encoder}_padding")
        yield from _learned(f"inputs.mask_tokens.{field}", f"{hub}.mask.{field}", f"{encoder}_mask_token")
        decoder = f"multimodal_decoder/~decoder_query/{field}_padding"
        yield from _learned(f"queries.padded.{field}.padding", f"perceiver.decoder.padding.{field}", decoder)
        head = f"perceiver.output_postprocessor.modalities.{field}.classifier"
        yield from _linear(f"heads.{field}", head, f"{postprocessor}/linear")
    label = "perceiver.decoder.modalities.label.decoder.output_position_encodings.position_embeddings"
    yield from _learned("queries.label", label, "classification_decoder/~/basic_decoder/~/trainable_position_encoding")
    yield from _linear("output", "perceiver.decoder.decoder.final_layer", "multimodal_decoder/~/basic_decoder/output")


# For each model: its own names, the original's encoder, the port's decoder and the original's.
_HUB_DECODER = "perceiver.decoder.decoder"
_CLASSIFIER = "perceiver_encoder", _HUB_DECODER, "classification_decoder/~/basic_decoder"
_MODELS = {
    LanguageSizes: ((_language,), ("perceiver_encoder", "perceiver.decoder", "basic_decoder")),
    FourierSizes: ((_classifier,), _CLASSIFIER),
    LearnedSizes: ((_classifier, _learned_inputs), _CLASSIFIER),
    ConvSizes: ((_classifier, _stem_inputs), _CLASSIFIER),
    FlowSizes: ((_flow,), ("perceiver_encoder", _HUB_DECODER, "flow_decoder/~/basic_decoder")),
    AutoencoderSizes: ((_autoencoder,), ("encoder", _HUB_DECODER, "multimodal_decoder/~/basic_decoder")),
}
# What the original's moving averages keep besides the average: nothing reads it after training.
LEFT_OUT = tuple(
    f"image_preprocessor/~/conv2_d_downsample/~/batchnorm/~/{ema}"
    for ema in ("mean_ema/hidden", "var_ema/hidden", "var_ema/counter")
)


def names(sizes: Sizes) -> list[Name]:
    """Every tensor of a model of these sizes."""
    own, scopes = _MODELS[type(sizes)]
    return [name for part in own for name in part()] + list(_perceiver(sizes.perceiver.self_attends_per_block, *scopes))

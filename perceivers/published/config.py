"""What the port's `config.json` says: sizes out of it, and it out of a model.

Not concerned with files (`hub.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from perceivers.core.attention import tanh_gelu
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.core.positions import fourier_channels
from perceivers.errors import BadInput
from perceivers.published.models import Autoencoder, ImageClassifier, Published
from perceivers.published.presets import (
    PRESETS,
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    FourierSizes,
    LanguageSizes,
    LearnedSizes,
    Sizes,
)
from perceivers.published.sources import HUB, Source

Config = Mapping[str, Any]

# The names that `transformers` has for the two activations.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_pytorch_tanh": tanh_gelu,
    "gelu_new": tanh_gelu,
}
# What `transformers` takes where a config is silent.
DEFAULTS = {
    "num_latents": 256,
    "d_latents": 1280,
    "d_model": 768,
    "num_blocks": 1,
    "num_self_attends_per_block": 26,
    "num_self_attention_heads": 8,
    "num_cross_attention_heads": 8,
    "qk_channels": None,
    "v_channels": None,
    "cross_attention_shape_for_attention": "kv",
    "self_attention_widening_factor": 1,
    "cross_attention_widening_factor": 1,
    "hidden_act": "gelu",
    "use_query_residual": True,
    "vocab_size": 262,
    "max_position_embeddings": 2048,
    "image_size": 56,
    "train_size": [368, 496],
    "num_frames": 16,
    "audio_samples_per_frame": 1920,
    "samples_per_patch": 16,
    "output_shape": [1, 16, 224, 224],
    "output_num_channels": 512,
    "_label_trainable_num_channels": 1024,
}


def understood(config: Any, where: str) -> tuple[Sizes, Source]:
    """The sizes and the parts that a configuration asks for. Raises BadInput where it asks for another model."""
    if not isinstance(config, dict) or config.get("model_type") != "perceiver":
        kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise BadInput(f"{where}: model_type is {kind!r}, expected 'perceiver': this is a folder of another model")
    architectures = config.get("architectures") or ["none"]
    if architectures[0] not in READERS:
        raise BadInput(f"{where}: architecture {architectures[0]} is none of {', '.join(READERS)}")
    config = DEFAULTS | config
    for key, only in (("cross_attention_shape_for_attention", "kv"), ("use_query_residual", True)):
        if config[key] != only:
            raise BadInput(f"{where}: {key} {config[key]!r}: the published models have {only!r}")
    if config["hidden_act"] not in ACTIVATIONS:
        raise BadInput(f"{where}: hidden_act {config['hidden_act']!r} is none of {', '.join(ACTIVATIONS)}")
    try:
        sizes = READERS[architectures[0]](config)
    except (TypeError, ValueError, ZeroDivisionError, IndexError, KeyError) as error:
        raise BadInput(f"{where}: its sizes cannot be read: {' '.join(str(error).split())}") from error
    return sizes, replace(HUB, activation=ACTIVATIONS[config["hidden_act"]])


def labels(config: Config, where: str) -> tuple[str, ...]:
    """The classes' names, in order, where the configuration has others than `LABEL_0`, `LABEL_1` …"""
    names = config.get("id2label") or {}
    try:
        found = tuple(str(names[str(i)]) for i in range(len(names)))
        return () if found == tuple(f"LABEL_{i}" for i in range(len(names))) else found
    except (KeyError, TypeError) as error:
        raise BadInput(f"{where}: id2label must name every class from 0 to {len(names) - 1}") from error


def configured(model: Published) -> dict[str, Any]:
    """The `config.json` of a model. Raises BadInput where the port cannot be told its sizes or has other parts."""
    original = model.source.name == "original"
    if original and isinstance(model.sizes, LearnedSizes):
        raise BadInput("the original's learned model has no query residual in its decoder, and the port always has one")
    if original and isinstance(model.sizes, ConvSizes):
        raise BadInput("the original's stem pads as TensorFlow does (56×56 inputs), the port's differently (55×55)")
    exact = isinstance(model.source.activation(), nn.GELU) and model.source.activation().approximate == "none"
    config = {
        "model_type": "perceiver",
        "architectures": [architecture_of(model.sizes)],
        **DEFAULTS,
        **_said_of_core(model.sizes.perceiver),
        **_said_of_rest(model.sizes, model.labels if isinstance(model, ImageClassifier | Autoencoder) else ()),
        "hidden_act": "gelu" if exact else "gelu_pytorch_tanh",
    }
    said, _ = understood(config, "config.json")
    if said != model.sizes:
        raise BadInput(f"the port cannot be told these sizes: {_differences(model.sizes, said)}")
    return config


def _differences(asked: Sizes, made: Sizes) -> str:
    a, b = (vars(sizes) | vars(sizes.perceiver) for sizes in (asked, made))
    return ", ".join(f"{key} {a[key]} (it has {b[key]})" for key in a if key != "perceiver" and a[key] != b[key])


def architecture_of(sizes: Sizes) -> str:
    """The class of `transformers` for these sizes."""
    return next(preset.architecture for preset in PRESETS.values() if type(preset.original) is type(sizes))


def _core(config: Config, input_channels: int, query_channels: int, **decoder: Any) -> PerceiverIOConfig:
    """The Perceiver IO of a config: a cross-attend is as wide as its keys, unless the config says otherwise."""
    d, qk, v = config["d_latents"], config["qk_channels"], config["v_channels"]
    return PerceiverIOConfig(
        input_channels=input_channels,
        query_channels=query_channels,
        num_latents=config["num_latents"],
        latent_channels=d,
        self_attends_per_block=config["num_self_attends_per_block"],
        num_blocks=config["num_blocks"],
        cross_heads=config["num_cross_attention_heads"],
        self_heads=config["num_self_attention_heads"],
        cross_widening=config["cross_attention_widening_factor"],
        self_widening=config["self_attention_widening_factor"],
        cross_qk_channels=qk or input_channels,
        cross_v_channels=v or qk or input_channels,
        self_qk_channels=qk,
        self_v_channels=v,
        **({"decoder_qk_channels": d, "decoder_v_channels": d} | decoder),
    )


def _language(config: Config) -> LanguageSizes:
    d = config["d_model"]
    decoder = {"decoder_heads": 8, "decoder_qk_channels": 256, "decoder_v_channels": d, "decoder_query_residual": False}
    return LanguageSizes(_core(config, d, d, **decoder), config["vocab_size"], config["max_position_embeddings"])


def _fourier(config: Config) -> FourierSizes:
    return FourierSizes(_classifier(config, 3 + fourier_channels(2, 64)), (224, 224), 64, _num_labels(config))


def _learned(config: Config) -> LearnedSizes:
    side = int(config["image_size"])
    return LearnedSizes(_classifier(config, 512), (side, side), 256, _num_labels(config))


def _conv(config: Config) -> ConvSizes:
    return ConvSizes(_classifier(config, 64 + fourier_channels(2, 64)), 64, (56, 56), 64, _num_labels(config))


def _classifier(config: Config, input_channels: int) -> PerceiverIOConfig:
    return _core(config, input_channels, config["d_latents"])


def _flow(config: Config) -> FlowSizes:
    channels = 64 + fourier_channels(2, 64)
    height, width = config["train_size"]
    return FlowSizes(
        _core(config, channels, channels, decoder_query_residual=False), (height, width), 27, 64, 64, rescale=100.0
    )


def _autoencoder(config: Config) -> AutoencoderSizes:
    frames, side, label = config["num_frames"], int(config["image_size"]), config["_label_trainable_num_channels"]
    samples, patch, classes = config["samples_per_patch"], 4, _num_labels(config)
    image, audio = fourier_channels(3, 32), fourier_channels(1, 192)
    inputs, queries = max(samples + audio, 3 * patch**2 + image, classes) + 4, max(audio, image, label) + 2
    _, _, height, width = config["output_shape"]
    if (height, width) != (patch * side, patch * side):
        raise ValueError(f"output_shape {height}×{width} is not {patch} times image_size {side}")
    return AutoencoderSizes(
        _core(config, inputs, queries, decoder_query_residual=False),
        num_frames=frames,
        frame_size=(height, width),
        patch_size=patch,
        image_bands=32,
        audio_samples=frames * config["audio_samples_per_frame"],
        samples_per_patch=samples,
        audio_bands=192,
        num_classes=classes,
        label_query_channels=label,
        output_channels=config["output_num_channels"],
    )


def _num_labels(config: Config) -> int:
    return len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2)


READERS: dict[str, Callable[[Config], Sizes]] = {
    "PerceiverForMaskedLM": _language,
    "PerceiverForImageClassificationFourier": _fourier,
    "PerceiverForImageClassificationLearned": _learned,
    "PerceiverForImageClassificationConvProcessing": _conv,
    "PerceiverForOpticalFlow": _flow,
    "PerceiverForMultimodalAutoencoding": _autoencoder,
}


def _said_of_core(core: PerceiverIOConfig) -> dict[str, Any]:
    return {
        "num_latents": core.num_latents,
        "d_latents": core.latent_channels,
        "d_model": core.input_channels,
        "num_blocks": core.num_blocks,
        "num_self_attends_per_block": core.self_attends_per_block,
        "num_self_attention_heads": core.self_heads,
        "num_cross_attention_heads": core.cross_heads,
        "self_attention_widening_factor": core.self_widening,
        "cross_attention_widening_factor": core.cross_widening,
        "qk_channels": core.self_qk_channels,
        "v_channels": core.self_v_channels,
    }


def _said_of_rest(sizes: Sizes, labels: Sequence[str]) -> dict[str, Any]:
    if isinstance(sizes, LanguageSizes):
        return {"vocab_size": sizes.vocabulary, "max_position_embeddings": sizes.length}
    if isinstance(sizes, FlowSizes):
        return {"train_size": list(sizes.image_size)}
    names = list(labels) or [f"LABEL_{i}" for i in range(sizes.num_classes)]
    said: dict[str, Any] = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    if isinstance(sizes, LearnedSizes):
        said["image_size"] = sizes.image_size[0]
    if isinstance(sizes, AutoencoderSizes):
        said |= {
            "num_frames": sizes.num_frames,
            "image_size": sizes.grid[1],
            "output_shape": [1, sizes.num_frames, *sizes.frame_size],
            "audio_samples_per_frame": sizes.audio_samples // sizes.num_frames,
            "samples_per_patch": sizes.samples_per_patch,
            "output_num_channels": sizes.output_channels,
            "_label_trainable_num_channels": sizes.label_query_channels,
        }
    return said

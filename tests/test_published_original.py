"""The six models of the original source against what the original JAX code computed."""

import numpy as np
import pytest
import torch
from naive import relative
from reduced import GOLDENS, REDUCED

from perceivers.core.inputs import join
from perceivers.published import load_original
from perceivers.published.flow import SCALE, merge, neighbourhoods

TOLERANCE = {"video_autoencoding": 4e-5}


@pytest.fixture(scope="module", params=REDUCED)
def name(request):
    return request.param


def load(name):
    return load_original(GOLDENS / f"{name}.pickle", REDUCED[name]), np.load(GOLDENS / f"{name}.npz")


def channels_first(array):
    return torch.from_numpy(np.moveaxis(array, -1, -3).copy())


def raw_inputs(name, goldens):
    """The arguments of the model's inputs, and its mask."""
    if name == "language":
        return (torch.from_numpy(goldens["inputs"]),), torch.from_numpy(goldens["input_mask"]).bool()
    if name == "optical_flow":
        return (neighbourhoods(channels_first(goldens["images"])),), None
    if name == "video_autoencoding":
        return (channels_first(goldens["images"]), torch.from_numpy(goldens["audio"][..., 0])), None
    return (channels_first(goldens["images"]),), None


def queries(name, model, array):
    if name == "language":
        return model.queries(len(array))
    if name == "optical_flow":
        return array
    if name == "video_autoencoding":
        return model.queries(len(array), model.queries.everything())
    return model.query(len(array))


@torch.no_grad()
def test_every_array_on_the_way(name):
    model, goldens = load(name)
    arguments, mask = raw_inputs(name, goldens)
    tolerance = TOLERANCE.get(name, 1e-5)
    prefix = "full_" if name == "video_autoencoding" else ""
    array = join(model.inputs(*arguments)) if name != "language" else model.inputs(*arguments)
    latents = model.perceiver.encode(array, mask)
    final = model.perceiver.process(latents)
    asked = queries(name, model, array)
    found = {
        "preprocessed": array,
        "latents_initial": model.perceiver.latents(len(array)),
        "latents_after_cross_attend": latents,
        "latents_final": final,
        f"{prefix}decoder_query": asked,
        f"{prefix}decoder_cross_attend_output": model.perceiver.decode(final, asked, mask),
    }
    errors = {key: relative(value, goldens[key]) for key, value in found.items()}
    assert max(errors.values()) < tolerance, errors


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in REDUCED if name != "video_autoencoding"])
def test_outputs(name):
    model, goldens = load(name)
    arguments, mask = raw_inputs(name, goldens)
    output = model(*arguments, *([mask] if mask is not None else []))
    expected = goldens["output"] / SCALE if name == "optical_flow" else goldens["output"]
    assert relative(output, expected) < 1e-5


@torch.no_grad()
def test_each_language_row_by_itself():
    """Mask tokens; padding; holes in the mask; everything masked out."""
    model, goldens = load("language")
    for row in range(4):
        ids, mask = (torch.from_numpy(goldens[key][row : row + 1]) for key in ("inputs", "input_mask"))
        assert relative(model(ids, mask.bool()), goldens["output"][row : row + 1]) < 1e-5, row


@torch.no_grad()
def test_a_short_text_is_the_padded_one():
    model, goldens = load("language")
    ids, mask = (torch.from_numpy(goldens[key][1:2]) for key in ("inputs", "input_mask"))
    length = int(mask.sum())
    short = model(ids[:, :length], torch.ones(1, length, dtype=torch.bool))
    assert relative(short, goldens["output"][1:2]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["imagenet_fourier", "imagenet_conv"])
def test_other_image_sizes(name):
    model, goldens = load(name)
    images = channels_first(goldens["alt_images"])
    assert relative(join(model.inputs(images)), goldens["alt_preprocessed"]) < 1e-5
    assert relative(model(images), goldens["alt_output"]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("kind", ["", "alt_"])
def test_the_stem_pads_as_tensorflow_does(kind):
    model, goldens = load("imagenet_conv")
    stem = model.inputs.stem(channels_first(goldens[f"{kind}images"])).permute(0, 2, 3, 1)
    assert relative(stem, goldens[f"{kind}conv_stem_output"]) < 1e-5


@torch.no_grad()
def test_flow_of_a_picture_larger_than_the_model():
    model, goldens = load("optical_flow")
    frames = channels_first(goldens["big_images"])[None]
    flow = merge(frames, lambda tile: model(neighbourhoods(tile)), (20, 28), overlap=6)
    assert relative(SCALE * flow, goldens["big_flow"]) < 1e-5


def clip(goldens):
    return channels_first(goldens["images"]), torch.from_numpy(goldens["audio"][..., 0])


@torch.no_grad()
def test_the_autoencoder_decodes_everything_at_once():
    model, goldens = load("video_autoencoding")
    found = model.decode(model.encode(*clip(goldens)), model.queries.everything())
    for field in ("audio", "image", "label"):
        assert relative(found[field], goldens[f"full_output_{field}"]) < 4e-5, field


@torch.no_grad()
def test_the_autoencoder_decodes_in_chunks():
    model, goldens = load("video_autoencoding")
    found = model(*clip(goldens), chunks=4)
    assert relative(found["video"], np.moveaxis(goldens["reconstruction_image"], -1, 2)) < 4e-5
    assert relative(found["audio"], goldens["reconstruction_audio"][..., 0]) < 4e-5
    assert relative(found["label"], goldens["reconstruction_label"]) < 4e-5


@torch.no_grad()
@pytest.mark.parametrize("kind", ["chunk0", "chunk3", "subset"])
def test_the_autoencoder_decodes_chosen_points(kind):
    model, goldens = load("video_autoencoding")
    if kind == "subset":
        points = {name: torch.from_numpy(goldens[f"subset_points_{name}"]).long() for name in ("audio", "image")}
    else:
        sizes, i = {"audio": 12, "image": 1024}, int(kind[-1])
        points = {name: torch.arange(size).tensor_split(4)[i] for name, size in sizes.items()}
    latents = model.encode(*clip(goldens))
    assert relative(model.queries(2, points), goldens[f"{kind}_decoder_query"]) < 4e-5
    for field, value in model.decode(latents, points).items():
        assert relative(value, goldens[f"{kind}_output_{field}"]) < 4e-5, field


def test_moving_averages_come_from_the_state():
    model, _ = load("imagenet_conv")
    arrays = np.load(GOLDENS / "imagenet_conv.pickle", allow_pickle=True)
    state = arrays["state"]["image_preprocessor/~/conv2_d_downsample/~/batchnorm/~/mean_ema"]
    assert torch.equal(model.inputs.stem.norm.running_mean, torch.from_numpy(state["average"].reshape(-1)))
    assert not np.allclose(state["average"], state["hidden"])

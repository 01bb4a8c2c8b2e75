"""What happens before and after the six models, against the original's arrays and against `transformers`."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import relative
from reduced import GOLDENS, REDUCED

from perceivers.core.positions import grid
from perceivers.errors import Unreadable
from perceivers.published import clips, flow, load_original, pictures, text
from perceivers.published.inputs import FourierPositions
from perceivers.published.sources import ORIGINAL, xla_linspace

TOKENS = json.loads((GOLDENS / "bytes_tokenizer.json").read_text())
GRIDS = json.loads((GOLDENS / "flow_grid.json").read_text())["cases"]
SENTENCE = "This is an incomplete sentence where some words are missing."


# Text ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", TOKENS["encode"], ids=lambda case: case["text"][:9])
def test_text_to_ids(case):
    assert text.encode(case["text"]) == case["ids"]


@pytest.mark.parametrize("case", TOKENS["encode_bytes"], ids=lambda case: str(len(case["ids"])))
def test_bytes_to_ids(case):
    assert text.encode(bytes(case["bytes"])) == case["ids"]


@pytest.mark.parametrize("case", TOKENS["decode"], ids=lambda case: case["text"][:9])
def test_ids_to_text(case):
    assert text.decode(case["ids"]) == case["text"]


def test_special_ids():
    assert TOKENS["special"] == {
        "pad": text.PAD, "bos": text.BOS, "eos": text.EOS, "mask": text.MASK, "cls": text.CLS, "sep": text.SEP
    }  # fmt: skip


@given(st.text(), st.binary())
def test_text_comes_back(string, raw):
    assert text.decode(text.encode(string.replace("<", "("))) == string.replace("<", "(")
    assert bytes(i - 6 for i in text.encode(raw)) == raw


def test_masks_by_span_and_by_mark():
    ids = text.encode(SENTENCE)
    masked = text.mask_span(ids, 51, 60)
    assert masked == text.encode(SENTENCE[:51] + 9 * "<mask>")
    assert text.decode(masked) == SENTENCE[:51]
    for span in ((-1, 3), (3, 3), (5, 61)):
        with pytest.raises(ValueError, match="is not in a text of 60 ids"):
            text.mask_span(ids, *span)


def test_a_part_is_masked_byte_by_byte():
    assert text.mask(SENTENCE, " missing.") == SENTENCE[:51] + 9 * "<mask>"
    assert text.mask("é, a, é", "é") == "<mask><mask>, a, <mask><mask>"
    for part in ("", "else"):
        with pytest.raises(ValueError, match="is not in the text"):
            text.mask(SENTENCE, part)


def test_the_port_s_tokenizer_gives_the_same_ids():
    from transformers import PerceiverTokenizer

    tokenizer = PerceiverTokenizer()
    for sentence in (SENTENCE, "Ünïcödé — 東京 🚀", ""):
        assert text.between_ends(text.encode(sentence)) == tokenizer(sentence).input_ids


def test_rows_are_padded_and_long_ones_refused():
    ids, mask = text.collate([[7, 8], [9]], 3)
    assert ids.tolist() == [[7, 8, 0], [9, 0, 0]]
    assert mask.tolist() == [[True, True, False], [True, False, False]]
    with pytest.raises(Unreadable, match="text 0: 4 bytes came, but the model reads 3"):
        text.collate([[1] * 4], 3)


def test_masks_are_filled_with_the_likeliest_bytes_and_nothing_else_changes():
    model = load_original(GOLDENS / "language.pickle", REDUCED["language"])
    sentence = "a<mask><mask>b<mask>"
    (filled,) = text.fill(model, [sentence])
    ids, mask = text.collate([text.encode(sentence)], 64)
    with torch.no_grad():
        best = model(ids, mask)[0, :, 6:].argmax(-1) + 6
    assert filled == text.decode([103, best[1], best[2], 104, best[4]])


# Pictures -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["im0", "im1"])
def test_pictures_are_cropped_resized_and_normalised_as_in_the_original(name):
    goldens = np.load(GOLDENS / "imagenet_preprocessing.npz")
    picture = goldens[f"{name}_uint8"]
    assert np.array_equal(pictures.crop_and_resize_cubic(picture, 224), goldens[f"{name}_resized_uint8"])
    (image,) = pictures.prepare([picture], ORIGINAL.crop_and_resize)
    assert relative(image.permute(1, 2, 0), goldens[f"{name}_normalised"]) < 1e-6


@pytest.mark.parametrize("size", [(61, 97), (300, 211)])
def test_pictures_are_prepared_as_in_the_port(size):
    from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil

    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = PerceiverImageProcessorPil()(picture, return_tensors="pt").pixel_values
    assert relative(pictures.prepare([picture], pictures.crop_and_resize_bicubic), expected) < 1e-5


def test_classes_have_probabilities():
    model = load_original(GOLDENS / "imagenet_fourier.pickle", REDUCED["imagenet_fourier"])
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    found = pictures.classify(model, [picture, picture[:, ::-1]])
    assert found.shape == (2, 11)
    assert torch.allclose(found.sum(1), torch.ones(2))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (500, 2)])
def test_the_smallest_pictures_are_pictures(size):
    picture = np.full((*size, 3), 124, np.uint8)
    for crop_and_resize in (pictures.crop_and_resize_cubic, pictures.crop_and_resize_bicubic):
        assert (crop_and_resize(picture, 224) == 124).all()


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 4), (0, 5, 3)])
def test_pictures_of_other_shapes_are_refused(shape):
    with pytest.raises(Unreadable, match=r"expected uint8 \(h, w, 3\), RGB, not empty"):
        pictures.prepare([np.zeros(shape, np.uint8)], pictures.crop_and_resize_cubic)


@pytest.mark.parametrize("picture", [np.zeros((5, 5, 3)), np.zeros((5, 5, 3), np.float32)])
def test_other_pictures_are_refused(picture):
    with pytest.raises(Unreadable, match=r"expected uint8 \(h, w, 3\), RGB"):
        pictures.prepare([picture], pictures.crop_and_resize_cubic)


# Flow ---------------------------------------------------------------------------------------------------------------
def frames_of(goldens, name):
    return torch.from_numpy(np.moveaxis(goldens[name], -1, -3).copy())


def test_frames_and_neighbourhoods_are_the_original_s():
    goldens = np.load(GOLDENS / "optical_flow.npz")
    for row in range(2):
        frames = flow.prepare(*goldens["images_uint8"][row])
        assert relative(frames[0].permute(0, 2, 3, 1), goldens["images"][row]) < 1e-6
        patches = flow.neighbourhoods(frames)[0].permute(0, 2, 3, 1)
        assert relative(patches, goldens["patches"][row]) < 1e-6


@pytest.mark.parametrize("case", GRIDS, ids=lambda case: "x".join(map(str, case["image_shape"])))
def test_tiles_are_the_original_s_where_it_is_sound(case):
    shape, size = case["image_shape"], case["train_size"]
    padded = tuple(max(a, b) for a, b in zip(shape, size, strict=True))
    found = list(flow.tiles(padded, tuple(size), case["min_overlap"]))
    assert all(y + size[0] <= padded[0] and x + size[1] <= padded[1] for y, x, _ in found)
    if not case["published_code_fails"]:
        assert sorted((y, x) for y, x, times in found for _ in range(times)) == sorted(map(tuple, case["grid"]))


def local(tile):
    """(x, y) inside the tile."""
    h, w = tile.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([x, y], -1).float()[None]


def fake(tile):
    """The fake flow of the goldens."""
    pixels = tile.permute(0, 1, 3, 4, 2)
    places = local(tile)
    u = 0.5 * places[..., 0] + 3 * pixels[:, 0, ..., 0]
    v = -0.25 * places[..., 1] + 2 * pixels[:, 1, ..., 1]
    return torch.stack([u, v], -1)


@pytest.mark.parametrize(
    ("images", "expected", "estimate"),
    [
        ("big_images", "big_fake_flow", fake),
        ("big_images", "big_fake_flow_local_coords", local),
        ("dup_images", "dup_fake_flow", fake),
    ],
)
def test_tiles_are_merged_as_in_the_original(images, expected, estimate):
    goldens = np.load(GOLDENS / "optical_flow.npz")
    merged = flow.merge(frames_of(goldens, images)[None], estimate, (20, 28), 6)
    assert relative(merged, goldens[expected]) < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 71), st.integers(1, 83), st.integers(0, 10))
def test_constant_and_linear_fields_come_out_as_they_are(height, width, overlap):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    field = torch.stack([torch.full((height, width), 3.0), 0.5 * x - 0.25 * y + 1], -1)
    frames = torch.zeros(1, 2, 3, height, width)
    frames[0, 0, :2] = field.permute(2, 0, 1)  # a tile that knows its part of the field
    merged = flow.merge(frames, lambda tile: tile[:, 0, :2].permute(0, 2, 3, 1), (11, 13), overlap)
    assert merged.shape == (1, height, width, 2)
    assert torch.allclose(merged[0], field, atol=1e-4)


def test_a_tile_is_evaluated_once():
    calls = []

    def estimate(tile):
        calls.append(tile.shape)
        return local(tile)

    flow.merge(torch.zeros(1, 2, 3, 34, 50), estimate, (20, 28), 6)
    assert len(calls) == 4


def test_flow_in_pixels_of_frames_of_any_size():
    model = load_original(GOLDENS / "optical_flow.pickle", REDUCED["optical_flow"])
    goldens = np.load(GOLDENS / "optical_flow.npz")
    found = flow.estimate(model, *goldens["big_images_uint8"], overlap=6)
    assert relative(found, goldens["big_flow"][0]) < 1e-5
    first, second = goldens["images_uint8"][0][:, :7, :9]
    assert np.isfinite(flow.estimate(model, first, second, overlap=6)).all()


def test_frames_that_do_not_fit_are_refused():
    frame = np.zeros((5, 7, 3), np.uint8)
    with pytest.raises(Unreadable, match="differ in size"):
        flow.prepare(frame, frame[1:])
    with pytest.raises(Unreadable, match="second frame: float64"):
        flow.prepare(frame, frame.astype(float))
    with pytest.raises(ValueError, match="an overlap of 20 came for tiles of 20×28"):
        flow.merge(torch.zeros(1, 2, 3, 40, 40), local, (20, 28), 20)
    model = load_original(GOLDENS / "optical_flow.pickle", REDUCED["optical_flow"])
    with pytest.raises(ValueError, match="frames of 21×28 came, but the model reads 20×28"):
        model(torch.zeros(1, 2, 27, 21, 28))


# Clips --------------------------------------------------------------------------------------------------------------
def test_frames_of_a_clip_are_the_original_s():
    goldens = np.load(GOLDENS / "video_preprocessing.npz")
    found = clips.prepare(goldens["frames_bgr_uint8"][..., ::-1], (56, 56))
    assert np.array_equal(found[0].permute(0, 2, 3, 1), goldens["video"])


def test_a_clip_is_reconstructed():
    model = load_original(GOLDENS / "video_autoencoding.pickle", REDUCED["video_autoencoding"])
    goldens = np.load(GOLDENS / "video_autoencoding.npz")
    found = clips.reconstruct(model, goldens["images_uint8"][0], goldens["audio"][0, :, 0], chunks=4)
    assert relative(found["video"], goldens["reconstruction_image"][0]) < 4e-5
    assert relative(found["audio"], goldens["reconstruction_audio"][0, :, 0]) < 4e-5
    assert abs(found["label"].sum() - 1) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("chunks", [1, 7, 100])
def test_a_clip_is_encoded_once_however_it_is_decoded(chunks):
    model = load_original(GOLDENS / "video_autoencoding.pickle", REDUCED["video_autoencoding"])
    calls = []
    model.perceiver.encoder.register_forward_hook(lambda *_: calls.append(1))
    generator = torch.Generator().manual_seed(3)
    clip = torch.rand(2, 4, 3, 16, 16, generator=generator), torch.randn(2, 192, generator=generator)
    whole, found = model(*clip, chunks=1), model(*clip, chunks=chunks)
    assert len(calls) == 2
    assert all(relative(found[name], value) < 1e-5 for name, value in whole.items())
    with pytest.raises(ValueError, match="0 chunks came"):
        model(*clip, chunks=0)


def test_clips_of_other_sizes_are_refused():
    model = load_original(GOLDENS / "video_autoencoding.pickle", REDUCED["video_autoencoding"])
    with pytest.raises(ValueError, match=r"expected \(b, 4, 3, 16, 16\) and \(b, 192\)"):
        model(torch.zeros(1, 4, 3, 16, 16), torch.zeros(1, 191))
    with pytest.raises(Unreadable, match="frames: float64"):
        clips.prepare(np.zeros((2, 5, 5, 3)), (16, 16))


# Positions ----------------------------------------------------------------------------------------------------------
CASES = json.loads((GOLDENS / "fourier_features.json").read_text())["cases"]


@pytest.mark.parametrize("case", [c for c in CASES if c["name"].startswith("full_")], ids=lambda case: case["name"])
def test_position_features_of_the_published_sizes(case):
    """Axes and frequencies to the bit; so the features agree where another rounding differs by 6e-3."""
    goldens, name = np.load(GOLDENS / "fourier_features.npz"), case["name"]
    for resolution, expected in zip(case["max_resolution"], goldens[f"{name}_freq_bands"], strict=True):
        assert np.array_equal(xla_linspace(1.0, resolution / 2, case["num_bands"]), expected)
    rows, positions = goldens[f"{name}_rows"], goldens[f"{name}_positions"]
    assert np.array_equal(grid(case["index_dims"], linspace=xla_linspace)[rows], positions)
    module = FourierPositions(case["num_bands"], case["max_resolution"], xla_linspace)
    features = module.on_grid(case["index_dims"], torch.zeros(())).whole()[rows]
    assert relative(features, goldens[f"{name}_features"]) < 1e-6

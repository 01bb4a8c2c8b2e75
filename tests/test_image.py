"""Images: files of many kinds against what was written, pictures of any size in one batch, and small changes."""

import base64
import io
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from sklearn.datasets import load_digits, load_sample_images

from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import MODALITIES, modality, pixels
from perceivers.modalities.array_input import centres
from perceivers.modalities.image import ImageInput

CHANNELS = 13
LIMIT = 500_000_000


def image_field(cells, **options):
    field = Field("i", "image", "input", ("i",), options)
    kind = modality(field)
    field = field.with_options(**{**kind.options, **options})
    return field.with_options(**kind.fit(field, cells))


def random_picture(*shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


GREY, COLOUR = random_picture(5, 7), random_picture(5, 7, 3)
IMAGE = modality(image_field([GREY]))


def png16(path: Path, array: np.ndarray) -> Path:
    """A PNG of 16 bits written by hand: Pillow writes none but grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w, c = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", w, h, 16, {1: 0, 2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def tiff16(path: Path, array: np.ndarray, order: str) -> Path:
    """An uncompressed RGB TIFF of 16 bits, of either byte order."""
    h, w, c = array.shape
    data = array.astype(f"{order}u2").tobytes()
    tags = [(256, 3, 1, w), (257, 3, 1, h), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    tags += [(277, 3, 1, c), (278, 3, 1, h), (279, 4, 1, len(data))]
    first = 8 + len(data) + 6
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, first) + data
    content += struct.pack(f"{order}3H", 16, 16, 16) + struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        content += struct.pack(f"{order}HHI", tag, kind, count) + packed
    path.write_bytes(content + struct.pack(f"{order}I", 0))
    return path


# The door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp", "ppm", "webp", "gif"])
def test_lossless_files_come_back(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    array = COLOUR if suffix != "gif" else np.repeat(GREY[..., None], 3, axis=2)
    Pillow.fromarray(array).save(path, **({"lossless": True} if suffix == "webp" else {}))
    found = pixels.read(path, LIMIT)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(pixels.fit(found, 3, None), array)
    assert pixels.size(path, LIMIT) == (5, 7)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_exact(tmp_path, channels):
    array = random_picture(5, 7, channels, dtype=np.uint16)
    found = pixels.read(png16(tmp_path / "deep.png", array), LIMIT)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.round(found * 65_535).astype(np.uint16), array)


@pytest.mark.parametrize("order", "<>")
def test_16_bit_tiff_is_exact(tmp_path, order):
    array = random_picture(5, 7, 3, dtype=np.uint16)
    found = pixels.read(tiff16(tmp_path / "deep.tiff", array, order), LIMIT)
    np.testing.assert_array_equal(np.round(found * 65_535).astype(np.uint16), array)


def test_16_bit_grey_files_of_pillow(tmp_path):
    array = random_picture(5, 7, dtype=np.uint16)
    for suffix in ("png", "tiff"):
        Pillow.fromarray(array).save(tmp_path / f"deep.{suffix}")
        found = pixels.read(tmp_path / f"deep.{suffix}", LIMIT)[..., 0]
        np.testing.assert_array_equal(np.round(found * 65_535).astype(np.uint16), array)


def test_palettes_bilevel_cmyk_and_floats(tmp_path):
    grey = Pillow.fromarray(np.repeat(GREY[..., None], 3, axis=2))
    grey.quantize(256).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(pixels.read(tmp_path / "palette.png", LIMIT), np.asarray(grey))
    bits = GREY > 127
    Pillow.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(pixels.read(tmp_path / "bits.png", LIMIT)[..., 0], bits * 255)
    photo = Pillow.fromarray(load_sample_images().images[0][:80, :120])
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    found = pixels.read(tmp_path / "cmyk.jpg", LIMIT)
    assert found.shape == (80, 120, 3)
    assert np.abs(found.astype(int) - np.asarray(photo)).mean() < 4
    Pillow.fromarray(GREY.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    np.testing.assert_allclose(pixels.read(tmp_path / "float.tiff", LIMIT)[..., 0], GREY / 255, atol=1e-7)
    Pillow.fromarray(GREY.astype(np.float32)).save(tmp_path / "wide.tiff")
    with pytest.raises(Unreadable, match=r"wide\.tiff: floats from .* came, expected \[0, 1\]"):
        pixels.read(tmp_path / "wide.tiff", LIMIT)


def test_a_gif_gives_its_first_frame(tmp_path):
    frames = [Pillow.fromarray(np.full((5, 7), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert (pixels.fit(pixels.read(tmp_path / "two.gif", LIMIT), 1, None) == 10).all()


def test_pictures_are_turned_upright(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90° clockwise
    Pillow.fromarray(COLOUR).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels.read(tmp_path / "turned.png", LIMIT), np.rot90(COLOUR, -1))


def test_alpha_lies_on_white_unless_four_channels_are_asked(tmp_path):
    array = random_picture(5, 7, 4)
    Pillow.fromarray(array).save(tmp_path / "alpha.png")
    found = pixels.read(tmp_path / "alpha.png", LIMIT)
    np.testing.assert_array_equal(pixels.fit(found, 4, None), array)
    white = Pillow.new("RGBA", (7, 5), "white")
    white.alpha_composite(Pillow.fromarray(array))
    assert np.abs(pixels.fit(found, 3, None).astype(int) - np.asarray(white.convert("RGB"))).max() <= 1
    assert (pixels.fit(COLOUR, 4, None)[..., 3] == 255).all()
    clear = Pillow.fromarray(COLOUR)
    clear.save(tmp_path / "clear.png", transparency=tuple(int(v) for v in COLOUR[0, 0]))
    assert pixels.fit(pixels.read(tmp_path / "clear.png", LIMIT), 3, None)[0, 0].tolist() == [255] * 3


def test_grey_is_that_of_pillow_and_colour_of_grey_is_grey():
    expected = np.asarray(Pillow.fromarray(COLOUR).convert("L")).astype(int)
    assert np.abs(pixels.fit(COLOUR, 1, None)[..., 0] - expected).max() <= 1
    np.testing.assert_array_equal(pixels.fit(GREY[..., None], 3, None), np.repeat(GREY[..., None], 3, axis=2))


def test_arrays_and_lists():
    for cell in (GREY, GREY.tolist(), GREY[..., None], GREY.astype(np.int64), GREY / 255, (GREY / 255).tolist()):
        found = pixels.as_float(pixels.read(cell, LIMIT))
        np.testing.assert_allclose(found[..., 0], GREY / 255, atol=1e-6)
    np.testing.assert_array_equal(pixels.read(GREY > 9, LIMIT)[..., 0], (GREY > 9) * 255)
    deep = random_picture(5, 7, dtype=np.uint16)
    np.testing.assert_allclose(pixels.read(deep, LIMIT)[..., 0], deep / 65_535, atol=1e-7)
    assert pixels.read(None, LIMIT) is None
    assert pixels.size(GREY.tolist(), LIMIT) == (5, 7)
    assert pixels.size(None, LIMIT) == (0, 0)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.full((3, 3), np.nan), "floats from nan to nan came"),
        ([[0.5, None]], "floats from nan to nan came"),
        (np.array([[0, 1.5]]), r"floats from 0 to 1.5 came, expected \[0, 1\]: scale them"),
        (np.array([[0, 256]]), "integers from 0 to 256 came, expected 0 … 255"),
        (np.array([[-1, 2]]), "integers from -1 to 2 came"),
        (np.zeros((0, 3)), r"an array of shape \(0, 3\) came"),
        (np.zeros(3), r"an array of shape \(3,\) came"),
        (np.zeros((2, 2), complex), "pixels of type complex128 came"),
        ([[1, 2], [3]], "rows of unlike lengths"),
        ("photo.png", "'photo.png' came, expected the path of a picture, or an array"),
        (3.5, "'3.5' came, expected the path of a picture"),
    ],
)
def test_arrays_that_are_no_pictures(cell, message):
    with pytest.raises(Unreadable, match=message):
        pixels.read(cell, LIMIT)


def test_files_that_are_no_pictures(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    with pytest.raises(Unreadable, match=r"text\.png: not a picture \(PNG, JPEG"):
        pixels.read(text, LIMIT)
    text.write_text("")
    with pytest.raises(Unreadable, match=r"text\.png: an empty file: copy it anew"):
        pixels.read(text, LIMIT)
    with pytest.raises(Unreadable, match=r"none\.png: cannot be read: No such file"):
        pixels.read(tmp_path / "none.png", LIMIT)
    photo = Pillow.fromarray(load_sample_images().images[0])
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "ppm"):
        path = tmp_path / f"cut.{suffix}"
        photo.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(Unreadable, match=rf"cut\.{suffix}: ") as caught:
            pixels.read(path, LIMIT)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=40), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_damaged_files_are_unreadable_or_read(tmp_path_factory, noise, place):
    path = tmp_path_factory.getbasetemp() / "noise.png"
    Pillow.fromarray(COLOUR).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    with suppress(Unreadable):  # any other error fails
        assert pixels.read(path, 10_000).ndim == 3


def test_large_pictures_are_refused_from_the_header(tmp_path):
    path = png16(tmp_path / "bomb.png", np.zeros((1, 1, 3)))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)
    limit = Pillow.MAX_IMAGE_PIXELS
    for ask in (pixels.read, pixels.size):
        with pytest.raises(Unreadable, match=r"bomb\.png: 30000 × 20000 pixels, over max_pixels = 500000000"):
            ask(path, LIMIT)
    assert pixels.size(path, 10**9) == (20_000, 30_000)  # over Pillow's own limit, under ours
    assert limit == Pillow.MAX_IMAGE_PIXELS


def test_resizing_keeps_the_aspect_and_is_antialiased():
    photo = load_sample_images().images[0]
    small = pixels.fit(photo, 3, 64)
    assert small.shape == (43, 64, 3)
    expected = np.asarray(Pillow.fromarray(photo).resize((64, 43), Pillow.Resampling.BILINEAR)).astype(int)
    assert np.abs(small - expected).max() <= 2
    assert pixels.fit(GREY[..., None], 1, 64) is not None
    assert pixels.fit(GREY[..., None], 1, 64).shape == (5, 7, 1)  # never larger
    assert pixels.fit(np.zeros((1, 900, 1), np.float32), 1, 8).shape == (1, 8, 1)


# What is read off train -----------------------------------------------------------------------------------------


def test_fit_reads_channels_patch_and_statistics_off_train():
    digits = list(np.round(load_digits().images[:50] * 255 / 16).astype(np.uint8))
    options = image_field(digits).options
    assert (options["channels"], options["patch"], options["resize"]) == (1, 1, None)
    np.testing.assert_allclose(options["mean"], [np.mean(digits) / 255], rtol=1e-5)
    np.testing.assert_allclose(options["std"], [np.std(digits) / 255], rtol=1e-5)
    photos = load_sample_images().images
    assert image_field(photos).options["patch"] == 32
    assert image_field(photos, resize=64).options["patch"] == 4
    assert image_field([GREY, COLOUR]).options["channels"] == 3
    assert image_field([random_picture(5, 7, 4), random_picture(5, 7, 2)]).options["channels"] == 3
    assert image_field([random_picture(5, 7, 6)]).options["channels"] == 6
    assert image_field([GREY, np.full((2, 2), 9.0), None], channels=3).options["mean"] == pytest.approx(
        [GREY.mean() / 255] * 3
    )


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ([None, "x"], {}, "i: no picture of the train rows can be read"),
        ([random_picture(5, 7, 6)], {"channels": 3}, "i: no picture has 3 channels"),
        ([GREY], {"channels": "grey"}, "i: channels must be a positive integer, got 'grey'"),
        ([GREY], {"resize": 0}, "i: resize must be a positive integer, got 0"),
        ([GREY], {"blocks": 2.0}, r"i: blocks must be a whole number from 0 to 8, got 2\.0"),
        ([GREY], {"blocks": True}, "i: blocks must be a whole number from 0 to 8, got True"),
        ([GREY], {"blocks": 9}, "i: blocks must be a whole number from 0 to 8, got 9"),
    ],
)
def test_what_cannot_be_fitted(cells, options, message):
    with pytest.raises(BadInput, match=message):
        image_field(cells, **options)


def test_other_channels_than_the_field_has_are_unreadable():
    with pytest.raises(Unreadable, match="a picture of 6 channels came, expected 1"):
        IMAGE.read(image_field([GREY]), random_picture(5, 7, 6))


# The batch and the input ----------------------------------------------------------------------------------------

MIXED = [random_picture(5, 7), random_picture(11, 3, seed=1), None, random_picture(1, 1, seed=2)]


def test_the_contract_of_the_part():
    field = image_field(MIXED[:2])
    part = IMAGE.collate(field, [IMAGE.read(field, cell) for cell in MIXED])
    assert part["pixels"].dtype == torch.float32
    assert part["pixels"].shape == (4, 11, 7, 1)
    assert part["sizes"].tolist() == [[5, 7], [11, 3], [0, 0], [1, 1]]
    np.testing.assert_allclose(part["pixels"][0, :5, :, 0], MIXED[0] / 255, atol=1e-7)
    assert part["pixels"][0, 5:].abs().sum() == part["pixels"][1, :, 3:].abs().sum() == part["pixels"][2].sum() == 0
    assert IMAGE.collate(field, [None])["pixels"].shape == (1, 1, 1, 1)
    assert [IMAGE.size(field, cell) for cell in MIXED] == [35, 33, 1, 1]


def test_tokens_are_patches_and_positions():
    torch.manual_seed(0)
    module = ImageInput(2, [0.5], [0.25], 0, CHANNELS)
    part = IMAGE.collate(image_field(MIXED[:2]), [(cell[..., None]) for cell in MIXED[:2]])
    array, mask = module(part)
    assert array.shape == (2, 6 * 4, CHANNELS)
    there = mask.reshape(2, 6, 4).numpy()
    for row, picture in enumerate(MIXED[:2]):
        h, w = picture.shape
        for y, x in np.ndindex(6, 4):
            assert there[row, y, x] == (2 * y < h and 2 * x < w)
            if there[row, y, x]:
                patch = np.zeros((2, 2))
                shown = (picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] / 255 - 0.5) / 0.25
                patch[: shown.shape[0], : shown.shape[1]] = shown
                middle = [2 * (2 * y + shown.shape[0] / 2) / h - 1, 2 * (2 * x + shown.shape[1] / 2) / w - 1]
                angles = np.pi * np.outer(middle, np.linspace(1, 16, 16)).ravel()
                position = torch.tensor(np.concatenate([middle, np.sin(angles), np.cos(angles)])).float()
                content = module.tokens.elements(torch.tensor(patch.ravel()).float())
                expected = content + module.tokens.positions(position) + module.tokens.field.array[0]
                torch.testing.assert_close(array[row, y * 4 + x], expected, atol=1e-5, rtol=1e-4)


def test_neighbours_are_seen_unless_the_schema_or_an_old_model_says_otherwise():
    fitted = image_field([GREY])
    assert fitted.options["blocks"] == 2
    assert image_field([GREY], blocks=0).options["blocks"] == 0
    for blocks, expected in ((2, 2), (0, 0), (None, 0)):  # None: saved before there were any
        module = IMAGE.inputs([fitted.with_options(blocks=blocks)], CHANNELS)
        assert module.fields[0].tokens.blocks == expected
        assert any("neighbours" in name for name in module.state_dict()) == (expected > 0)


def test_centres_span_each_picture():
    found = centres(torch.tensor([[4, 8], [3, 3]]), (2, 4), (2, 2), (None, None)).reshape(2, 2, 4, 2)
    assert found[0, :, 0, 0].tolist() == [-0.5, 0.5]
    assert found[0, 0, :, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
    torch.testing.assert_close(found[1, 0, :2, 1], torch.tensor([-1 / 3, 2 / 3]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_padding_and_neighbours_in_the_batch_change_nothing(seed, patch, blocks):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = ImageInput(patch, [0.4], [0.3], blocks, CHANNELS)
    field = image_field(MIXED[:2])
    pictures = [rng.random((*rng.integers(1, 12, 2), 1)).astype(np.float32) for _ in range(3)]
    part = IMAGE.collate(field, pictures)
    outside = part["pixels"] == 0
    noisy = {**part, "pixels": torch.where(outside, torch.rand(part["pixels"].shape), part["pixels"])}
    together, mask = module(noisy)
    for row, picture in enumerate(pictures):
        alone, alone_mask = module(IMAGE.collate(field, [picture]))
        torch.testing.assert_close(together[row][mask[row]], alone[0][alone_mask[0]], atol=1e-5, rtol=1e-4)


# Small changes --------------------------------------------------------------------------------------------------


def changed(field, part, **draws):
    values = {"affine": [0.5] * 5, "light": [0.5] * 2, **draws}  # 0.5: nothing happens
    return IMAGE.augment(field, part, lambda purpose, count: torch.tensor([values[purpose]] * len(part["sizes"])))


def test_no_change_is_no_change():
    field = image_field(MIXED[:2])
    part = IMAGE.collate(field, [IMAGE.read(field, cell) for cell in MIXED])
    torch.testing.assert_close(changed(field, part)["pixels"], part["pixels"], atol=1e-5, rtol=0)


def test_shifts_are_a_tenth_of_half_the_longer_side_and_flips_are_flips():
    picture = random_picture(21, 21)[..., None]
    field = image_field([picture])
    part = IMAGE.collate(field, [picture])
    moved = changed(field, part, affine=[0.5, 0.5, 1.0, 0.5, 0.5])["pixels"][0, ..., 0]
    torch.testing.assert_close(
        moved[:, :18], part["pixels"][0, :, 2:20, 0] * 0.9 + part["pixels"][0, :, 3:21, 0] * 0.1, atol=1e-5, rtol=0
    )
    mirrored = image_field([picture], flip=True)
    found = changed(mirrored, part, affine=[0.5, 0.5, 0.5, 0.5, 0.0])["pixels"]
    torch.testing.assert_close(found, part["pixels"].flip(2), atol=1e-5, rtol=0)
    assert torch.equal(changed(field, part, affine=[0.5, 0.5, 0.5, 0.5, 0.0])["pixels"], changed(field, part)["pixels"])


def test_pictures_turn_as_pillow_turns_them():
    y, x = np.mgrid[:41, :41]
    smooth = (np.sin(x / 5) * np.cos(y / 7) / 2 + 0.5).astype(np.float32)
    field = image_field([smooth])
    part = IMAGE.collate(field, [smooth[..., None]])
    found = changed(field, part, affine=[1.0, 0.5, 0.5, 0.5, 0.5])["pixels"][0, ..., 0].numpy()
    expected = np.asarray(Pillow.fromarray(smooth).rotate(-10, Pillow.Resampling.BILINEAR))
    other = np.asarray(Pillow.fromarray(smooth).rotate(10, Pillow.Resampling.BILINEAR))
    inner = np.s_[8:33, 8:33]
    assert min(np.abs(found - e)[inner].max() for e in (expected, other)) < 0.02


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_changes_stay_within_each_picture_and_in_range(seed):
    field = image_field(MIXED[:2])
    part = IMAGE.collate(field, [IMAGE.read(field, cell) for cell in MIXED])
    generator = torch.Generator().manual_seed(seed)
    draws = {"affine": torch.rand(4, 5, generator=generator), "light": torch.rand(4, 2, generator=generator)}
    found = IMAGE.augment(field, part, lambda purpose, count: draws[purpose])["pixels"]
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[0, 5:].abs().sum() == found[1, :, 3:].abs().sum() == found[2].abs().sum() == 0
    for row in (0, 1, 3):  # each as if it were alone
        h, w = part["sizes"][row].tolist()
        alone = {"pixels": part["pixels"][row : row + 1, :h, :w], "sizes": part["sizes"][row : row + 1]}
        again = IMAGE.augment(field, alone, lambda purpose, count, row=row: draws[purpose][row : row + 1])
        torch.testing.assert_close(found[row, :h, :w], again["pixels"][0], atol=1e-4, rtol=0)


def test_light_leaves_alpha():
    picture = random_picture(5, 7, 4)
    field = image_field([picture], channels=4)
    part = IMAGE.collate(field, [picture])
    found = changed(field, part, light=[0.5, 1.0])["pixels"]
    torch.testing.assert_close(found[..., :3], (part["pixels"][..., :3] + 0.1).clamp(max=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[..., 3], part["pixels"][..., 3], atol=1e-5, rtol=0)


# For a person ---------------------------------------------------------------------------------------------------


def test_drawn_as_a_small_png(tmp_path):
    for cell, size, shown in [
        (GREY, (7, 5), (160, 114)),
        (load_sample_images().images[0], (160, 107), (160, 107)),
        (random_picture(4, 4, 6), (4, 4), (160, 160)),
    ]:
        drawn = IMAGE.draw(image_field([cell]), cell)
        width, height = (int(re.search(rf'{name}="(\d+)"', drawn)[1]) for name in ("width", "height"))
        assert (width, height) == shown
        inside = base64.b64decode(re.search(r"base64,([^\"]+)", drawn)[1])
        assert Pillow.open(io.BytesIO(inside)).size == size
    assert IMAGE.draw(image_field([GREY]), None) == "–"


def test_baseline_pixels():
    digits = [(d[..., None] / 16).astype(np.float32) for d in load_digits().images[:9]]
    field = image_field(digits)
    maker = IMAGE.baseline(field)
    np.testing.assert_allclose(maker.fit_transform(digits), load_digits().data[:9] / 16, atol=1e-6)
    assert maker.transform([random_picture(20, 30, 1), None]).shape == (2, 64)
    photos = load_sample_images().images
    colour = image_field(photos)
    found = IMAGE.baseline(colour).fit_transform(photos)
    assert found.shape == (2, 16 * 16 * 3)
    np.testing.assert_allclose(found.reshape(2, -1, 3).mean(1), [p.mean((0, 1)) / 255 for p in photos], atol=0.01)


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**7)))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert len(bomb) < 20_000
    with pytest.raises(Unreadable, match="100000 × 100000 pixels, over max_pixels = 500000000"):
        pixels.read(tmp_path / "bomb.png", 500_000_000)
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(200_000_000)))
    small = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    picture = chunk(b"IDAT", zlib.compress(bytes(6)))
    (tmp_path / "text.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", small) + text + picture + chunk(b"IEND", b"")
    )
    with pytest.raises(Unreadable):
        pixels.read(tmp_path / "text.png", 500_000_000)


def test_where_no_picture_can_be_read_the_file_and_the_reason_are_named(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    for kind in ("image", "deepmind_image"):
        field = Field("photo", kind, "input", ("photo",), dict(MODALITIES[kind].options))
        with pytest.raises(BadInput, match=r"no picture of the train rows can be read: .*cut\.png"):
            MODALITIES[kind].fit(field, [tmp_path / "cut.png"])

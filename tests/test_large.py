"""What is too large for memory: files in place of arrays, bands in place of wholes, and the same answers."""

import errno
import io
import struct

import numpy as np
import pytest
import pyvips
import soundfile
import torch
from PIL import Image as Pillow

import perceivers as pv
from perceivers import stored
from perceivers.cli import main
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Field, Schema
from perceivers.errors import Unreadable
from perceivers.modalities import large, large_pictures, modality, pixels, sounds
from perceivers.model import Model

LIMIT = 500_000_000


@pytest.fixture
def tiny(monkeypatch):
    """Whatever has over 100 numbers is large, and is read in bands of a few rows."""
    monkeypatch.setattr(stored, "LARGE", 100)
    for module in (stored, large, large_pictures, sounds):
        monkeypatch.setattr(module, "BLOCK", 400)
    monkeypatch.setattr(large_pictures, "is_large", lambda shape: stored.count(shape) > 2_000)
    monkeypatch.setattr(large, "TOKENS", 20)


def picture(h, w, c=3, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (h, w, c), dtype).squeeze()


def test_slices_read_nothing_and_numpy_reads_them():
    array = np.arange(7 * 5 * 3).reshape(7, 5, 3)
    found = stored.store(iter([array[:2], array[2:6], array[6:]]))
    assert found.shape == (7, 5, 3)
    assert (found.ndim, found.size, found.nbytes, len(found[2:6][1:])) == (3, 105, 840, 3)
    np.testing.assert_array_equal(np.asarray(found), array)
    np.testing.assert_array_equal(np.asarray(found[2:6][1:3]), array[3:5])
    np.testing.assert_array_equal(np.asarray(found[5:99], np.float32), array[5:].astype(np.float32))
    turned = stored.store([array], lambda whole: whole.swapaxes(0, 1))
    assert turned.shape == (5, 7, 3)
    np.testing.assert_array_equal(np.asarray(turned[1:4]), array.swapaxes(0, 1)[1:4])
    with pytest.raises(ValueError, match="steps of 2"):
        found[::2]


def test_sizes_of_two_thousand_million_elements_and_more_do_not_overflow():
    assert stored.count((2**20, 2**20, 2**10)) == 2**50
    assert stored.is_large((50_000, 50_000))
    assert not stored.is_large(())
    shape = (1, 3 * 2**20, 2**14, 3)
    found = large.bands(shape, (8, 8))
    starts, stops, tokens = zip(*found, strict=True)
    assert (starts[0], stops[-1]) == (0, shape[1])
    assert starts[1:] == stops[:-1]
    assert sum(tokens) == shape[1] * shape[2] // 64 > 2**29
    assert max(tokens) <= large.TOKENS


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "deep"])
def test_pictures_read_by_bands_are_those_that_pillow_reads(ending, mode, tmp_path, tiny, monkeypatch):
    array = picture(31, 17, {"LA": 2, "RGBA": 4, "RGB": 3}.get(mode, 1))
    image = Pillow.fromarray({"1": array > 99, "deep": array.astype(np.uint16) * 257}.get(mode, array))
    try:
        (image.convert("P") if mode == "P" else image).save(tmp_path / f"x.{ending}", lossless=True)
    except OSError:
        pytest.skip(f"a {ending} holds no {mode}")
    found = pixels.read(tmp_path / f"x.{ending}", LIMIT)
    assert isinstance(found, stored.Stored)
    monkeypatch.setattr(stored, "LARGE", 10**9)
    whole = pixels.read(tmp_path / f"x.{ending}", LIMIT)
    assert isinstance(whole, np.ndarray)
    channels = 4 if mode in ("LA", "RGBA") else 3
    np.testing.assert_array_equal(np.asarray(pixels.fit(found, channels, None)), pixels.fit(whole, channels, None))
    np.testing.assert_array_equal(pixels.fit(found, 1, 13), pixels.fit(whole, 1, 13))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_large_pictures_stand_upright(tag, ending, tmp_path, tiny, monkeypatch):
    exif = Pillow.Exif()
    exif[0x0112] = tag
    Pillow.fromarray(picture(31, 17)).save(tmp_path / f"x.{ending}", exif=exif)
    found = pixels.read(tmp_path / f"x.{ending}", LIMIT)
    monkeypatch.setattr(stored, "LARGE", 10**9)
    np.testing.assert_array_equal(np.asarray(found), pixels.read(tmp_path / f"x.{ending}", LIMIT))


@pytest.fixture
def tiles(tmp_path, monkeypatch):
    """Writes a tiff in tiles of 16 × 16, of which nothing may be unpacked into a file."""
    monkeypatch.setattr(large_pictures, "store", None)

    def write(array, **options):
        image = pyvips.Image.new_from_array(array)
        image.tiffsave(str(tmp_path / "x.tiff"), tile=True, tile_width=16, tile_height=16, **options)
        return tmp_path / "x.tiff"

    return write


@pytest.mark.parametrize("compression", ["none", "deflate", "lzw"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "deep", "float"])
def test_tiles_of_a_tiff_are_those_that_pillow_reads(compression, mode, tiles, tiny, monkeypatch):
    array = picture(53, 37, {"RGBA": 4, "RGB": 3}.get(mode, 1))
    array = {"deep": array.astype(np.uint16) * 257, "float": array / np.float32(255)}.get(mode, array)
    path = tiles(array, compression=compression, predictor="none" if mode == "float" else "horizontal")
    found = pixels.read(path, LIMIT)
    assert isinstance(found, stored.Stored)
    monkeypatch.setattr(stored, "LARGE", 10**9)
    whole = pixels.read(path, LIMIT)
    assert isinstance(whole, np.ndarray)
    assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
    np.testing.assert_array_equal(np.asarray(found), whole)
    np.testing.assert_array_equal(np.asarray(found[20:41][3:9]), whole[23:29])
    np.testing.assert_array_equal(np.asarray(pixels.fit(found, 3, None)), pixels.fit(whole, 3, None))


@pytest.mark.parametrize("tag", range(1, 9))
def test_tiles_stand_upright(tag, tiles, tiny, monkeypatch):
    path = tiles(picture(31, 53), compression="deflate")
    set_tag(path, 274, lambda values: [tag])
    found = pixels.read(path, LIMIT)
    assert isinstance(found, stored.Stored)
    monkeypatch.setattr(stored, "LARGE", 10**9)
    np.testing.assert_array_equal(np.asarray(found), pixels.read(path, LIMIT))


def set_tag(path, tag, changed):
    """Changes the numbers of a tag of a little-endian tiff where they stand."""
    content = bytearray(path.read_bytes())
    (folder,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, folder)
    for at in range(folder + 2, folder + 2 + 12 * entries, 12):
        found, kind, count = struct.unpack_from("<HHI", content, at)
        if found == tag:
            form = f"<{count}{ {3: 'H', 4: 'I'}[kind] }"
            place = at + 8 if struct.calcsize(form) <= 4 else struct.unpack_from("<I", content, at + 8)[0]
            struct.pack_into(form, content, place, *changed(list(struct.unpack_from(form, content, place))))
    path.write_bytes(content)


def with_number(values, place, value):
    values[place] = value
    return values


OFFSETS, COUNTS, HEIGHT, TILE_WIDTH, TILE_HEIGHT = 324, 325, 257, 322, 323


@pytest.mark.parametrize("compression", ["none", "deflate"])
@pytest.mark.parametrize(
    ("tag", "changed"),
    [
        (OFFSETS, lambda values: with_number(values, 7, 2**31 + 1)),
        (OFFSETS, lambda values: values[:5] + [0] * (len(values) - 5)),
        (COUNTS, lambda values: with_number(values, 7, 0)),
        (COUNTS, lambda values: with_number(values, 7, values[7] // 2)),
        (HEIGHT, lambda values: [5_000]),
        (TILE_WIDTH, lambda values: [2**15]),
        (TILE_HEIGHT, lambda values: [2**15]),
    ],
)
def test_of_a_tiff_in_tiles_every_tile_must_be_there(compression, tag, changed, tiles, tiny):
    path = tiles(picture(53, 37), compression=compression)
    pixels.read(path, LIMIT)
    set_tag(path, tag, changed)
    with pytest.raises(Unreadable, match=r"x\.tiff: (damaged or cut short|one tile has)") as error:
        pixels.read(path, LIMIT)
    assert len(str(error.value)) < 250


def test_a_tile_that_does_not_unpack_is_said_and_so_is_one_that_changed_since(tiles, tiny):
    path = tiles(picture(53, 37), compression="deflate")
    found = pixels.read(path, LIMIT)
    whole = path.read_bytes()
    path.write_bytes(whole[:1_000] + bytes(300) + whole[1_300:])
    with pytest.raises(Unreadable, match=r"x\.tiff: damaged or cut short: .*Decoding error"):
        pixels.read(path, LIMIT)
    with pytest.raises(Unreadable, match=r"x\.tiff: damaged or cut short"):
        np.asarray(found)
    with pytest.raises(Unreadable, match=r"x\.tiff: damaged or cut short"):
        pixels.read(path, LIMIT)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match=r"x\.tiff"):
        pixels.read(path, LIMIT)


def test_one_tile_as_large_as_a_picture_is_refused(tmp_path, tiny):
    image = pyvips.Image.new_from_array(picture(53, 37))
    image.tiffsave(str(tmp_path / "x.tiff"), tile=True, tile_width=64, tile_height=64)
    with pytest.raises(Unreadable, match="one tile has 12,288 numbers: save it with tiles of 256 × 256 pixels"):
        pixels.read(tmp_path / "x.tiff", LIMIT)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, bool])
def test_arrays_in_files_are_pictures(order, kind, tmp_path, tiny):
    array = picture(31, 17)
    array = {np.uint16: array * np.uint16(257), np.float32: array / np.float32(255), bool: array > 99}.get(kind, array)
    np.save(tmp_path / "x.npy", np.asarray(array, order=order))
    found = pixels.read(tmp_path / "x.npy", LIMIT)
    assert isinstance(found, stored.Stored)
    np.testing.assert_array_equal(np.asarray(found), pixels.scaled(array))
    assert pixels.size(tmp_path / "x.npy", LIMIT) == (31, 17)
    np.save(tmp_path / "grey.npy", array[..., 0])
    np.testing.assert_array_equal(
        np.asarray(pixels.read(tmp_path / "grey.npy", LIMIT))[..., 0], pixels.scaled(array)[..., 0]
    )
    np.save(tmp_path / "small.npy", array[:3, :2])
    assert isinstance(pixels.read(tmp_path / "small.npy", LIMIT), np.ndarray)


def test_what_is_wrong_with_a_large_picture_is_said(tmp_path, tiny):
    buffer = io.BytesIO()
    Pillow.fromarray(picture(310, 170)).save(buffer, "png")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(Unreadable, match=r"cut\.png: damaged or cut short"):
        pixels.read(tmp_path / "cut.png", LIMIT)
    Pillow.fromarray(picture(31, 17)).save(tmp_path / "x.bmp")
    with pytest.raises(Unreadable, match="a BMP of this size came, expected PNG, JPEG, TIFF, WEBP"):
        pixels.read(tmp_path / "x.bmp", LIMIT)
    Pillow.fromarray(picture(31, 17, 4), "CMYK").save(tmp_path / "x.tiff")
    with pytest.raises(Unreadable, match="cmyk of this size came"):
        pixels.read(tmp_path / "x.tiff", LIMIT)
    np.save(tmp_path / "bright.npy", picture(31, 17) / 200)
    with pytest.raises(Unreadable, match=r"bright\.npy: floats from"):
        pixels.read(tmp_path / "bright.npy", LIMIT)
    np.save(tmp_path / "x.npy", picture(31, 17))
    with pytest.raises(Unreadable, match="17 × 31 pixels, over max_pixels = 500"):
        pixels.read(tmp_path / "x.npy", 500)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(Unreadable, match=r"cut\.npy: cannot be read .* more than there is"):
        pixels.read(tmp_path / "cut.npy", LIMIT)


def model_of(*fields):
    torch.manual_seed(0)
    target = Field("y", "category", "target", ("y",), {**modality(Field("y", "category", "target", ("y",))).options})
    target = target.with_options(categories=["a", "b"], class_weights=[1.0, 1.0])
    config = PerceiverIOConfig(12, 10, num_latents=5, latent_channels=16, self_attends_per_block=1)
    return Model(Schema((*fields, target)), config).eval()


def image_field(**options):
    field = Field("x", "image", "input", ("x",))
    known = {"channels": 3, "patch": 4, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.3]}
    return field.with_options(**{**modality(field).options, **known, **options})


@pytest.fixture
def double():
    """Models in float64: in float32 the order of sums shows in gradients."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("sizes", [[(31, 17)], [(31, 17), (7, 2), (20, 29)]], ids=str)
@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_picture_in_a_file_has_the_tokens_answers_and_gradients_of_one_in_memory(sizes, blocks, tiny, double):
    field = image_field(blocks=blocks)
    model, kind = model_of(field), modality(field)
    examples = [picture(h, w, seed=h) for h, w in sizes] + [None]
    files = [None if one is None else stored.store([one]) if len(one) > 9 else one for one in examples]
    label = {"y": torch.zeros(len(examples), dtype=torch.long)}
    found = []
    for given in (examples, files):
        batch = {"x": kind.collate(field, given), "y": {**label, "index": label["y"]}}
        outputs = model(batch)["y"]
        found.append(
            (outputs, torch.autograd.grad(outputs.square().sum(), list(model.parameters()), allow_unused=True))
        )
    assert len(model.pieces(batch)) > 3
    array, mask = model.read({"x": kind.collate(field, examples)})
    chunks = model.pieces(batch)
    arrays, masks = zip(*(chunks.chunk(i) for i in range(len(chunks))), strict=True)
    assert torch.equal(torch.cat(masks, 1), mask)
    torch.testing.assert_close(torch.cat(arrays, 1), array, atol=1e-6, rtol=0)
    (whole, expected), (streamed, got) = found
    torch.testing.assert_close(streamed, whole, atol=1e-6, rtol=0)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_read_in_blocks_is_the_one_read_whole(ending, channels, tmp_path, tiny, monkeypatch):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (5_003, channels)).astype(np.float32)
    soundfile.write(tmp_path / f"x.{ending}", samples, 16_000)
    for rate in (16_000, 11_025):
        found = sounds.as_channels(sounds.read(tmp_path / f"x.{ending}", rate, 60), 1)
        assert isinstance(found, stored.Stored)
        with monkeypatch.context() as patch:
            patch.setattr(stored, "LARGE", 10**9)
            whole = sounds.as_channels(sounds.read(tmp_path / f"x.{ending}", rate, 60), 1)
        np.testing.assert_allclose(np.asarray(found), whole, atol=1e-6)


def test_a_large_sound_that_is_cut_or_not_finite_is_refused(tmp_path, tiny):
    samples = np.zeros((5_003, 1), np.float32)
    samples[4_000] = np.nan
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(Unreadable, match="not a finite number"):
        sounds.read(tmp_path / "x.wav", 8_000, 60)
    np.save(tmp_path / "x.npy", samples)
    with pytest.raises(Unreadable, match="not a finite number"):
        sounds.read(tmp_path / "x.npy", 8_000, 60)
    soundfile.write(tmp_path / "x.flac", np.random.default_rng(0).uniform(-1, 1, 50_003), 16_000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "x.flac").read_bytes()[:50_000])
    with pytest.raises(Unreadable, match="cut short"):
        sounds.read(tmp_path / "cut.flac", 8_000, 60)


def test_windows_of_a_large_sound_are_read_when_they_are_collated(tiny):
    field = Field("x", "audio", "input", ("x",))
    kind = modality(field)
    field = field.with_options(**{**kind.options, "rate": 1_000, "channels": 1, "seconds": 0.5, "level": [0.0, 1.0]})
    samples = np.random.default_rng(0).uniform(-1, 1, (5_003, 1)).astype(np.float32)
    windows = kind.windows(field, stored.store([samples]))
    assert all(isinstance(window, stored.Stored) for window in windows)
    expected = kind.collate(field, kind.windows(field, samples))
    assert torch.equal(kind.collate(field, windows)["samples"], expected["samples"])


def test_large_pictures_are_learned_from_answered_and_named_where_they_are_not_explained(
    tmp_path, tiny, monkeypatch, capfd
):
    for i in range(40):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, picture(13, 11, seed=i) // (1 + i % 2))
    kinds = {"resize": None, "patch": 4}
    schema = Schema(
        (Field("path", "image", "input", ("path",), kinds), Field("class", "category", "target", ("class",)))
    )
    model = pv.fit(tmp_path / "data", schema=schema, steps=3, size="tiny", out=tmp_path / "run")
    assert "too large to show that" in (tmp_path / "run/report.html").read_text()
    np.save(tmp_path / "small.npy", picture(5, 5))
    names = [str(tmp_path / name) for name in ("data/a/0.npy", "small.npy")]
    assert model.predict(names)["class"].null_count() == 0
    monkeypatch.setattr("perceivers.cli.keep", lambda: None)
    monkeypatch.setattr("sys.argv", ["perceivers", "explain", str(tmp_path / "run"), *names])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capfd.readouterr()
    assert "small.npy" in said.out
    assert "row 1: an input that stays in a file is too large to show where the model looks" in said.err
    monkeypatch.setattr("sys.argv", ["perceivers", "explain", str(tmp_path / "run"), names[0]])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "an input that stays in a file is too large" in capfd.readouterr().err


def test_a_full_disk_is_said_with_the_folder(tmp_path, tiny, monkeypatch):
    Pillow.fromarray(picture(31, 17)).save(tmp_path / "x.png")
    soundfile.write(tmp_path / "x.wav", np.zeros(5_003), 16_000)

    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored.tempfile, "TemporaryFile", lambda prefix: Full())
    for read in (lambda: pixels.read(tmp_path / "x.png", LIMIT), lambda: sounds.read(tmp_path / "x.wav", 16_000, 60)):
        with pytest.raises(Unreadable, match="No space left on device: TMPDIR names the folder, now /"):
            read()

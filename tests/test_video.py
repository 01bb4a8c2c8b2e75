"""Clips as an input: frames, patches, positions in seconds, windows, uneven lengths, small changes; and a whole run."""

import numpy as np
import polars as pl
import pytest
import torch

import perceivers as pv
from perceivers import clips
from perceivers.core.positions import fourier_features
from perceivers.data import infer, sources
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import modality
from perceivers.modalities.features import Motion
from perceivers.modalities.image import Image
from perceivers.modalities.shaded import Picture
from perceivers.modalities.video import Video
from tests import moving

RNG = np.random.default_rng(0)
CHANNELS = 13
ARRAYS = [RNG.integers(0, 256, shape, np.uint8) for shape in ((7, 11, 13, 3), (4, 5, 6, 3), (1, 2, 3, 3))]
VIDEO = Video()


def clip_field(cells, **options):
    field = Field("a", "video", "input", ("a",), options)
    field = field.with_options(**{**VIDEO.options, **options})
    return field.with_options(**VIDEO.fit(field, cells))


def module(field, seed=0):
    torch.manual_seed(seed)
    return VIDEO.inputs([field], CHANNELS).eval()


def uniform(purpose, count, rows=3):
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(len(purpose)))


def test_neither_neighbours_in_the_batch_nor_padding_change_a_clip():
    field = clip_field(ARRAYS, patch=4)
    reader = module(field)
    together, mask = reader({"a": VIDEO.collate(field, [*ARRAYS, None])})
    assert mask.sum(1).tolist() == [4 * 3 * 4, 2 * 2 * 2, 1, 0]  # ⌈t/2⌉ · ⌈h/4⌉ · ⌈w/4⌉; smaller than a patch: one
    for row, example in enumerate(ARRAYS):
        alone, whole = reader({"a": VIDEO.collate(field, [example])})
        assert whole.all()
        assert torch.allclose(together[row, mask[row]], alone[0], atol=1e-5)
    assert VIDEO.size(field, ARRAYS[0]) == 48


def test_positions_are_seconds_and_places():
    """Of black clips, where only positions differ; against Fourier features computed apart."""
    field = clip_field(ARRAYS, patch=4, frames=8, mean=[0.0] * 3, std=[1.0] * 3)
    reader = module(field)
    reader.fields[0].motion[2].weight.data.zero_()
    array, _ = reader({"a": VIDEO.collate(field, [np.zeros((5, 8, 8, 3), np.uint8)])})
    time = np.array([1, 3, 4.5]) / 4 - 1  # the middle of two frames, and of the last one, in a window of 8
    place = np.array([-0.5, 0.5])
    grid = np.stack(np.meshgrid(time, place, place, indexing="ij"), -1).reshape(-1, 3)
    tokens = reader.fields[0].tokens
    expected = tokens.positions(fourier_features(torch.tensor(grid).float(), 16, [32] * 3))
    expected = expected + tokens.elements.bias + tokens.field.array + reader.fields[0].motion[2].bias
    assert torch.allclose(array[0], expected, atol=1e-5)


def test_gradients_reach_every_weight():
    field = clip_field(ARRAYS)
    reader = module(field)
    array, _ = reader({"a": VIDEO.collate(field, [*ARRAYS, None])})
    (array * torch.randn(array.shape)).sum().backward()
    for name, weight in reader.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_options_are_read_off_the_train_clips(tmp_path):
    paths = [
        moving.write(tmp_path / f"{i}.mp4", moving.panned("left", frames), rate=rate)
        for i, (frames, rate) in enumerate([(40, 20), (40, 20), (80, 20), (30, 10)])
    ]
    found = clip_field(paths).options
    assert found["rate"] == pytest.approx(16 / 2.5)  # the median lasts 2.5 s
    assert found["frames"] == 26  # of the longest, 4 s
    assert (found["channels"], found["patch"]) == (3, 8)
    pooled = np.concatenate([np.stack(clips.frames(p, 6.4, clips.Limits(10**9, 99), lambda f: f)) for p in paths]) / 255
    np.testing.assert_allclose(found["mean"], pooled.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["std"], pooled.std((0, 1, 2)), rtol=1e-4)
    field = clip_field(paths, rate=10, resize=24)
    examples = [VIDEO.read(field, path) for path in paths]
    assert [example.shape for example in examples] == [(n, 24, 24, 3) for n in (20, 20, 40, 30)]
    reader = module(field)
    for path, example in zip(paths, examples, strict=True):
        windows = VIDEO.windows(field, example)
        assert VIDEO.size(field, path) == reader({"a": VIDEO.collate(field, windows[:1])})[0].shape[1]


def test_the_same_clip_at_another_rate_is_the_same_example(tmp_path):
    pictures = moving.panned("down", 16)
    slow = moving.write_pictures(tmp_path / "slow.mkv", pictures, codec="ffv1")
    fast = tmp_path / "fast.mkv"
    moving.write_pictures(fast, np.repeat(pictures, 3, axis=0), rate=30, codec="ffv1")
    field = clip_field([slow], rate=10)
    np.testing.assert_array_equal(VIDEO.read(field, slow), VIDEO.read(field, fast))
    np.testing.assert_array_equal(VIDEO.read(field, slow), pictures)


def test_arrays_of_every_kind_are_frames(tmp_path):
    field = clip_field(ARRAYS)
    clip = ARRAYS[0]
    np.save(tmp_path / "a.npy", clip)
    for cell in (clip, clip.tolist(), tmp_path / "a.npy"):
        np.testing.assert_array_equal(VIDEO.read(field, cell), clip)
    np.testing.assert_allclose(VIDEO.read(field, (clip / 255).astype(np.float32)), clip / np.float32(255), atol=1e-6)
    grey = VIDEO.read(field, clip[..., 0])
    np.testing.assert_array_equal(grey, np.repeat(clip[..., :1], 3, axis=3))
    assert VIDEO.read(field, None) is None
    assert field.options["rate"] == 1


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a.mp4", "expected the path of a clip"),
        (np.zeros((3, 4)), r"shape \(3, 4\)"),
        (np.zeros((0, 4, 4)), "none of them 0"),
        (np.zeros((2, 2, 2, 2, 2)), "shape"),
        (np.full((2, 2, 2), np.nan), "floats from nan"),
        (np.full((2, 2, 2), 300), "integers from 300"),
        ([[[1, 2], [3]]], "unlike lengths"),
        (np.zeros((2, 2, 2, 7)), "7 channels"),
        (np.zeros((2, 30, 30), np.uint8), "1,800 pixels in all frames, over max_pixels = 1000"),
    ],
)
def test_arrays_that_are_no_clips_are_refused(cell, expected):
    field = clip_field(ARRAYS).with_options(max_pixels=1_000)
    with pytest.raises(Unreadable, match=expected):
        VIDEO.read(field, cell)


@pytest.mark.parametrize("option", [{"rate": 0}, {"rate": "fast"}, {"frames": 1.5}, {"flip": 1}, {"max_seconds": None}])
def test_options_that_cannot_be_are_refused(option):
    with pytest.raises(BadInput, match=next(iter(option))):
        clip_field(ARRAYS, **option)


def test_augmentation_changes_all_frames_alike_as_it_changes_a_picture():
    field = clip_field(ARRAYS, flip=True)
    part = VIDEO.collate(field, ARRAYS)
    changed = VIDEO.augment(field, part, uniform)
    image = Field("a", "image", "input", ("a",), {**Image.options, **{n: field.options[n] for n in ("mean", "flip")}})
    image = image.with_options(channels=3)
    for frame in range(7):
        there = part["sizes"][:, 0] > frame
        picture = {"pixels": part["pixels"][:, frame], "sizes": part["sizes"][:, 1:]}
        expected = Image().augment(image, picture, uniform)["pixels"] * there[:, None, None, None]
        torch.testing.assert_close(changed["pixels"][:, frame], expected)
    assert (changed["pixels"] - part["pixels"]).abs().max() > 0.05


def test_a_dropped_clip_is_a_missing_one():
    field = clip_field(ARRAYS)
    reader = module(field)
    dropped = VIDEO.drop(field, VIDEO.collate(field, ARRAYS), torch.tensor([False, True, False]))
    missing = VIDEO.collate(field, [ARRAYS[0], None, ARRAYS[2]])
    array, mask = reader({"a": dropped})
    other, same = reader({"a": missing})
    assert torch.equal(mask, same)
    assert torch.allclose(array[mask], other[same])


def test_long_clips_are_read_in_windows_and_weights_come_back_to_their_frames():
    clip = RNG.integers(0, 256, (21, 8, 8, 3), np.uint8)
    field = clip_field([clip], frames=8, patch=4)
    windows = VIDEO.windows(field, clip)
    assert [len(window) for window in windows] == [8, 8, 8]
    np.testing.assert_array_equal(windows[-1], clip[-8:])
    assert len(VIDEO.crop(field, clip, 0.999)) == 8
    weights = np.zeros((3, 4 * 2 * 2))
    weights[0, 0] = 1  # of the first two frames, the upper left
    shaded = VIDEO.shaded(field, clip, weights)
    assert isinstance(shaded, Picture)
    assert shaded.pixels.shape == (8, 6 * 9 - 1, 3)  # six frames with gaps of a pixel
    assert shaded.weights[:4, :4].tolist() == np.ones((4, 4)).tolist()
    assert shaded.weights.sum() == 16
    assert 'title="21 frames of 8 × 8 pixels, 21.00 s"' in VIDEO.draw(field, clip)


def test_honest_features_tell_what_moves():
    still = np.repeat(ARRAYS[0][:1], 5, axis=0)
    features = Motion(3).fit_transform([still, ARRAYS[0], None, ARRAYS[2]])
    assert features.shape == (4, 5 * 8 * 8 * 3)
    blocks = features.reshape(4, 3, 5, 8, 8)
    assert np.abs(blocks[0, :, 4]).max() == 0
    assert blocks[1, :, 4].mean() > 0.2
    whole = RNG.integers(0, 256, (8, 16, 16, 1), np.uint8)
    means = whole.reshape(4, 2, 8, 2, 8, 2).mean((1, 3, 5)) / 255
    np.testing.assert_allclose(Motion(1).transform([whole])[0][:256], means.ravel(), rtol=1e-5)


def folder_of_clips(folder, count, silent=0):
    for kind in ("left", "right"):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            write = moving.write_pictures if i < silent else moving.write
            write(folder / kind / f"{i}.mp4", moving.panned(kind, 5 + i, side=20, seed=i))
    return folder


def test_inspect_derives_the_sound_where_half_of_the_clips_have_some(tmp_path):
    for name, silent, names in (("a", 1, ["path", "path.audio", "class"]), ("b", 3, ["path", "class"])):
        table = sources.read(folder_of_clips(tmp_path / name, 4, silent))
        schema = infer.infer(table)
        assert [field.name for field in schema.fields] == names
    table = sources.read(tmp_path / "a")
    field = infer.infer(table).fields[0]
    assert (field.modality, dict(field.options)) == ("video", {"resize": None})
    assert field.reason == "names of clips, the median 0.6 s at 10 frames a second, the longest side 20"
    assert "the sound of the clips" in infer.describe(table, infer.infer(table))


def test_large_clips_are_proposed_smaller(tmp_path):
    for kind in ("left", "up"):
        moving.write_pictures(tmp_path / f"{kind}.mp4", moving.panned(kind, 3, side=100))
    frame = pl.DataFrame({"clip": ["left.mp4", "up.mp4"] * 2, "kind": ["a", "b"] * 2})
    frame.write_csv(tmp_path / "table.csv")
    field = infer.infer(sources.read(tmp_path / "table.csv"), ["kind"]).fields[0]
    assert (field.modality, field.options["resize"]) == ("video", 64)
    assert field.reason.endswith("the longest side 100: scaled down to 64")


def test_a_folder_of_clips_is_learned_from_with_its_sound(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folder_of_clips(tmp_path / "data", 11, silent=2)
    (folder / "left" / "7.mp4").write_text("a text that is named like a clip")
    model = pv.fit("data", steps=3, size="tiny", out=tmp_path / "run")
    assert [field.modality for field in model.schema.inputs] == ["video", "audio"]
    assert model.report.read_text(encoding="utf-8").count("frames of 20 × 20 pixels") >= 2
    again = pv.load(tmp_path / "run")
    asked = [str(folder / "right" / name) for name in ("5.mp4", "0.mp4")]  # with sound, and without
    np.testing.assert_array_equal(again.predict(asked)["class_probability"], model.predict(asked)["class_probability"])
    bad = again.predict([asked[0], str(folder / "left" / "7.mp4")])
    assert bad["class"].to_list()[1] is None
    assert "7.mp4: not a clip" in bad["error"][1]
    (explanation,) = again.explain(asked[:1])
    seen, heard = explanation.fields
    assert seen.weights.sum() + heard.weights.sum() == pytest.approx(1, abs=1e-4)
    assert seen.shaded().html().startswith("<img")
    assert heard.shaded().html().startswith("<svg")


def test_clips_without_pyav_name_the_extra(monkeypatch, tmp_path):
    path = moving.write_pictures(tmp_path / "a.mp4", moving.panned("left", 3))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(BadInput, match=r"pip install 'perceivers\[video\]'"):
        modality(Field("a", "video", "input", ("a",))).read(clip_field(ARRAYS), path)

"""The autoencoder at work, at a reduced size and with random weights: windows, labels, files out, and what is said."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from reduced import GOLDENS, REDUCED
from scipy.io import wavfile
from test_published_hub import CONFIGS, randomise

import perceivers as pv
from perceivers import cli, clips, jobs
from perceivers.errors import BadInput, Unreadable
from perceivers.published import clips as published
from perceivers.published import export_hub, load_original
from perceivers.published.config import understood
from perceivers.published.models import make
from perceivers.published.presets import AUTOENCODER
from perceivers.published.sources import ORIGINAL
from tests import moving

RNG = np.random.default_rng(0)
SIZES = replace(REDUCED["video_autoencoding"], audio_samples=4 * 1_920)  # four frames, 25 a second


@pytest.fixture(scope="module")
def job():
    torch.manual_seed(0)
    model = make(SIZES, ORIGINAL)
    randomise(model)
    return jobs.job(model, "the model")


def small():
    return load_original(GOLDENS / "video_autoencoding.pickle", REDUCED["video_autoencoding"])


def some(count, samples=48):
    return RNG.integers(0, 256, (count, 16, 16, 3), np.uint8), RNG.uniform(-1, 1, count * samples).astype(np.float32)


def test_the_published_model_reads_25_frames_a_second():
    assert published.frame_rate(AUTOENCODER) == 25
    assert published.frame_rate(SIZES) == 25


@pytest.mark.parametrize(("count", "starts"), [(1, [0]), (4, [0]), (5, [0, 1]), (8, [0, 4]), (11, [0, 4, 7])])
def test_windows_cover_a_clip(count, starts):
    frames, audio = some(count)
    found = list(published.windows(small().sizes, frames, audio))
    assert [window.start for window in found] == starts
    for window in found:
        assert (window.frames.shape, window.audio.shape) == ((4, 16, 16, 3), (192,))
        stop = min(window.start + 4, count)
        np.testing.assert_array_equal(window.frames[: stop - window.start], frames[window.start : stop])
        np.testing.assert_array_equal(window.audio[: (stop - window.start) * 48], audio[window.start * 48 : stop * 48])
        assert (window.frames[stop - window.start :] == frames[-1]).all()
        assert not window.audio[(stop - window.start) * 48 :].any()


def test_sound_that_is_not_as_long_as_the_frames_is_refused():
    with pytest.raises(ValueError, match=r"sound \(100,\) came, expected \(192,\): 48 samples a frame"):
        published.reconstruct(small(), some(4)[0], np.zeros(100, np.float32))


def test_a_long_clip_is_reconstructed_window_by_window_and_labels_are_averaged():
    model, (frames, audio) = small(), some(10)
    found = published.reconstruct(model, frames, audio, chunks=3)
    alone = [published.reconstruct(model, frames[a : a + 4], audio[48 * a : 48 * (a + 4)], chunks=5) for a in (0, 4, 6)]
    video = np.concatenate([alone[0]["video"], alone[1]["video"][:2], alone[2]["video"]])
    np.testing.assert_allclose(found["video"], video, atol=1e-5)
    heard = np.concatenate([alone[0]["audio"], alone[1]["audio"][:96], alone[2]["audio"]])
    np.testing.assert_allclose(found["audio"], heard, atol=1e-5)
    np.testing.assert_allclose(found["label"], np.mean([one["label"] for one in alone], axis=0), atol=1e-6)
    np.testing.assert_allclose(published.label(model, frames, audio), found["label"], atol=1e-6)


def test_a_file_is_read_at_the_model_s_rates(job, tmp_path):
    pictures = np.repeat(moving.panned("left", 10, side=32), 2, axis=0)
    path = moving.write(tmp_path / "a.mkv", pictures, rate=50, pitch=500)
    clip = job.read(path)
    assert clip.notes == ("50 frames a second, read at 25",)
    assert clip.frames.shape == (10, 16, 16, 3)
    expected = np.stack([published.square(picture, (16, 16)) for picture in pictures[::2]]).astype(int)
    assert np.abs(clip.frames - expected).mean() < 20
    assert clip.sound.shape == (10 * 1_920,)
    spectrum = np.abs(np.fft.rfft(clip.sound))
    assert spectrum.argmax() * 48_000 / len(clip.sound) == pytest.approx(500, abs=5)


def test_what_had_to_be_done_is_said(job, tmp_path):
    silent = moving.write_pictures(tmp_path / "a.mp4", moving.panned("up", 3, side=16), rate=25)
    clip = job.read(silent)
    assert clip.notes == ("no sound: read as silence", "3 frames, fewer than 4: the last one was repeated to read them")
    assert not clip.sound.any()
    frame = job.predict([str(silent)])
    np.testing.assert_allclose(job.first_answers(job.values([str(silent)]))["class"], job.probabilities(clip))
    assert frame["note"].to_list() == ["; ".join(clip.notes)]
    assert len(frame["best"][0]) == 5
    assert frame["class_probability"][0] == pytest.approx(published.label(job.model, clip.frames, clip.sound).max())
    array = job.read(moving.panned("up", 5, side=20))
    assert (array.frames.shape, array.notes) == ((5, 16, 16, 3), ("no sound: read as silence",))
    with pytest.raises(Unreadable, match="an empty cell came"):
        job.read(None)


def test_attention_of_the_label_lies_on_frames(job, tmp_path):
    path = moving.write(tmp_path / "a.mp4", moving.panned("left", 6, side=16), rate=25)
    (explanation,) = job.explain([str(path)])
    (field,) = explanation.fields
    assert field.file == str(path)
    assert field.weights.shape == (2, 480 + 4 * 4 * 4 + 1)
    np.testing.assert_allclose(field.weights.sum(1), 1, atol=1e-5)
    picture = field.shaded()
    assert picture.pixels.shape == (16, 6 * 17 - 1, 3)
    assert picture.weights.max() == 1


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["perceivers", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, *capsys.readouterr()


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    torch.manual_seed(0)
    architecture = "PerceiverForMultimodalAutoencoding"
    config = {"model_type": "perceiver", "architectures": [architecture], **CONFIGS[architecture]}
    model = make(*understood({**config, "audio_samples_per_frame": 1_920}, "config"))
    randomise(model)
    return export_hub(model, tmp_path_factory.mktemp("hub") / "model")


def test_clips_are_reconstructed_from_the_command_line(hub_folder, tmp_path, monkeypatch, capsys):
    path = moving.write(tmp_path / "a.mp4", moving.panned("left", 5, side=20), rate=25)
    out = tmp_path / "out.mp4"
    code, stdout, stderr = run(monkeypatch, capsys, "predict", hub_folder, path, "--out", out)
    assert (code, stdout) == (0, "")
    assert stderr.startswith(f"{out}: ")
    header = clips.header(out)
    assert header[:4] == (12, 12, 3, 25)
    samples, rate = clips.sound(out, 10)
    assert rate == 48_000
    assert len(samples) / rate == pytest.approx(0.2, abs=0.05)
    model = pv.load(hub_folder)
    clip = model.read(path)
    found = published.reconstruct(model.model, clip.frames, clip.sound)
    written = np.stack(clips.frames(out, 25, clips.Limits(10**7, 10), lambda frame: frame)).astype(float) / 255
    assert np.corrcoef(written.ravel(), found["video"].clip(0, 1).ravel())[0, 1] > 0.8
    code, stdout, _ = run(monkeypatch, capsys, "predict", hub_folder, path, "--json")
    assert code == 0
    assert '"best":' in stdout


def test_several_clips_are_numbered_and_a_bad_one_is_named(hub_folder, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "ab":
        moving.write(folder / f"{name}.mp4", moving.panned("left", 3, side=20), rate=25)
    (folder / "c.mp4").write_text("a text")
    code, _, stderr = run(monkeypatch, capsys, "predict", hub_folder, folder, "--out", tmp_path / "out.mkv")
    assert code == 1
    assert "c.mp4: not a clip" in stderr
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out-1.mkv", "out-2.mkv"]


def test_a_sound_is_no_clip(hub_folder, tmp_path, monkeypatch, capsys):
    wavfile.write(tmp_path / "a.wav", 8_000, np.zeros(8_000, np.int16))
    code, stdout, stderr = run(monkeypatch, capsys, "predict", hub_folder, tmp_path / "a.wav")
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "a.wav: not a clip, or its header is damaged: .mp4, .webm, .avi, .mkv, .mov are read" in stderr


def test_an_out_that_is_neither_clip_nor_table_is_refused(job, tmp_path):
    with pytest.raises(BadInput, match=r"unknown ending '.png': .mp4, .*hold the reconstruction"):
        job.check_out(tmp_path / "a.png")

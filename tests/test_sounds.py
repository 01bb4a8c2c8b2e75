"""Sound files and arrays: against what was written, resampled against the sine itself, and every kind of damage."""

import struct

import numpy as np
import pytest
import soundfile

from perceivers.errors import Unreadable
from perceivers.modalities import sounds

RNG = np.random.default_rng(0)
HOUR = 3_600


def sine(hertz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def written(path, samples, rate=8_000, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def changed(path, at, value):
    """The bytes of a file from `at` on replaced."""
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("ending", "subtype", "bits"),
    [("wav", "PCM_16", 15), ("wav", "PCM_U8", 7), ("wav", "FLOAT", 24), ("flac", "PCM_24", 23), ("aiff", "PCM_16", 15)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_was_written_is_read(tmp_path, ending, subtype, bits, channels):
    samples = RNG.uniform(-0.9, 0.9, (997, channels))
    path = written(tmp_path / f"a.{ending}", samples, 11_025, subtype=subtype)
    assert sounds.header(path) == (997, channels, 11_025)
    found = sounds.read(path, 11_025, HOUR)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples, atol=2.0**-bits)


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_lossy_files_sound_like_what_was_written(tmp_path, ending):
    tone = 0.5 * sine(440, 16_000)
    found = sounds.read(written(tmp_path / f"a.{ending}", tone, 16_000), 16_000, HOUR)[:, 0]
    assert abs(len(found) - len(tone)) < 2_000
    spectrum = np.abs(np.fft.rfft(found[:16_000] * np.hanning(len(found[:16_000]))))
    assert abs(np.argmax(spectrum) * 16_000 / len(found[:16_000]) - 440) < 2


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (16_000, 8_000), (48_000, 44_100)])
def test_tones_above_the_new_nyquist_frequency_do_not_come_back(rate, wanted):
    tone = sine(0.575 * wanted, rate)[:, None].astype(np.float32)  # would come back at 0.425 of the rate
    found = sounds.resample(tone, rate, wanted)
    assert abs(len(found) - wanted) <= 1
    middle = found[wanted // 10 : -wanted // 10]
    assert 20 * np.log10(np.sqrt(np.mean(middle**2)) / np.sqrt(0.5)) < -90  # dB


@pytest.mark.parametrize(("rate", "wanted"), [(8_000, 16_000), (44_100, 16_000), (11_025, 8_000)])
def test_tones_below_it_stay_what_they_are(rate, wanted):
    found = sounds.resample(sine(1_000, rate)[:, None], rate, wanted)[:, 0]
    expected = sine(1_000, wanted)
    middle = slice(wanted // 10, wanted * 8 // 10)
    np.testing.assert_allclose(found[middle], expected[middle], atol=1e-3)


def test_a_single_sample_outlives_resampling():
    assert sounds.resample(np.ones((1, 2), np.float32), 44_100, 8_000).shape == (1, 2)


def test_channels():
    stereo = np.array([[1.0, 3.0], [2.0, 6.0]])
    np.testing.assert_array_equal(sounds.as_channels(stereo, 1), [[2.0], [4.0]])
    np.testing.assert_array_equal(sounds.as_channels(stereo[:, :1], 3), [[1.0] * 3, [2.0] * 3])
    with pytest.raises(Unreadable, match="a sound of 2 channels came, expected 6 or 1"):
        sounds.as_channels(stereo, 6)


@pytest.mark.parametrize("cell", [[0.0, 0.5, -1.0], np.array([0, 1, -2], np.int16), [[1, 2], [3, 4]]])
def test_arrays_and_lists(cell, tmp_path):
    found = sounds.read(cell, 8_000, HOUR)
    np.testing.assert_array_equal(found, np.reshape(cell, (len(cell), -1)))
    np.save(tmp_path / "a.npy", np.asarray(cell))
    np.testing.assert_array_equal(sounds.read(tmp_path / "a.npy", 8_000, HOUR), found)
    assert sounds.header(cell) == (*found.shape, None)


@pytest.mark.parametrize("cell", [None, float("nan"), "", "  "])
def test_missing_cells(cell):
    assert sounds.read(cell, 8_000, HOUR) is None
    assert sounds.header(cell) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a word", "'a word' came, expected the path of a sound"),
        (3, "'3' came"),
        ([], "an array of 0 × 1 came, expected samples"),
        ([[[1.0]]], "an array of 1 × 1 × 1 came"),
        ([1.0, None], "samples must be numbers"),
        ([[1.0], [2.0, 3.0]], "samples must be numbers"),
        (["a"], "samples must be numbers"),
        (np.array([1.0, np.nan]), "a sample is not a finite number"),
    ],
)
def test_arrays_that_are_no_sound(cell, message):
    with pytest.raises(Unreadable, match=message):
        sounds.read(cell, 8_000, HOUR)


def test_object_arrays_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(Unreadable, match="damaged, or not an npy file of numbers"):
        sounds.read(path, 8_000, HOUR)


DAMAGE = {
    "declares more than is there": lambda p: changed(p, 40, struct.pack("<I", 2**31 - 2)),
    "declares less than is there": lambda p: changed(p, 40, struct.pack("<I", 10)),
    "declares nothing": lambda p: changed(p, 40, struct.pack("<I", 0)),
    "rate of 0": lambda p: changed(p, 24, struct.pack("<I", 0)),
    "rate of billions": lambda p: changed(p, 24, struct.pack("<I", 4_000_000_000)),
    "no channels": lambda p: changed(p, 22, struct.pack("<H", 0)),
    "cut in the samples": lambda p: p.write_bytes(p.read_bytes()[:9_000]),
    "cut in the header": lambda p: p.write_bytes(p.read_bytes()[:30]),
    "no samples": lambda p: written(p, np.zeros(0)),
    "nothing": lambda p: p.write_bytes(b""),
    "something else": lambda p: p.write_bytes(b"hello " * 50),
    "NaN": lambda p: written(p, np.array([0.0, np.nan]), subtype="FLOAT"),
}
SAID = {
    "declares more than is there": r"cut short: 2,147,483,646 bytes of samples are declared, 16,000 are there",
    "declares less than is there": "its header declares 10 bytes of samples, but there are more: export it anew",
    "declares nothing": "its header declares 0 bytes of samples, but there are more: export it anew",
    "rate of 0": "its header says 0 samples a second",
    "rate of billions": "its header says 4,000,000,000 samples a second",
    "no channels": "not a sound, or its header is damaged: .*[Cc]hannel",
    "cut in the samples": "cut short: 16,000 bytes of samples are declared, 8,956 are there",
    "cut in the header": "not a sound, or its header is damaged",
    "no samples": "no samples in it",
    "nothing": "an empty file: copy it anew, or take its row out",
    "something else": "not a sound, or its header is damaged",
    "NaN": "a sample is not a finite number",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_wav_files_are_one_clear_line(tmp_path, damage):
    samples = np.random.default_rng(7).uniform(-1, 1, 8_000)  # of which none looks like the name of a chunk, by chance
    path = written(tmp_path / "a.wav", samples)
    DAMAGE[damage](path)
    with pytest.raises(Unreadable, match=rf"a\.wav: .*{SAID[damage]}") as caught:
        sounds.read(path, 8_000, HOUR)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rest", [b"LIST\4\0\0\0INFO", bytes(100), b""])
def test_what_may_follow_the_samples_of_a_wav(tmp_path, rest):
    samples = RNG.uniform(-1, 1, 801)
    path = written(tmp_path / "a.wav", samples)
    path.write_bytes(path.read_bytes() + rest)
    np.testing.assert_allclose(sounds.read(path, 8_000, HOUR)[:, 0], samples, atol=1e-4)


def test_a_wav_that_was_written_to_a_pipe_is_read(tmp_path):
    samples = RNG.uniform(-1, 1, 800)
    path = changed(written(tmp_path / "a.wav", samples, subtype="FLOAT"), 4, b"\xff" * 4)
    at = path.read_bytes().index(b"data") + 4
    found = sounds.read(changed(path, at, b"\xff" * 4), 8_000, HOUR)
    np.testing.assert_allclose(found[:800, 0], samples, atol=1e-6)


@pytest.mark.parametrize("ending", ["flac", "mp3"])
def test_cut_files_are_refused(tmp_path, ending):
    path = written(tmp_path / f"a.{ending}", RNG.uniform(-1, 1, 20_000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unreadable, match="cut short"):
        sounds.read(path, 8_000, HOUR)


def test_a_header_that_declares_hours_is_refused_before_anything_is_read(tmp_path):
    path = written(tmp_path / "a.flac", RNG.uniform(-1, 1, 8_000))
    content = path.read_bytes()
    changed(path, 21, bytes([content[21] | 0x0F]) + b"\xff" * 4)  # STREAMINFO: 36 bits count the samples
    with pytest.raises(Unreadable, match="8,589,935 s of sound, over max_seconds = 3600"):
        sounds.read(path, 8_000, HOUR)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        sounds.read(tmp_path / "a.wav", 8_000, HOUR)

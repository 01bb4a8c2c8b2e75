"""Frames of mp3: files that soundfile wrote are known as such, and those that would be written about are refused."""

import numpy as np
import pytest
import soundfile

from perceivers.data.file_kinds import FILES
from perceivers.errors import Unreadable
from perceivers.modalities import sounds
from perceivers.mp3 import check_mp3

RNG = np.random.default_rng(0)


def tone(path, seconds=2.0, rate=8_000, channels=1):
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, np.repeat(0.3 * np.sin(2 * np.pi * 300 * time)[:, None], channels, 1), rate)
    return path


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize(("seconds", "channels"), [(0.02, 1), (0.7, 2)])
def test_whole_files_pass_also_with_tags(tmp_path, rate, seconds, channels):
    path = tone(tmp_path / "a.mp3", seconds, rate, channels)
    check_mp3(path)
    tags = b"ID3\x04\0\0" + bytes([0, 0, 2, 5]) + RNG.bytes(2 * 128 + 5)
    path.write_bytes(tags + path.read_bytes())
    check_mp3(path)


def test_a_sound_of_another_kind_passes_whatever_its_name(tmp_path):
    soundfile.write(tmp_path / "a.wav", RNG.normal(size=100) / 9, 8_000)
    check_mp3((tmp_path / "a.wav").rename(tmp_path / "a.mp3"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "an empty file"),
        (lambda whole: b"words " * 50, "no frames of mp3 in it, or one alone"),
        (lambda whole: bytes(5_000), "no frames of mp3 in it, or one alone"),
        (lambda whole: RNG.bytes(5_000), "no frames of mp3 in it, or one alone"),
        (lambda whole: whole[:60], "no frames of mp3 in it, or one alone"),
        (lambda whole: whole[: len(whole) // 2], r"cut short: 3,168 bytes of sound are declared, 1,584 are there"),
    ],
)
def test_damage_is_one_line_and_nothing_is_written_onto_the_terminal(tmp_path, capfd, content, message):
    path = tone(tmp_path / "a.mp3")
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(Unreadable, match=rf"^{path}: {message}"):
        sounds.read(path, 8_000, 60)
    assert (
        FILES["audio"]([path]).reason == "names of sound files; 1 of 1 that were tried are damaged, 'a.mp3' among them"
    )
    assert capfd.readouterr() == ("", "")

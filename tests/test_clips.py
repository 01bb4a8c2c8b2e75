"""Clip files: frames at asked times, sound beside them, and every file that is none. The clips are made in the test."""

from contextlib import suppress

import av
import numpy as np
import pytest

from perceivers import clips
from perceivers.errors import BadInput, Unreadable
from tests import moving

LIMITS = clips.Limits(10**8, 60)
NUMBERED = np.stack([np.full((34, 46, 3), 10 * i, np.uint8) for i in range(21)])  # a frame's brightness is its number


def numbers(path, rate, limits=LIMITS):
    """Which frames were read, by their brightness."""
    return [round(float(f.mean()) / 10) for f in clips.frames(path, rate, limits, lambda frame: frame)]


@pytest.mark.parametrize("ending", clips.ENDINGS)
def test_what_is_written_is_read(tmp_path, ending):
    path = moving.write(tmp_path / f"a{ending}", NUMBERED, rate=10, pitch=500)
    header = clips.header(path)
    assert header[:4] == (34, 46, 3, 10)
    assert header.seconds == pytest.approx(2.1, abs=0.2)
    assert header.sound
    assert numbers(path, 10) == list(range(21))
    samples, rate = clips.sound(path, 60)
    assert samples.shape[1] == 1
    assert len(samples) / rate == pytest.approx(2.1, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples[:rate, 0]))
    assert spectrum.argmax() == pytest.approx(500, abs=2)  # bins of 1 Hz


@pytest.mark.parametrize("rate", [1, 2.5, 4, 10, 25])
def test_frames_are_those_nearest_to_each_time(tmp_path, rate):
    path = moving.write_pictures(tmp_path / "a.mp4", NUMBERED)
    found = numbers(path, rate)
    assert len(found) == round(2.1 * rate)
    times = np.arange(len(found)) / rate
    nearest = np.abs(times[:, None] - np.arange(21) / 10).min(1)
    assert np.abs(np.array(found) / 10 - times) == pytest.approx(nearest, abs=1e-9)


def test_a_clip_without_a_constant_rate_is_read_by_its_times(tmp_path):
    times = [0, 1, 2, 10, 11, 20]
    path = moving.write_pictures(tmp_path / "a.mkv", NUMBERED[times], times)
    assert numbers(path, 10)[:20] == [times[np.abs(np.array(times) - k - 1e-3).argmin()] for k in range(20)]


def test_frames_are_upright(tmp_path):
    plain, turned = tmp_path / "a.mp4", tmp_path / "turned.mp4"
    moving.write_pictures(plain, moving.panned("left", 5))
    whole = plain.read_bytes()
    at = whole.index(b"tkhd") + 44  # the matrix of the track: made to say that the camera was turned by 90°
    matrix = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    turned.write_bytes(whole[:at] + matrix + whole[at + 36 :])
    straight, found = (clips.frames(p, 10, LIMITS, lambda frame: frame)[0].astype(int) for p in (plain, turned))
    errors = [np.abs(np.rot90(straight, k) - found).mean() for k in range(4)]
    assert np.argmin(errors) == 3
    assert min(errors) < 1


def test_grey_clips_and_gifs(tmp_path):
    from PIL import Image

    grey = tmp_path / "a.mkv"
    with av.open(str(grey), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 34, 46, "gray"
        for picture in NUMBERED[:4]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture[..., 0], format="gray")))
        container.mux(stream.encode(None))
    assert clips.header(grey).channels == 1
    assert np.array_equal(clips.frames(grey, 10, LIMITS, lambda frame: frame), NUMBERED[:4, ..., :1])
    first, *rest = (Image.fromarray(picture) for picture in NUMBERED[:6])
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=100, loop=0)
    assert numbers(tmp_path / "a.gif", 10) == list(range(6))


def test_sound_that_begins_later_or_earlier_than_the_picture(tmp_path):
    for late in (-0.5, 0.5):
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=10)
            video.height, video.width, video.pix_fmt = 34, 46, "yuv420p"
            audio = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
            for number, picture in enumerate(NUMBERED):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number + 10
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), 8_192, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 8_000, round((1 + late) * 8_000)
            container.mux(audio.encode(frame))
        samples, rate = clips.sound(path, 60)
        silent = round(max(late, 0) * rate)
        assert len(samples) == 16_000 + late * rate
        assert not samples[:silent].any()
        assert samples[silent:] == pytest.approx(0.25, abs=1e-4)


def test_a_silent_clip_has_no_sound(tmp_path):
    path = moving.write_pictures(tmp_path / "a.mp4", NUMBERED)
    assert clips.sound(path, 60) is None
    assert clips.sound_header(path) is None
    assert not clips.header(path).sound


def only_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(moving.tone(1).T.astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_frames(path):
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 34, 46, "yuv420p"
        container.start_encoding()


def other_files(path):
    (path.parent / "other.txt").write_text("secret")
    path.write_text(f"ffconcat version 1.0\nfile '{path.parent / 'other.txt'}'\n")


def playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (only_sound, "no pictures in it: read it as `modality: audio`"),
        (no_frames, "no frames in it"),
        (other_files, "not a clip, or its header is damaged"),
        (playlist, "not a clip, or its header is damaged"),
        (lambda path: path.write_text("a text that is named like a clip"), "not a clip"),
        (lambda path: path.write_bytes(b""), "not a clip"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_clip_is_one_line_that_names_the_file(tmp_path, write, expected):
    path = tmp_path / "a.mp4"
    write(path)
    with pytest.raises(Unreadable, match=expected) as error:
        clips.frames(path, 10, LIMITS, lambda frame: frame)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending", clips.ENDINGS)
@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
def test_a_file_that_is_cut_short_is_never_read_in_part(tmp_path, ending, share):
    path = moving.write(tmp_path / f"a{ending}", moving.panned("left", 21))
    whole = path.read_bytes()
    path.write_bytes(whole[: round(share * len(whole))])
    for read in (lambda: clips.frames(path, 10, LIMITS, lambda frame: frame), lambda: clips.sound(path, 60)):
        with pytest.raises(Unreadable, match=r"cut short|damaged"):
            read()


def test_damage_anywhere_raises_nothing_but_unreadable(tmp_path):
    random = np.random.default_rng(0)
    whole = moving.write(tmp_path / "a.mp4", moving.panned("up", 9)).read_bytes()
    path = tmp_path / "b.mp4"
    for _ in range(40):
        damaged = bytearray(whole)
        for place in random.integers(len(whole), size=8):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        for read in (lambda: clips.frames(path, 10, LIMITS, lambda f: f), lambda: clips.sound(path, 60)):
            with suppress(Unreadable):
                read()


def test_limits_hold_before_a_frame_is_decoded(tmp_path):
    path = moving.write_pictures(tmp_path / "a.mp4", NUMBERED)
    with pytest.raises(Unreadable, match=r"32,844 pixels in all frames, over max_pixels = 32843"):
        clips.frames(path, 10, clips.Limits(21 * 34 * 46 - 1, 60), pytest.fail)
    with pytest.raises(Unreadable, match=r"2 s, over max_seconds = 2$"):
        clips.frames(path, 10, clips.Limits(10**8, 2), pytest.fail)
    assert len(numbers(path, 10, clips.Limits(21 * 34 * 46, 2.1))) == 21


def test_only_known_endings_are_written(tmp_path):
    with pytest.raises(BadInput, match="the ending of a clip is"):
        clips.write(tmp_path / "a.png", NUMBERED, 10, moving.tone(1), 8_000)


def test_odd_sides_grow_by_a_pixel(tmp_path):
    path = moving.write(tmp_path / "a.mp4", NUMBERED[:, :33, :45])
    assert clips.header(path)[:2] == (34, 46)

"""Sound as an input: batches of uneven lengths, levels, windows, small changes, and a model that learns tones."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import soundfile
import torch

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data import infer, sources
from perceivers.data.schema import Field, Schema, Split
from perceivers.errors import BadInput
from perceivers.modalities import modality, waveform
from perceivers.modalities.audio import Audio, _played
from perceivers.modalities.audio_input import SPREAD, STEADY, TokenNorm
from perceivers.modalities.waveform import Waveform, log_mel
from perceivers.modalities.windows import starts
from perceivers.model import Model, load_model, save_model

RNG = np.random.default_rng(0)
CHANNELS = 13
SOUNDS = [RNG.uniform(-1, 1, (n, 1)).astype(np.float32) for n in (1_601, 800, 97)]
AUDIO = Audio()


def audio_field(cells, **options):
    field = Field("a", "audio", "input", ("a",), options)
    field = field.with_options(**{**AUDIO.options, **options})
    return field.with_options(**AUDIO.fit(field, cells))


def module(field, seed=0):
    torch.manual_seed(seed)
    return AUDIO.inputs([field], CHANNELS).eval()


def tokens(field, examples, seed=0):
    return module(field, seed)({"a": AUDIO.collate(field, examples)})


def uniform(purpose, count, rows=3):
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(len(purpose)))


@pytest.mark.parametrize("frontend", ["raw", "log-mel"])
@pytest.mark.parametrize("channels", [1, 2])
def test_neither_neighbours_in_the_batch_nor_padding_change_a_sound(frontend, channels):
    field = audio_field(SOUNDS, rate=8_000, frontend=frontend, channels=channels)
    examples = [np.repeat(sound, channels, axis=1) for sound in SOUNDS]
    together, mask = tokens(field, [*examples, None])
    assert mask.sum(1).tolist() == [11, 5, 1, 0]  # a token for each 20 ms
    for row, example in enumerate(examples):
        alone, whole = tokens(field, [example])
        assert whole.all()
        assert torch.allclose(together[row, : alone.shape[1]], alone[0], atol=1e-5)


def test_the_level_is_told_apart_and_nothing_else_of_it_is():
    field = audio_field(SOUNDS, rate=8_000)
    reader = module(field)
    loud, soft, shifted = ({"a": AUDIO.collate(field, [x])} for x in (SOUNDS[0], SOUNDS[0] / 64, SOUNDS[0] + 0.5))
    level = reader.fields[0].level
    assert (reader(loud)[0] - reader(soft)[0]).abs().max() > 0.1
    with torch.no_grad():
        level.weight.zero_()
    assert torch.allclose(reader(loud)[0], reader(soft)[0], atol=1e-4)
    assert torch.allclose(reader(loud)[0], reader(shifted)[0], atol=1e-3)  # a constant cannot be heard


def test_gradients_reach_every_weight_and_silence_gives_no_nan():
    field = audio_field(SOUNDS, rate=8_000)
    reader = module(field)
    array, _ = reader({"a": AUDIO.collate(field, [*SOUNDS, np.zeros((500, 1), np.float32), None])})
    assert array.isfinite().all()
    (array * torch.randn(array.shape)).sum().backward()
    for name, weight in reader.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_options_are_read_off_the_train_sounds(tmp_path):
    paths = []
    for i, (rate, seconds) in enumerate([(22_050, 0.5)] * 3 + [(8_000, 0.2)]):
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], RNG.uniform(-0.1, 0.1, (round(rate * seconds), 2)), rate)
    found = audio_field(paths).options
    assert (found["rate"], found["channels"]) == (16_000, 2)
    assert found["seconds"] == pytest.approx(0.5, abs=0.01)
    assert found["level"][0] == pytest.approx(np.log(0.1 * np.sqrt(16 / 22.05 / 3)), abs=0.05)
    assert audio_field(paths, rate=22_050, seconds=3, channels=1).options["seconds"] == 3
    assert {AUDIO.size(audio_field(paths), path) for path in paths} == {25, 10}


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (SOUNDS, {}, "arrays of samples carry no rate: say `rate: 16000`"),
        (SOUNDS, {"rate": 0}, "rate must be a positive integer, got 0"),
        (SOUNDS, {"rate": 100}, "rate 100 Hz is below 1,000: read it as `modality: series`"),
        (SOUNDS, {"rate": 8_000, "seconds": -1}, "seconds must be a number above 0"),
        (SOUNDS, {"rate": 8_000, "frontend": "mfcc"}, "frontend 'mfcc' is none of raw, log-mel"),
        (
            ["x", None],
            {"rate": 8_000},
            "no sound of the train rows can be read: 'x' came",
        ),
        (
            [np.ones((9, 3))],
            {"rate": 8_000, "channels": 2},
            "sounds that were tried can be read: a sound of 3 channels came",
        ),
    ],
)
def test_options_that_cannot_be(cells, options, message):
    with pytest.raises(BadInput, match=message):
        audio_field(cells, **options)


def test_windows_cover_a_long_sound_and_crops_are_windows_of_it():
    field = audio_field(SOUNDS, rate=8_000, seconds=0.05)
    sound = np.arange(1_601, dtype=np.float32)[:, None]
    windows = AUDIO.windows(field, sound)
    assert {len(window) for window in windows} == {400}
    assert set(np.concatenate(windows)[:, 0]) == set(range(1_601))
    assert windows[0][0] == 0
    assert windows[-1][-1] == 1_600
    for draw in (0.0, 0.5, 0.9999):
        crop = AUDIO.crop(field, sound, draw)
        assert len(crop) == 400
        np.testing.assert_array_equal(np.diff(crop[:, 0]), 1)
    assert AUDIO.windows(field, None) == [None]


@pytest.mark.parametrize("seconds", [0.1, 10])
def test_hours_of_sound_are_heard_whole_however_short_a_window_is(seconds):
    field = audio_field(SOUNDS, rate=1_000, seconds=seconds)
    for hours, heard in ((1, 1.0), (8, 1.0), (20, 0.4)):
        sound = np.broadcast_to(np.float32(0), (hours * 3_600_000, 1))
        windows = AUDIO.windows(field, sound)
        seen = np.zeros(len(sound), bool)
        begins = starts(len(sound), round(1_000 * seconds), len(windows))
        for begin, window in zip(begins, windows, strict=True):
            seen[begin : begin + len(window)] = True
        assert seen.mean() == pytest.approx(heard)
        said = (f"so long that {28_800 / seconds:,.0f} windows of it are read, evenly spread",)
        assert AUDIO.remarks(field, None, sound) == (() if heard == 1 else said)


def test_a_spectrogram_in_pieces_is_the_one_at_once(monkeypatch):
    whole = log_mel(SOUNDS[0][:, 0], 8_000, 40, 7)
    monkeypatch.setattr(waveform, "FRAMES", 13)
    np.testing.assert_allclose(log_mel(SOUNDS[0][:, 0], 8_000, 40, 7), whole, rtol=1e-12)


def test_changes_are_small_and_stay_inside_the_sound():
    field = audio_field(SOUNDS, rate=8_000)
    part = AUDIO.collate(field, SOUNDS)
    changed = AUDIO.augment(field, part, uniform)
    ratios = changed["lengths"] / part["lengths"]
    assert ((ratios > np.exp(-0.11)) & (ratios < np.exp(0.11))).all()
    for row, length in enumerate(changed["lengths"]):
        assert (changed["samples"][row, :, length:] == 0).all()
        ratio = changed["samples"][row].square().sum() / part["samples"][row].square().sum()
        assert -7.5 < 10 * ratio.log10() < 7.5  # a gain of at most 6 dB, and a little noise
    for hidden, most in (("hidden_times", 0.1), ("hidden_bands", 0.15)):
        start, stop = changed[hidden].unbind(-1)
        assert ((stop >= start) & (stop - start <= most + 1e-6) & (start >= 0) & (stop <= 1)).all()
        assert (stop > start).any()


def test_hidden_time_and_bands_change_nothing_elsewhere():
    field = audio_field(SOUNDS, rate=8_000)
    reader = module(field).fields[0]
    part = AUDIO.collate(field, [np.tile(SOUNDS[0], (3, 1))])
    plain = reader.heard(torch.nn.functional.pad(part["samples"], (0, 157)), part)
    part["hidden_times"][0, 0] = torch.tensor([0.25, 0.5])
    part["hidden_bands"][0, 0] = torch.tensor([0.5, 0.75])
    found = reader.heard(torch.nn.functional.pad(part["samples"], (0, 157)), part)
    frames = torch.arange(found.shape[-1]) * 80 / 4_803
    gone = ((frames >= 0.25) & (frames < 0.5))[None] | ((torch.arange(64) >= 32) & (torch.arange(64) < 48))[:, None]
    assert (found[0][gone] == 0).all()
    assert torch.equal(found[0][~gone], plain[0][~gone])
    assert (plain[0][gone] != 0).any()


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_weights_are_drawn_where_the_tokens_are(seconds):
    field = audio_field(SOUNDS, rate=8_000, seconds=seconds)
    sound = RNG.uniform(-1, 1, (3_200, 1)).astype(np.float32)  # 20 tokens
    windows = AUDIO.windows(field, sound)
    weights = np.zeros((len(windows), -(-len(windows[0]) // 160)))
    weights[-1, -1] = 1.0  # the last 20 ms
    shaded = AUDIO.shaded(field, sound, weights)
    assert isinstance(shaded, Waveform)
    shown = np.flatnonzero(shaded.weights > 0.01)
    assert shown.min() >= 0.94 * len(shaded.weights)
    assert shown.max() == len(shaded.weights) - 1
    assert shaded.weights.max() == pytest.approx(1)
    assert (
        shaded.html().count("<rect") == shaded.html().count('height="60" fill=') == len(shown)
    )  # above the spectrogram
    assert f">{shaded.seconds:.2f} s</text>" in shaded.html()


def test_a_drawing_is_small_and_self_contained():
    field = audio_field(SOUNDS, rate=8_000)
    drawn = AUDIO.draw(field, RNG.uniform(-1, 1, 8_000))
    assert re.match(r"<svg .*</svg>$", drawn, re.DOTALL)
    assert "http" not in drawn
    assert len(drawn) < 20_000
    assert AUDIO.draw(field, None) == "–"
    assert AUDIO.draw(field, [0.5]).startswith("<svg")


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_tone_is_loudest_at_its_mark(rate):
    for hertz in (300, 1_000, 3_000):
        tone = np.sin(2 * np.pi * hertz * np.arange(rate) / rate)[:, None]
        found = Waveform.of(tone, rate, 20, None)
        place = {text: at for at, text in found.marks}[f"{hertz:,} Hz"]
        rows = len(found.spectrogram)
        assert abs(place * rows - (found.spectrogram[:, 10].argmax() + 0.5)) <= 1
        assert f">{hertz:,} Hz</text>" in found.html()


def test_the_features_of_baselines_know_the_pitch():
    time = np.arange(8_000) / 8_000
    low, high = (log_mel(np.sin(2 * np.pi * f * time), 8_000, 40, 80).mean(0).argmax() for f in (200, 3_000))
    assert low < high
    field = audio_field(SOUNDS, rate=8_000)
    found = AUDIO.baseline(field).fit_transform([*SOUNDS, None])
    assert found.shape == (4, 40 * 6 + 1)
    assert np.isfinite(found[:3]).all()
    assert np.isnan(found[3]).all()


def test_a_folder_of_sounds_is_recognised_and_learned(tmp_path):
    for name, hertz in (("low", 300), ("high", 900)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            time = np.arange(RNG.integers(800, 1_600)) / 8_000
            sound = np.sin(2 * np.pi * hertz * time + RNG.uniform(0, 6)) + 0.1 * RNG.standard_normal(len(time))
            soundfile.write(tmp_path / "data" / name / f"{i}.wav", 0.3 * sound, 8_000)
    table = sources.read(tmp_path / "data")
    schema = infer.infer(table)
    assert schema["path"].modality == "audio"
    field = audio_field([tmp_path / "data" / name for name in table.frame["path"]])
    reader, head = module(field), torch.nn.Linear(CHANNELS, 2)
    goal = torch.tensor((table.frame["class"] == "high").to_list()).long()
    cells = [AUDIO.read(field, tmp_path / "data" / name) for name in table.frame["path"]]
    part = {"a": AUDIO.collate(field, cells)}
    optimiser = torch.optim.AdamW([*reader.parameters(), *head.parameters()], 1e-2)
    for _ in range(20):
        array, mask = reader(part)
        pooled = (array * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        loss = torch.nn.functional.cross_entropy(head(pooled), goal)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def test_lists_in_a_table_are_sound_where_the_schema_says_so():
    frame = pl.DataFrame({"sound": [[0.1, -0.1, 0.2]] * 4, "class": ["a", "b"] * 2})
    field = Field("sound", "audio", "input", ("sound",), {"rate": 8_000})
    kind = modality(field)
    field = field.with_options(**{**kind.options, **field.options})
    cells = frame["sound"].to_list()
    field = field.with_options(**kind.fit(field, cells))
    assert kind.read(field, cells[0]).shape == (3, 1)


def test_a_sound_is_played_faster_and_higher_within_its_window():
    field = audio_field(SOUNDS, rate=8_000, seconds=0.25)
    time = np.arange(1_600) / 8_000
    part = AUDIO.collate(field, [np.sin(2 * np.pi * 500 * time)[:, None].astype(np.float32), SOUNDS[2], None])
    faster, lengths = _played(part["samples"], part["lengths"], torch.tensor([1.25, 0.5, 1.0]), 2_000)
    assert lengths.tolist() == [1_280, 194, 0]
    spectrum = np.abs(np.fft.rfft(faster[0, 0, :1_280].numpy()))
    assert spectrum.argmax() * 8_000 / 1_280 == pytest.approx(625, abs=7)
    slow, lengths = _played(part["samples"], part["lengths"], torch.tensor([0.5, 1.0, 1.0]), 2_000)
    assert lengths.tolist() == [2_000, 97, 0]
    assert slow.shape[-1] == 2_000
    same, lengths = _played(part["samples"], part["lengths"], torch.ones(3), 2_000)
    assert torch.equal(lengths, part["lengths"])
    for row, length in enumerate(lengths):
        assert torch.equal(same[row, :, :length], part["samples"][row, :, :length])


def test_without_pitch_a_sound_keeps_its_pitch_and_its_length():
    part = AUDIO.collate(audio_field(SOUNDS, rate=8_000), SOUNDS)
    for pitch, same in ((0, True), (0.3, False)):
        changed = AUDIO.augment(audio_field(SOUNDS, rate=8_000, pitch=pitch, seconds=1), part, uniform)
        assert torch.equal(changed["lengths"], part["lengths"]) == same
        assert (changed["warp"] == 0).all() == same


def test_colours_are_smooth_over_the_bands_and_change_nothing_in_time():
    field = audio_field(SOUNDS, rate=8_000)
    reader = module(field).fields[0]
    part = AUDIO.collate(field, [SOUNDS[0]])
    samples = torch.nn.functional.pad(part["samples"], (0, 159))
    plain = reader.heard(samples, part).detach()
    part["colour"] = torch.tensor([[0.5, 0.0, 0.0, 0.3]])
    change = (reader.heard(samples, part).detach() - plain)[0, :, :20] * SPREAD
    place = np.pi * (np.arange(64) + 0.5) / 64
    expected = 0.5 * np.cos(place) + 0.3 * np.cos(4 * place)
    heard = (1 - STEADY) * expected  # the rest is taken for the microphone's
    np.testing.assert_allclose(change, np.repeat(heard[:, None], 20, axis=1), atol=1e-4)


@pytest.mark.parametrize("lengths", [(5, 2, 0), (1, 0, 0), (0, 0, 0)])
def test_norms_are_those_of_the_tokens_that_are_there(lengths):
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ours, theirs = TokenNorm(4), torch.nn.BatchNorm1d(4)
    theirs.train(sum(lengths) > 1)  # one token has no deviation
    expected = torch.zeros(3, 5, 4)
    expected[mask] = theirs(x.transpose(1, 2)[mask])
    found = ours(x, mask)
    torch.testing.assert_close(found.transpose(1, 2), expected)
    torch.testing.assert_close(ours.norm.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.norm.running_var, theirs.running_var)
    found.square().sum().backward()
    assert (x.grad.transpose(1, 2)[~mask] == 0).all()


def test_what_is_masked_changes_nothing_in_training():
    field = audio_field(SOUNDS, rate=8_000)
    reader = module(field).fields[0].train()
    part = AUDIO.collate(field, SOUNDS)
    longer = {**part, "samples": torch.nn.functional.pad(part["samples"], (0, 1_000))}
    found, more = reader(part)[0], reader(longer)[0]
    torch.testing.assert_close(more[:, : found.shape[1]], found, atol=1e-5, rtol=1e-5)


def test_a_model_that_was_saved_before_an_option_came_has_its_default(tmp_path):
    fitted = audio_field(SOUNDS, rate=8_000)
    older = replace(fitted, options={name: value for name, value in fitted.options.items() if name != "pitch"})
    label = Field("class", "category", "target", ("class",))
    label = label.with_options(**modality(label).options)
    label = label.with_options(**modality(label).fit(label, ["x", "y"]))
    sizes = PerceiverIOConfig(CHANNELS, CHANNELS, num_latents=3, latent_channels=8, self_attends_per_block=1)
    save_model(Model(Schema((older, label), Split()), sizes), tmp_path)
    assert load_model(tmp_path).schema.inputs[0].options == fitted.options

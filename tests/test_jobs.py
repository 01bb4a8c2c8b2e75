"""The published models at work: at reduced sizes, in both formats, from Python and the command line."""

import json
import re
import sys

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from reduced import GOLDENS, REDUCED
from test_published_hub import CONFIGS, randomise

import perceivers as pv
from perceivers import cli, jobs
from perceivers.errors import BadInput
from perceivers.jobs.bytes import best_fills
from perceivers.jobs.flow_files import colours
from perceivers.modalities import pixels
from perceivers.published import export_hub, flow, load_original, pictures, text
from perceivers.published.config import understood
from perceivers.published.models import make

LANGUAGE, FOURIER = "PerceiverForMaskedLM", "PerceiverForImageClassificationFourier"
NAMES = {"language": "deepmind/language-perceiver", "imagenet_fourier": "deepmind/vision-perceiver-fourier"}


def hub_model(architecture):
    """Of the port's parts, with random weights."""
    torch.manual_seed(0)
    config = {"model_type": "perceiver", "architectures": [architecture], **CONFIGS[architecture]}
    model = make(*understood(config, "config"))
    randomise(model)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A Hub folder of each kind of model; the classes of pictures have names."""
    found = {}
    for architecture in (LANGUAGE, FOURIER):
        model = hub_model(architecture)
        if architecture == FOURIER:
            model.labels = tuple(f"kind {i}, other {i}" for i in range(11))
        found[architecture] = export_hub(model, tmp_path_factory.mktemp("hub") / architecture)
    return found


def original(name):
    return jobs.job(load_original(GOLDENS / f"{name}.pickle", REDUCED[name]), name)


def run(monkeypatch, capsys, *arguments):
    """The exit code, stdout and stderr of the command, but for the line of kernels: the fastest hang on the machine."""
    monkeypatch.setattr(sys, "argv", ["perceivers", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return stopped.value.code, out, re.sub(r"^computed in float32; .*\n", "", err, flags=re.MULTILINE)


def photo(path, size=(31, 47), channels=3, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    Image.fromarray(picture.squeeze()).save(path)
    return picture


# Bytes --------------------------------------------------------------------------------------------------------------
def test_masks_are_filled_from_the_command_line(monkeypatch, capsys, folders):
    sentence = "<mask>a <mask><mask>"
    code, out, err = run(monkeypatch, capsys, "predict", folders[LANGUAGE], sentence, "--json")
    row = json.loads(out)
    assert (code, err) == (0, "")
    model = hub_model(LANGUAGE)
    assert row["filled"] == text.fill(model, [sentence])[0]
    with torch.no_grad():
        ids, mask = text.collate([text.between_ends(text.encode(sentence))], 37)
        found = model(ids, mask)[0, [1, 4, 5]].softmax(-1)[:, 6:262].double().numpy()
    assert row["filled_probability"] == pytest.approx(found.max(1).prod(), rel=1e-5)
    one, two = row["fills"]
    assert [fill["probability"] for fill in one] == pytest.approx(np.sort(found[0])[::-1][:5].tolist(), rel=1e-5)
    pairs = np.sort(np.outer(found[1], found[2]).ravel())[::-1][:5]  # of all 65,536
    assert [fill["probability"] for fill in two] == pytest.approx(pairs.tolist(), rel=1e-5)
    assert row["windows"] == 1


@pytest.mark.parametrize("masks", [1, 35, 36, 400])
def test_a_mask_that_covers_everything_is_filled(folders, masks):
    found = pv.load(folders[LANGUAGE]).predict(["<mask>" * masks])
    assert found["windows"][0] == (1 if masks <= 35 else len(text.windows([text.MASK] * masks, 35)))
    assert 0 < found["filled_probability"][0] < 1 or masks > 50


def test_a_long_text_is_read_in_overlapping_windows():
    job = original("language")
    letters = [chr(97 + i % 26) for i in range(150)]
    letters[70] = letters[140] = "<mask>"
    both = text.windows(text.encode("".join(letters)), 64)
    assert [window.masks for window in both] == [(70,), (140,)]
    parts = ["".join(letters[window.start : window.stop]) for window in both]
    found = job.predict(["".join(letters), *parts])
    assert found["windows"].to_list() == [2, 1, 1]  # the third holds no mask
    whole, first, second = (fills.to_list() for fills in found["fills"])
    assert whole == first + second


def test_every_mask_belongs_to_one_window_and_is_not_at_its_edge():
    for length in (1, 64, 65, 111, 400):
        windows = text.windows([text.MASK] * length, 64)
        assert sorted(place for window in windows for place in window.masks) == list(range(length))
        for window in windows:
            assert window.stop - window.start == min(64, length)
            for place in window.masks:
                assert place - window.start >= 8 or window.start == 0
                assert window.stop - 1 - place >= 7 or window.stop == length


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no mask", r"nothing to fill in 'no mask': write <mask> for each byte"),
        ("", "nothing to fill"),
    ],
)
def test_a_text_without_masks_is_one_clear_line(words, message):
    with pytest.raises(BadInput, match=message):
        original("language").predict([words])
    found = original("language").predict_table(original("language").values([words, "<mask>"]))
    assert list(found[1]) == [0]
    assert found[0]["filled"].to_list()[0] is None
    assert re.search(message, found[0]["error"][0])


def test_texts_come_from_tables_and_files(tmp_path):
    job = original("language")
    pl.DataFrame({"id": ["a", "b"], "words": ["x<mask>", "<mask>y"]}).write_csv(tmp_path / "table.csv")
    table = job.predict(tmp_path / "table.csv")
    assert table.columns == ["id", "words", "filled", "filled_probability", "fills", "windows"]
    (tmp_path / "texts").mkdir()
    for name, words in (("a", "x<mask>"), ("b", "<mask>y")):
        (tmp_path / "texts" / f"{name}.txt").write_text(words, encoding="utf-8")
    assert job.predict(tmp_path / "texts")["filled"].to_list() == table["filled"].to_list()
    assert job.predict_table(job.written([str(tmp_path / "texts" / "a.txt")]))[0]["filled"][0] == table["filled"][0]
    photo(tmp_path / "a.png")
    with pytest.raises(BadInput, match="the model reads texts"):
        job.written([str(tmp_path / "a.png")])
    with pytest.raises(BadInput, match=r"reads texts with <mask>.*look like it are none: name it 'text'"):
        job.predict({"a": ["x"], "b": ["y"]})


def test_attention_lies_on_the_characters_of_a_text(folders, tmp_path, monkeypatch, capsys):
    sentence = "é <mask>, " * 15
    for job in (original("language"), pv.load(folders[LANGUAGE])):
        (explanation,) = job.explain([sentence])
        (field,) = explanation.fields
        assert (field.weights.sum(1) <= 1 + 1e-5).all()
        assert len(field.weights) == job.predict([sentence])["windows"][0] > 1
        passage = field.shaded()
        assert passage.text == sentence
        assert passage.weights.max() == 1
        assert len(set(passage.weights[2:8])) == 1  # one mask
    for ending in ("png", "html", "json", "svg"):
        place = tmp_path / f"x.{ending}"
        assert run(monkeypatch, capsys, "explain", folders[LANGUAGE], sentence, "--out", place)[0] == 0
        assert place.stat().st_size > 500


# Pictures -----------------------------------------------------------------------------------------------------------
def test_pictures_are_named_from_the_command_line(monkeypatch, capsys, folders, tmp_path):
    picture = photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", channels=1)
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    code, out, err = run(monkeypatch, capsys, "predict", folders[FOURIER], *files, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(rows)) == (0, "", 2)
    probabilities = pictures.classify(hub_model(FOURIER), [picture])[0].numpy()
    order = probabilities.argsort()[::-1][:5]
    assert [one["class"] for one in rows[0]["best"]] == [f"kind {i}, other {i}" for i in order]
    assert [one["probability"] for one in rows[0]["best"]] == pytest.approx(probabilities[order].tolist(), rel=1e-5)
    assert rows[0]["class"] == rows[0]["best"][0]["class"]


@pytest.mark.parametrize("kind", ["imagenet_fourier", "imagenet_learned", "imagenet_conv"])
def test_the_three_of_the_original_name_arrays_by_index_and_show_where_they_look(kind):
    job = original(kind)
    picture = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    found = job.predict([picture, picture[..., 0]], proba=True)
    assert found["class"][0] in map(str, range(11))
    assert found.select(pl.col("^class_probability_.*$")).sum_horizontal().to_list() == pytest.approx([1, 1])
    assert job.predict([picture / 255])["class_probability"][0] == pytest.approx(found["class_probability"][0])
    (explanation,) = job.explain([picture])
    (field,) = explanation.fields
    assert field.weights.sum() == pytest.approx(1, abs=1e-4)
    drawn = field.shaded()
    assert drawn.pixels.shape == (40, 61, 3)
    assert drawn.weights.max() == 1
    assert (drawn.weights[:, :12] == 0).all()  # cropped off
    assert (drawn.weights[3:37, 14:47] >= 0).all()


def test_folders_and_tables_of_pictures_are_named(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "cats").mkdir()
    photo(tmp_path / "cats" / "a.png")
    photo(tmp_path / "cats" / "b.png", seed=1)
    job = pv.load(folders[FOURIER])
    folder = job.predict(tmp_path)
    assert folder.columns == ["path", "class", "class_predicted", "class_probability", "best"]
    pl.DataFrame({"id": [7, 8, 9], "photo": ["cats/a.png", "cats/b.png", "cats/c.png"]}).write_csv(tmp_path / "t.csv")
    code, _, err = run(
        monkeypatch, capsys, "predict", folders[FOURIER], tmp_path / "t.csv", "--out", tmp_path / "o.csv"
    )
    out = pl.read_csv(tmp_path / "o.csv")
    assert code == 1
    assert "cats/c.png: no such file" in err
    assert out["class"].to_list() == [*folder["class_predicted"].to_list(), None]
    assert out.columns == ["id", "photo", "class", "class_probability", "best", "error"]


def test_what_is_no_picture_is_one_clear_line(monkeypatch, capsys, folders, tmp_path):
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    np.save(tmp_path / "five.npy", np.zeros((3, 3, 5)))
    for given, message in (
        (tmp_path / "a.txt", "not a picture"),
        ("a sentence", "a sentence: no such file, and the model reads files (image)"),
    ):
        code, out, err = run(monkeypatch, capsys, "predict", folders[FOURIER], given)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    with pytest.raises(BadInput, match="a picture of 5 channels came"):
        pv.load(folders[FOURIER]).predict([np.zeros((3, 3, 5))])
    code, out, err = run(monkeypatch, capsys, "evaluate", folders[LANGUAGE], tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)


# Flow ---------------------------------------------------------------------------------------------------------------
def frames(folder, names, size=(23, 31)):
    folder.mkdir(exist_ok=True)
    return [photo(folder / name, size, seed=i) for i, name in enumerate(names)]


@pytest.fixture(scope="module")
def flow_folder(tmp_path_factory):
    return export_hub(hub_model("PerceiverForOpticalFlow"), tmp_path_factory.mktemp("hub") / "flow")


def test_flow_of_a_pair_is_written_by_the_ending(monkeypatch, capsys, flow_folder, tmp_path):
    a, b = frames(tmp_path / "pair", ["a.png", "b.png"])
    pair = [tmp_path / "pair" / name for name in ("a.png", "b.png")]
    expected = flow.estimate(hub_model("PerceiverForOpticalFlow"), a, b)
    for ending in ("flo", "png", "kitti.png"):
        code, out, err = run(monkeypatch, capsys, "predict", flow_folder, *pair, "--out", tmp_path / f"f.{ending}")
        assert (code, out, err) == (0, "", f"flow of 1 pair: {tmp_path}/f.{ending}\n")
    content = (tmp_path / "f.flo").read_bytes()
    assert content[:4] == b"PIEH"
    assert np.frombuffer(content, "<i4", 2, 4).tolist() == [31, 23]
    np.testing.assert_allclose(np.frombuffer(content, "<f4", offset=12).reshape(23, 31, 2), expected, atol=1e-5)
    encoded = (pixels.read(tmp_path / "f.kitti.png", 1_000) * 65_535.0).round()
    assert (encoded[..., 2] == 1).all()
    np.testing.assert_allclose((encoded[..., :2] - 2.0**15) / 64, expected, atol=1 / 128 + 1e-4)
    assert np.asarray(Image.open(tmp_path / "f.png")).shape == (23, 31, 3)
    code, out, _ = run(monkeypatch, capsys, "predict", flow_folder, *pair, "--json")
    row = json.loads(out)
    assert code == 0
    assert [row["flow_x"], row["flow_y"]] == pytest.approx(expected.mean((0, 1)).tolist(), rel=1e-4)
    assert row["flow_longest"] == pytest.approx(np.hypot(*expected.T).max(), rel=1e-4)


def test_a_folder_of_frames_is_a_film_and_its_subfolders_are_films_of_their_own(tmp_path, monkeypatch, capsys):
    job = original("optical_flow")
    for film, names in (("one", ["f2.png", "f10.png", "f1.png"]), ("two", ["a.png", "b.png"]), ("three", ["a.png"])):
        (tmp_path / "films").mkdir(exist_ok=True)
        frames(tmp_path / "films" / film, names, (20, 28))
    assert [e.fields[0].file for e in job.explain(tmp_path / "films")] == [
        "one/f1.png, one/f2.png",
        "one/f2.png, one/f10.png",
        "two/a.png, two/b.png",
    ]
    found = job.predict(tmp_path / "films")
    assert found["first"].to_list() == ["one/f1.png", "one/f2.png", "two/a.png"]
    assert found["second"].to_list() == ["one/f2.png", "one/f10.png", "two/b.png"]
    said, failed = job.predict_to(job.values(tmp_path / "films"), tmp_path / "f.flo")
    assert (said, failed) == (f"flow of 3 pairs: {tmp_path}/f-1.flo to {tmp_path}/f-3.flo", {})
    table = pl.DataFrame({"n": [1], "left": ["films/one/f1.png"], "right": ["films/one/f2.png"]})
    table.write_csv(tmp_path / "pairs.csv")
    assert job.predict(tmp_path / "pairs.csv")["flow_x"][0] == found["flow_x"][0]


def test_pairs_in_python_are_paths_or_arrays(tmp_path):
    job = original("optical_flow")
    a, b = frames(tmp_path, ["a.png", "b.png"])
    paths, arrays = (str(tmp_path / "a.png"), str(tmp_path / "b.png")), (a, b / 255)
    assert job.predict([paths])["flow_x"][0] == job.predict([arrays])["flow_x"][0]
    with pytest.raises(BadInput, match="give a list of them"):
        job.predict(list(paths))
    (explanation,) = job.explain([arrays])
    (field,) = explanation.fields
    assert field.weights.shape == (1, 23 * 31)
    assert field.weights.sum() == pytest.approx(1, abs=1e-4)
    assert field.shaded().weights.shape == (23, 31)


def test_what_is_no_pair_is_one_clear_line(monkeypatch, capsys, flow_folder, tmp_path):
    frames(tmp_path / "x", ["a.png", "b.png"])
    photo(tmp_path / "wide.png", (23, 32))
    a, b, wide = tmp_path / "x" / "a.png", tmp_path / "x" / "b.png", tmp_path / "wide.png"
    for given, message in (
        ([a, wide], r"the frames differ in size, (23, 31) and (23, 32): give two of one size"),
        ([a], "1 picture: "),
        ([a, b, wide], "3 pictures: "),
        ([a, b, "--out", tmp_path / "f.tiff"], "unknown ending '.tiff': .flo, .kitti.png, .png hold flow, and .csv"),
        ([a, b, "--out", tmp_path / "missing" / "f.flo"], "is no folder"),
        (["a sentence", "another"], "a sentence: no such file"),
    ):
        code, out, err = run(monkeypatch, capsys, "predict", flow_folder, *given)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_colours_tell_direction_and_length():
    right, left, still = (1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)
    assert colours(np.array([[right, still]])).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    half = colours(np.array([[right, (0.5, 0.0)]]))[0]
    assert half[1].tolist() == [255, 128, 128]
    cyan = colours(np.array([[left]]))[0, 0]
    assert cyan[0] == 0
    assert cyan[2] == 255
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    wheel = colours(np.stack([np.cos(angles), np.sin(angles)], -1)[None])[0]
    assert (wheel.min(1) == 0).all()  # saturated everywhere
    assert np.abs(np.diff(wheel.astype(int), axis=0)).max() < 30  # no jump


# Measured -----------------------------------------------------------------------------------------------------------
def test_picture_models_are_measured_on_folders_of_classes(folders, tmp_path, monkeypatch, capsys):
    job = pv.load(folders[FOURIER])
    for i, name in enumerate(["kind 3", "other 5", "7", "kind 8, other 8", "unheard of"]):
        (tmp_path / name).mkdir()
        photo(tmp_path / name / "a.png", seed=i)
    code, out, err = run(monkeypatch, capsys, "evaluate", folders[FOURIER], tmp_path, "--json")
    found = json.loads(out)["class"]
    assert (code, found["n"]) == (0, 5)
    assert "note: 1 rows of classes" in err
    answered = job.predict(tmp_path)
    right = {"kind 3": 3, "other 5": 5, "7": 7, "kind 8, other 8": 8}
    expected = [
        answered["class_predicted"][i] == f"kind {right[name]}, other {right[name]}" if name in right else False
        for i, name in enumerate(answered["class"])
    ]
    assert found["accuracy"]["value"] == pytest.approx(np.mean(expected))
    (tmp_path / "none").mkdir()
    photo(tmp_path / "none" / "a.png")
    with pytest.raises(BadInput, match="no column 'class'"):
        job.evaluate(pl.DataFrame({"path": [str(tmp_path / "none" / "a.png")]}))
    with pytest.raises(BadInput, match="is called 'cats', nor is any other"):
        job.evaluate(pl.DataFrame({"path": [str(tmp_path / "none" / "a.png")], "class": ["cats"]}))


def test_fills_tell_bytes_apart_that_are_no_utf_8_alone():
    found = np.full((2, 256), 1e-4)
    found[0, [0xC3, 0xFF]], found[1, [0xA9, 0x41]] = [0.6, 0.3], [0.5, 0.4]
    best = best_fills(found)
    assert [one["fill"] for one in best[:4]] == ["é", "\\xc3A", "\\xff\\xa9", "\\xffA"]
    assert best[0]["probability"] == pytest.approx(0.3)
    assert best_fills(found[:1])[0]["fill"] == "\\xc3"


def test_that_a_text_is_long_is_said(monkeypatch, capsys, folders):
    code, _, err = run(monkeypatch, capsys, "predict", folders[LANGUAGE], "<mask>" + 40 * "a", "--json")
    assert code == 0
    assert err == "note: over 35 bytes: read in windows of so many, which share a quarter with the next (1 row)\n"

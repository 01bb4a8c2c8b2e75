"""The commands as a user runs them: results, exit codes, and one clear line for what cannot be used."""

import json
import shutil
import subprocess
import sys
import time

import polars as pl
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from perceivers import cli
from perceivers.cli import app
from perceivers.errors import BadInput


def call(*arguments):
    return app(list(map(str, arguments)), exit_on_error=False, print_error=False, result_action="return_value")


def command(*arguments, **options):
    code = "from perceivers.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """Real rows (wine) in a CSV, and a run trained on them for a few steps."""
    folder = tmp_path_factory.mktemp("wine")
    data = load_wine(as_frame=True)
    frame = (
        pl.from_pandas(data.frame)
        .with_columns(pl.Series("kind", [str(data.target_names[i]) for i in data.target]))
        .drop("target")
    )
    frame.write_csv(folder / "wine.csv")
    call("train", folder / "wine.csv", "--target", "kind", "--steps", 40, "--out", folder / "run")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Real pictures (digits) in a folder of classes, and a run trained on them for a few steps."""
    folder = tmp_path_factory.mktemp("digits")
    images, classes = load_digits(return_X_y=True)
    for i in range(150):
        path = folder / "data" / f"digit {classes[i]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((images[i].reshape(8, 8) * 15.9).astype("uint8")).save(path)
    call("train", folder / "data", "--steps", 5, "--out", folder / "run")
    return folder


def test_a_run_folder_is_whole(wine):
    names = {path.name for path in (wine / "run").iterdir()}
    assert {"config.yaml", "schema.yaml", "model.safetensors", "config.json", "metrics.csv", "metrics.json"} <= names
    assert {"report.html", "README.md"} <= names
    metrics = json.loads((wine / "run/metrics.json").read_text())["kind"]
    assert metrics["n"] == 27
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]


def test_the_training_data_are_evaluated_on_their_test_rows(wine, capsys):
    assert call("evaluate", wine / "run", wine / "wine.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((wine / "run/metrics.json").read_text())


def test_a_finished_run_says_so(wine, capsys):
    call("train", wine / "wine.csv", "--target", "kind", "--steps", 40, "--out", wine / "run")
    assert "finished before" in capsys.readouterr().err


def test_another_run_in_the_folder_is_refused(wine):
    with pytest.raises(BadInput, match=r"steps: 40, now 41"):
        call("train", wine / "wine.csv", "--target", "kind", "--steps", 41, "--out", wine / "run")


def test_a_table_in_and_a_table_out(wine):
    assert call("predict", wine / "run", wine / "wine.csv", "--proba", "--out", wine / "out.parquet") == 0
    given, out = pl.read_csv(wine / "wine.csv"), pl.read_parquet(wine / "out.parquet")
    assert out.select(given.columns).equals(given)
    shares = out.select(pl.sum_horizontal("^kind_probability_.+$"))
    assert (shares.to_series() - 1).abs().max() < 1e-5
    assert set(out["kind_predicted"]) <= set(given["kind"])


def test_json_rows_and_stdin(wine, capsys):
    row = pl.read_csv(wine / "wine.csv").drop("kind").to_dicts()[0]
    assert call("predict", wine / "run", json.dumps(row), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    done = command("predict", wine / "run", "-", "--json", input=json.dumps(row))
    assert json.loads(done.stdout)["kind"] == answer["kind"]


def test_an_unseen_cell_and_missing_cells_are_answered(wine, capsys):
    row = dict.fromkeys(pl.read_csv(wine / "wine.csv").drop("kind").columns)
    assert call("predict", wine / "run", json.dumps(row), "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"].startswith("class_")


def test_a_missing_column_is_named(wine):
    with pytest.raises(BadInput, match="no column 'alcohol'"):
        call("predict", wine / "run", '{"ash": 2.1}')


def test_pictures_that_cannot_be_read_keep_their_place(digits, capsys):
    whole = next((digits / "data").glob("*/*.png"))
    cut, text = digits / "cut.png", digits / "text.png"
    cut.write_bytes(whole.read_bytes()[:60])
    text.write_text("no picture")
    assert call("predict", digits / "run", whole, cut, text, "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["class"].startswith("digit")
    assert rows[0]["error"] is None
    assert all(row["class"] is None and row["error"] for row in rows[1:])


def test_a_stopped_run_goes_on_to_the_same_weights(wine):
    """A run that is asked to stop saves a checkpoint, exits with 143, and goes on when started again."""
    options = (
        "train",
        wine / "wine.csv",
        "--target",
        "kind",
        "--steps",
        150,
        "--training.precision",
        "float32",
        "--out",
    )
    assert command(*options, wine / "through").returncode == 0
    code = "import sys; from perceivers.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, options), str(wine / "stopped")], stderr=subprocess.DEVNULL
    )
    csv = wine / "stopped/metrics.csv"
    while not csv.exists() or csv.read_text().count("\n") < 10:
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait() == 143
    assert command(*options, wine / "stopped").returncode == 0
    assert (wine / "stopped/model.safetensors").read_bytes() == (wine / "through/model.safetensors").read_bytes()
    steps = [line.split(",")[0] for line in csv.read_text().splitlines()[1:]]
    assert steps == [str(i + 1) for i in range(150)]


BAD = {
    "empty.csv": ("", "empty"),
    "one_class.csv": ("a,y\n" + "".join(f"{i}.5,x\n" for i in range(30)), "y"),
    "one_row.csv": ("a,y\n1,x\n", "row"),
    "ragged.csv": ("a,y\n1,x\n2,x,3\n4,z\n", "row"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_one_line_and_nothing_begins(tmp_path, name):
    content, words = BAD[name]
    (tmp_path / name).write_text(content)
    done = command("train", tmp_path / name, "--target", "y", "--steps", 2, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "run").exists()


def test_mistyped_words_are_met_with_the_nearest(tmp_path):
    (tmp_path / "a.csv").write_text(
        "price,colour\n" + "".join(f"{i},{'red' if i % 2 else 'blue'}\n" for i in range(50))
    )
    for words, hint in (
        (("trian", "x"), "train"),
        (("train", "x", "--trget", "y"), "--target"),
        (("train", tmp_path / "a.csv", "--target", "color"), "colour"),
        (("train", "sample:wne"), "wine"),
        (("train", tmp_path / "nowhere"), "nowhere"),
        (("train", tmp_path / "a.cvs"), f"did you mean '{tmp_path / 'a.csv'}'?"),
        (("train", "sample:wine", "--steps", "three"), "--steps 'three': expected a whole number"),
        (("predict", tmp_path, "x"), "config.json"),
    ):
        done = command(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert hint in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_split_column_with_an_unknown_part_is_refused(tmp_path):
    rows = "".join(f"{i * i % 17},{'ab'[i % 2]},{('train', 'test', 'holdout')[i % 3]}\n" for i in range(60))
    (tmp_path / "a.csv").write_text("x,y,split\n" + rows)
    with pytest.raises(BadInput, match="'holdout' beside train"):
        call("inspect", tmp_path / "a.csv", "--target", "y")


def test_minutes_and_steps_are_not_both(tmp_path):
    with pytest.raises(BadInput, match="one of them"):
        call("train", "sample:wine", "--steps", 2, "--minutes", 1, "--out", tmp_path / "run")


def test_an_option_out_of_range_is_refused(tmp_path):
    for option, value in (("--minutes", -1), ("--steps", 0), ("--training.batch-size", 0)):
        with pytest.raises(BadInput, match=f"{value}.*above 0"):
            call("train", "sample:wine", option, value, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_that_cannot_be_read_are_left_out_of_training_and_named(digits, capsys, tmp_path):
    shutil.copytree(digits / "data", tmp_path / "data")
    (tmp_path / "data/digit 1/cut.png").write_bytes(next(tmp_path.glob("data/*/*.png")).read_bytes()[:60])
    (tmp_path / "data/digit 1/text.png").write_text("no picture")
    assert call("train", tmp_path / "data", "--steps", 2, "--out", tmp_path / "run") == 0
    assert "left out: 2 rows that could not be read" in capsys.readouterr().err
    report = (tmp_path / "run/report.html").read_text()
    assert "cut.png" in report
    assert "text.png" in report


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    rows = "".join(f"{i % 7}.5,{i * i % 13},{'' if i < 10 else 'ab'[i % 2]}\n" for i in range(120))
    (tmp_path / "a.csv").write_text("p,q,y\n" + rows)
    call("train", tmp_path / "a.csv", "--target", "y", "--steps", 2, "--out", tmp_path / "run")
    assert "Left out: 10 rows without a target" in (tmp_path / "run/report.html").read_text()


def test_several_targets_and_missing_values(tmp_path):
    rows = [
        {
            "text": None if i % 5 == 0 else f"the word number {i} of these",
            "x": None if i % 7 == 0 else i / 3,
            "y": i % 3 * 1.5 if i % 11 else None,
            "kind": "ab"[i % 2],
        }
        for i in range(200)
    ]
    pl.DataFrame(rows).write_ndjson(tmp_path / "a.jsonl")
    out = tmp_path / "run"
    call("train", tmp_path / "a.jsonl", "--target", "y", "--target", "kind", "--steps", 3, "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["kind"]["n"] > metrics["y"]["n"] > 20
    assert {"mae", "r2"} <= metrics["y"].keys()


def test_help_is_quick_and_importing_loads_no_torch():
    code = "import sys, perceivers; assert 'torch' not in sys.modules and 'polars' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys\nfrom perceivers.cli import app\napp(['--help'], result_action='return_value')\n"
    code += "assert not {'torch', 'polars', 'numpy'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_published_models_are_listed(capsys):
    assert call("models", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["parameters"] for row in rows if row["name"] == "deepmind/language-perceiver"] == [201_108_230]
    assert call("models") == 0
    assert "vision-perceiver-conv" in capsys.readouterr().out


def test_an_own_run_is_not_exported_to_the_hub_format(wine):
    with pytest.raises(BadInput):
        call("export", wine / "run", "--out", wine / "hub")
    assert not (wine / "hub").exists()


def test_commands_keep_their_memory(monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "keep", lambda: calls.append(1))
    monkeypatch.setattr("sys.argv", ["perceivers", "train", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert calls == [1]


def test_false_without_an_equals_sign_is_told_how_it_is_written():
    done = command("train", "sample:wine", "--training.wide", "false")
    assert done.returncode == 2
    assert "--OPTION=false" in done.stderr

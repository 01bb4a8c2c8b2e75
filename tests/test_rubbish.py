"""Generated rubbish for everything that reads what strangers write: answers, or one line of BadInput, and nothing else.

A few examples by default; ten thousand of each by `pytest tests/test_rubbish.py --hypothesis-profile=long`.
"""

import contextlib
import hashlib
import io
import json
import sys
import unicodedata
from datetime import timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_model import CONFIG, WEIGHTS, example_model

from perceivers import cli
from perceivers.data.infer import check, describe, infer
from perceivers.data.schema import Schema
from perceivers.data.sources import Table, read
from perceivers.errors import BadInput
from perceivers.files import read_yaml
from perceivers.model import load_model, save_model
from perceivers.predict import inputs_as_table, predict, read_stdin
from perceivers.training.config import read_config
from perceivers.training.train import prepare

LONG = settings.get_current_profile_name() == "long"
pytestmark = pytest.mark.timeout(0 if LONG else 300)
rubbish = settings(
    max_examples=10_000 if LONG else 30,
    deadline=timedelta(seconds=30),  # more is a hang
    suppress_health_check=list(HealthCheck),
    derandomize=not LONG,
)

NASTY = ["", " ", "0", "1", "-1", "007", "1e400", "nan", "inf", "-inf", "NA", "null", "true", "2026-01-02", "1.2.2026"]
NASTY += ["a", "b", "A", " a", '"', '""', '"a', "a\nb", "\0", "\r", "é", "😀", "\u202e", "../x", "/etc/passwd", "a.png"]
NASTY += ["x" * 300, "9" * 400, "a|b", "1,5", "=1+1", "<script>", "12345678901234567890", "[1, 2]", "{}", "a b c d e f"]
CELLS = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("xctyab"), inner, max_size=4),
    max_leaves=8,
)


def one_line(error):
    assert str(error).strip()
    assert "\n" not in str(error).strip()


def inspected(path):
    """A file as `inspect` reads it. Only BadInput may come out."""
    try:
        table = read(path)
        schema = infer(table, table.frame.columns[-1:])
        for line in describe(table, schema).splitlines():
            assert not {unicodedata.category(character) for character in line} & {"Cc", "Cs", "Zl", "Zp"}
        Schema.from_dict(yaml.safe_load(schema.to_yaml()), "again")
    except BadInput as error:
        one_line(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rubbish")


# Sources ----------------------------------------------------------------------------------------------------------
@st.composite
def delimited(draw):
    """Bytes that are more or less a CSV."""
    separator, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=12))
    lines = [
        separator.join(row) for row in [[f"n{i}" for i in range(width)], *rows * draw(st.sampled_from([1, 1, 12]))]
    ]
    head = draw(st.sampled_from(["", "", "\ufeff", "\n", " "]))
    return spoiled(draw, (head + end.join(lines) + draw(st.sampled_from(["", end]))).encode("utf-8", "surrogatepass"))


def spoiled(draw, content):
    """Most stay; some are cut or get other bytes."""
    if draw(st.integers(0, 3)) == 0 and content:
        content = bytearray(content)
        for place, byte in draw(
            st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=20)
        ):
            content[place] = byte
        content = bytes(content[: draw(st.integers(0, len(content)))])
    return content


@rubbish
@given(st.one_of(delimited(), st.binary(max_size=200)))
def test_csv(folder, content):
    (folder / "a.csv").write_bytes(content)
    inspected(folder / "a.csv")


@rubbish
@given(st.lists(JSON | st.dictionaries(st.sampled_from("xctyab"), JSON, max_size=4), max_size=8), st.data())
def test_jsonl(folder, rows, data):
    lines = "\n".join(json.dumps(row, ensure_ascii=data.draw(st.booleans())) for row in rows)
    (folder / "a.jsonl").write_bytes(spoiled(data.draw, lines.encode("utf-8", "surrogatepass")))
    inspected(folder / "a.jsonl")


@cache
def binary(kind):
    frame = pl.DataFrame(
        {"a": [1, 2, None] * 9, "b": ["x", "y", None] * 9, "c": [[1.5], [], None] * 9, "d": [True, False, None] * 9}
    ).with_columns(pl.col("b").cast(pl.Categorical).alias("e"), pl.lit(0).cast(pl.Date).alias("f"))
    buffer = io.BytesIO()
    {"parquet": frame.write_parquet, "arrow": frame.write_ipc, "ipc": frame.write_ipc_stream}[kind](buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow", "ipc"])
@rubbish
@given(data=st.data())
def test_binary_tables(folder, kind, data):
    content = bytearray(binary(kind))
    places = st.integers(-len(content), len(content) - 1) | st.integers(-700, -1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=20)):
        content[place] = byte
    (folder / f"a.{kind}").write_bytes(content[: data.draw(st.sampled_from([None, None, None, -1, 40, 300]))])
    inspected(folder / f"a.{kind}")


@rubbish
@given(st.dictionaries(CELLS, st.lists(JSON, max_size=5), max_size=4) | st.lists(JSON, max_size=5) | JSON)
def test_values_in_memory(data):
    with contextlib.suppress(BadInput):
        table = read(data) if not isinstance(data, str) else read([{"x": data}])
        describe(table, infer(table))


# YAML -------------------------------------------------------------------------------------------------------------
TABLE = Table(
    pl.DataFrame(
        {
            "x": [0.5 * i for i in range(40)],
            "c": ["u", "v"] * 20,
            "t": [f"some {i}" for i in range(40)],
            "y": ["a", "b"] * 20,
        }
    ),
    "rows",
    None,
)
OPTIONS = ("max_bytes", "files", "labels", "categories", "class_weights", "mean", "std", "quantiles", "unit", "date")
OPTIONS += ("channels", "resize", "patch", "max_pixels", "flip", "length", "rate")
FIELD = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "c", "t", "y"]) | JSON,
        "role": st.sampled_from(["input", "input", "target", "ignore"]) | JSON,
    },
    optional={
        "modality": st.sampled_from(["number", "category", "text", "image", "series"]) | JSON,
        "columns": st.lists(st.sampled_from(["x", "c", "t", "y"]), max_size=2) | JSON,
        **{option: JSON | st.integers(0, 3) | st.lists(st.floats(0, 2), max_size=3) for option in OPTIONS},
    },
)
PROPER = st.sampled_from(
    [
        {"name": "x", "modality": "number", "role": "input"},
        {"name": "t", "modality": "text", "role": "input"},
        {"name": "y", "modality": "category", "role": "target"},
    ]
)
SPLIT = st.dictionaries(st.sampled_from(["column", "fractions", "seed", "group", "time"]), JSON, max_size=3)


@rubbish
@given(
    st.one_of(
        st.text(max_size=80),
        JSON.map(yaml.safe_dump),
        st.fixed_dictionaries(
            {"format": st.just(1), "fields": st.lists(PROPER | FIELD, max_size=4)}, optional={"split": SPLIT | JSON}
        ).map(lambda content: yaml.safe_dump(content, allow_unicode=True)),
    )
)
def test_schemas(folder, text):
    (folder / "schema.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        schema = Schema.read(folder / "schema.yaml")
        check(TABLE, schema)
        prepare(TABLE, schema)
    except BadInput as error:
        one_line(error)


@rubbish
@given(
    st.one_of(
        st.text(max_size=80),
        st.binary(max_size=80),
        st.dictionaries(
            st.sampled_from(["size", "minutes", "steps", "training", "architecture", "x"]),
            JSON
            | st.dictionaries(st.sampled_from(["lr", "seed", "num_latents", "precision", "small"]), JSON, max_size=3),
            max_size=3,
        ).map(yaml.safe_dump),
    )
)
def test_configurations(folder, content):
    (folder / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "ignore"))
    for reader in (read_yaml, read_config):
        try:
            reader(folder / "config.yaml")
        except BadInput as error:
            one_line(error)


# Models -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model(folder):
    save_model(example_model(), folder / "model")
    return load_model(folder / "model")


def leaves(content, path=()):
    """Every place in nested dicts and lists."""
    if path:
        yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from leaves(content[key], (*path, key))


@rubbish
@given(data=st.data(), forged=st.booleans(), value=JSON | st.integers(-1, 2**70))
def test_model_folders(folder, model, data, forged, value):
    """Spoiled files, and configurations in which one value is another, with checksums that fit."""
    save_model(example_model() if not (folder / "spoiled").exists() else model, folder / "spoiled")
    if forged:
        content = json.loads((folder / "spoiled" / CONFIG).read_text())
        sums = content.pop("sha256")
        *path, last = data.draw(st.sampled_from(list(leaves(content))))
        place = content
        for key in path:
            place = place[key]
        place[last] = value
        sums[CONFIG] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        (folder / "spoiled" / CONFIG).write_text(json.dumps({**content, "sha256": sums}))
    else:
        file = folder / "spoiled" / data.draw(st.sampled_from([CONFIG, WEIGHTS]))
        file.write_bytes(spoiled(data.draw, file.read_bytes()))
    try:
        load_model(folder / "spoiled")
    except BadInput as error:
        one_line(error)


# Predict ----------------------------------------------------------------------------------------------------------
def answered(model, make):
    """Every row keeps its place: answered, or with an error. Only BadInput may come out before."""
    try:
        table = make()
        frame, failed = predict(model, table, proba=True)
    except BadInput as error:
        one_line(error)
        return
    assert frame.height == table.frame.height
    assert frame.columns[: table.frame.width] == table.frame.columns
    name = "y_predicted" if "y" in table.frame.columns else "y"
    assert [row for row, answer in enumerate(frame[name]) if answer is None] == sorted(failed)
    added = set(frame.columns) - set(table.frame.columns)
    assert bool({"error", "error_predicted"} & added) == bool(failed)


ROW = st.fixed_dictionaries({"x": JSON, "c": JSON, "t": JSON}, optional={"y": JSON, "error": JSON})


@rubbish
@given(st.lists(ROW, min_size=1, max_size=5))
def test_rows(model, rows):
    answered(model, lambda: read(rows))


@rubbish
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=6) | delimited() | st.binary(max_size=80), st.data())
def test_stdin(model, content, data):
    if isinstance(content, list):
        text = "\n".join(["x,c,t", *(",".join(row) for row in content)])
        content = spoiled(data.draw, text.encode("utf-8", "surrogatepass"))
    answered(model, lambda: read_stdin(io.BytesIO(content)))


@rubbish
@given(st.lists(CELLS | ROW.map(json.dumps), max_size=3))
def test_arguments(model, inputs):
    answered(model, lambda: inputs_as_table(model.schema.inputs, inputs))


@settings(rubbish, max_examples=rubbish.max_examples // 10)
@given(
    st.sampled_from(["inspect", "predict", "evaluate", "predict -"]),
    st.lists(CELLS, max_size=2),
    delimited() | st.binary(max_size=60),
)
def test_commands_end_with_an_exit_code_of_theirs(folder, model, command, arguments, content):
    """0, 1 or 2; and 1 only where rows could not be read."""
    (folder / "a.csv").write_bytes(content)
    command, *stdin = command.split()
    place = [str(folder / "model")] * (command != "inspect")
    given = ["perceivers", command, *place, *(stdin or [str(folder / "a.csv")]), *arguments[: command == "predict"]]
    errors, out = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(errors), contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", given)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        patch.chdir(Path(folder))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    said = errors.getvalue()
    assert ended.value.code in (0, 1, 2), said
    assert "--debug" not in said
    assert "Traceback" not in said
    if ended.value.code == 1:
        assert "could not be read" in said
    if ended.value.code == 2:
        assert said.count("\n") == 1


def test_what_long_runs_have_found(folder):
    """A list of dictionaries named as times, and a name that is a line break."""
    (folder / "a.jsonl").write_text('{}\n{"t": [{}], "x": null}\n')
    inspected(folder / "a.jsonl")
    (folder / "schema.yaml").write_text("fields:\n- name: '\n\n'\n  role: input\nformat: 1")
    with pytest.raises(BadInput, match="no modality") as error:
        Schema.read(folder / "schema.yaml")
    one_line(error.value)

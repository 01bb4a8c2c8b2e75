"""Files that are written whole or not at all, and YAML that is read as data alone.

Not concerned with what stands in them.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from perceivers.errors import BadInput

DEEPEST_YAML = 50
LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
DUMPER: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def check_place(path: Path) -> None:
    """Raises BadInput where no file could be written at `path`: asked before anything begins."""
    folder = path.resolve().parent
    if path.is_dir():
        raise BadInput(f"{path}: is a folder: give the name of a file in it")
    if not folder.is_dir():
        raise BadInput(f"{path}: {folder} is no folder: make it first, or write elsewhere")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise BadInput(f"{path}: cannot be written: {folder} is read-only for you: write elsewhere")


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: lists, dicts, strings, numbers, dates. Raises BadInput with the place.

    Tags that name code are refused, and so are anchors and aliases, since a few lines of them stand for gigabytes.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8: save it as UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    try:
        depth = 0
        events: Any = yaml.parse(text, LOADER)
        for event in events:
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_YAML or isinstance(event, yaml.AliasEvent):
                what = "over 50 levels deep" if depth > DEEPEST_YAML else "an alias (*) stands for something else"
                raise BadInput(f"{path}, line {line}: {what}: write it out plainly")
        _refuse_doubles(yaml.compose(text, LOADER), path)
        return yaml.load(text, LOADER)  # safe: LOADER is the safe one
    except BadInput:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def _refuse_doubles(node: Any, path: Path) -> None:
    """Raises BadInput where a mapping has a key twice: YAML's readers would take the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        met = set()
        for key, value in node.value:
            name = str(key.value)
            if name in met:
                line = key.start_mark.line + 1
                raise BadInput(f"{path}, line {line}: {name!r} stands there twice: leave one out")
            met.add(name)
            _refuse_doubles(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _refuse_doubles(one, path)


UNFINISHED = ".writing-"  # what a killed process may leave behind


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from inside says which file it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Puts `content` (text as UTF-8) at `path` in one step: a reader sees the old file or the new one, never a part.

    The mode of an existing file is kept, and a link goes on pointing to its file. Raises OSError, and then leaves
    what was there.
    """
    with naming(path):
        _write_atomic(Path(path).resolve(), content)


def append(path: Path, text: str) -> None:
    """Adds `text` at the end of `path`, and waits until it is on the disk. Raises OSError; a part may be there then."""
    with naming(path), path.open("a", newline="", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Deletes what `write_atomic` left in `folder` when it was killed. Nobody else may be writing there."""
    for file in folder.glob(f"{UNFINISHED}*"):
        file.unlink()


def _write_atomic(place: Path, content: str | bytes) -> None:
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = place.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            temporary.chmod(place.stat().st_mode & 0o7777)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """The new name itself outlives a power cut only when its folder is on the disk too."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

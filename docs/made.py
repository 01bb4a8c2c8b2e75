"""What stands on the pages and is made from the code: options, sizes, kinds of data, samples, models, and source.

`python -m docs.made` writes it between `<!-- made: NAME -->` and `<!-- made -->`, so that a page can be read as a file;
the tests say where that was forgotten. NAME is a function of `WRITERS`, or a file and a name in it: what the file says
there is shown. Not concerned with what stands around it on a page.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

import perceivers
from perceivers import published
from perceivers.cli import app as commands_app
from perceivers.data.folders import EXTENSIONS
from perceivers.data.samples import SAMPLES
from perceivers.data.schema import Field, Schema, Split
from perceivers.explain import Explanation, FieldExplanation
from perceivers.modalities import MODALITIES
from perceivers.modalities.base import Modality
from perceivers.training.defaults import SIZES

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- made -->)", re.DOTALL)


def commands() -> str:
    """The commands in their own order, each with its arguments and options."""
    text = commands_app.generate_docs(output_format="markdown")
    sections = re.findall(r"^## perceivers .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    text = "".join(sections).replace("## perceivers", "### perceivers").replace("```console", "```text")
    # How this very program was called would stand before the options.
    return re.sub(r"^(perceivers \w+) .*?(?=\[OPTIONS\]|--)", r"\1 ", text, flags=re.MULTILINE)


def sizes() -> str:
    """The numbers behind `tiny`, `small` and `base`."""
    columns = list(vars(next(iter(SIZES.values()))))
    return table(["", *columns], ([f"`{name}`", *vars(numbers).values()] for name, numbers in SIZES.items()))


def modalities() -> str:
    """A section for each kind of data: what its class says of itself, its files and its options."""
    return "\n".join(_modality(kind) for kind in MODALITIES.values())


def _modality(kind: Modality) -> str:
    uses = [use for use in ("inputs", "target") if getattr(type(kind), use) is not getattr(Modality, use)]
    words = {"inputs": "an input", "target": "a target"}
    lines = [f"### {kind.name}", "", f"*Can be {' and '.join(words[use] for use in uses)}.*", ""]
    lines += [inspect.getdoc(type(kind)) or "", ""]
    if kind.name in EXTENSIONS:
        lines += [f"Files: {' '.join(f'`{ending}`' for ending in EXTENSIONS[kind.name])}", ""]
    if kind.options:
        options = ", ".join(f"`{name}: {_yaml(value)}`" for name, value in kind.options.items())
        lines += [f"Options with their defaults (`null`: read off the train rows): {options}", ""]
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def samples() -> str:
    """The built-in data sets, each with what its function says of it."""
    return table(["data", "what it is"], ([f"`sample:{n}`", inspect.getdoc(make)] for n, make in SAMPLES.items()))


def published_models() -> str:
    """DeepMind's models, as `perceivers models` lists them."""
    rows = (
        [
            f"`{m['name']}`",
            m["inputs"],
            m["outputs"],
            f"{m['parameters']:,}",
            f"{m['bytes'] / 1e6:,.0f} MB",
            m["licence"],
        ]
        for m in published.models()
    )
    return table(["name", "inputs", "outputs", "parameters", "size", "licence"], rows)


def python() -> str:
    """What `import perceivers` gives, each name with its signature and what it says of itself."""
    return "\n".join(_described(f"pv.{name}", getattr(perceivers, name)) for name in sorted(perceivers.__all__))


def schemas() -> str:
    """The same of what a schema is made of."""
    return "\n".join(_described(kind.__name__, kind) for kind in (Schema, Field, Split))


def explanations() -> str:
    """The same of what `explain` gives."""
    return "\n".join(_described(kind.__name__, kind) for kind in (Explanation, FieldExplanation))


def _described(name: str, thing: Any) -> str:
    """A heading, the signature, the docstring; of a class also its public methods and properties."""
    lines = [f"### {name}", ""]
    if not (isinstance(thing, type) and issubclass(thing, BaseException)):
        lines += [f"```py\n{name}{_signature(thing)}\n```", ""]
    lines += [inspect.getdoc(thing) or "", ""]
    members = inspect.getmembers(thing, lambda m: inspect.isfunction(m) or isinstance(m, property | classmethod))
    for member, method in members if isinstance(thing, type) and not issubclass(thing, BaseException) else ():
        said = " ".join((inspect.getdoc(method) or "").split())
        if not member.startswith("_") and said:
            call = "" if isinstance(method, property) else _signature(method).split(" -> ")[0].replace("self, ", "")
            lines.append(f"- `{member}{call.replace('(self)', '()')}`: {said}")
    return "\n".join([*lines, ""])


def _signature(thing: Any) -> str:
    """Without the modules that types come from."""
    text = str(inspect.signature(thing))
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def streaming() -> str:
    """Memory of inputs that do not fit, as `python -m benchmarks.streaming` has measured it."""
    rows = json.loads((ROOT / "benchmarks/streaming.json").read_text(encoding="utf-8"))
    return table(
        ["", "inputs", "memory beyond the model"],
        ([case, f"{row['inputs']:,} × {row['channels']}", f"{row['beyond_gb']:.2f} GB"] for case, row in rows.items()),
    )


def large() -> str:
    """Memory and time of predictions of large files, as `python -m benchmarks.large` has measured them."""
    rows = json.loads((ROOT / "benchmarks/large.json").read_text(encoding="utf-8"))
    return table(
        ["", "file", "peak of memory", "time", "class"],
        (
            [
                row["input"],
                f"{row['bytes'] / 1e6:,.1f} MB",
                f"{row['peak_gb']:.2f} GB",
                f"{row['seconds']:,.0f} s",
                "right" if row["right"] else "wrong",
            ]
            for row in rows.values()
        ),
    )


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def source(file: str, name: str) -> str:
    """What `file` says of `name`: a function, a class, a method (`Class.method`) or a constant. Raises LookupError."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = {name: node for node in ast.iter_child_nodes(found) for name in _names(node)}[part]
    first = min([found.lineno, *(line.lineno for line in getattr(found, "decorator_list", []))])
    code = textwrap.dedent("\n".join(text.splitlines()[first - 1 : found.end_lineno]))
    return f"```py\n{code}\n```\n\n`{name}` in [{file}](../{file})\n"


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


WRITERS = {
    "commands": commands,
    "sizes": sizes,
    "modalities": modalities,
    "samples": samples,
    "published models": published_models,
    "python": python,
    "schemas": schemas,
    "explanations": explanations,
    "streaming": streaming,
    "large": large,
}


def made(name: str) -> str:
    """The Markdown of that name. Raises LookupError."""
    return WRITERS[name]() if name in WRITERS else source(*name.split(" "))


def filled(page: str) -> str:
    """The page with all that is made, as it is now."""
    return PLACE.sub(lambda found: f"{found[1]}\n{made(found[2]).strip()}\n\n{found[3]}", page)


def main() -> None:
    """The command."""
    for page in sorted(ROOT.glob("docs/*.md")):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What the pages take from the code when they are built, so that it cannot go stale; and equations as MathML.

`{commands}`: every command and option. `{sizes}`: what `--size` stands for. `{modalities}`: every kind of data.
`{samples}`: the built-in data sets. `{published}`: DeepMind's models. Each writes Markdown, which is then parsed.
Not concerned with what stands around it on a page.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from perceivers import published
from perceivers.cli import app as commands_app
from perceivers.data.folders import EXTENSIONS
from perceivers.data.samples import SAMPLES
from perceivers.modalities import MODALITIES
from perceivers.modalities.base import Modality
from perceivers.training.defaults import SIZES


def commands() -> str:
    """The commands in their own order, each with its arguments and options."""
    text = commands_app.generate_docs(output_format="markdown")
    sections = re.findall(r"^## perceivers .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    text = "".join(sections).replace("## perceivers", "### perceivers").replace("```console", "```text")
    return re.sub(r"perceivers (\w+) \1", r"perceivers \1", text)  # where a command brings its own usage


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


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def directive(write: Callable[[], str]) -> type[SphinxDirective]:
    """A directive without arguments that stands for the Markdown that `write` gives."""

    class Written(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(write(), allow_section_headings=True)

    return Written


def inline_math(translator: Any, node: nodes.math) -> None:
    """An equation inside a line, which browsers draw by themselves."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(translator: Any, node: nodes.math_block) -> None:
    """An equation on its own line."""
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    for write in (commands, sizes, modalities, samples):
        app.add_directive(write.__name__, directive(write))
    app.add_directive("published", directive(published_models))
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

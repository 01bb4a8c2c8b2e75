"""Equations of the pages as MathML, which browsers draw without a script. A Sphinx extension.

Not concerned with what else is on a page.
"""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


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
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Sphinx's settings: `make docs` builds the pages, offline, with warnings as errors.

Not concerned with what the pages say, nor with what is made from the code (`made.py`).
"""

import sys
from pathlib import Path

from perceivers import __version__

sys.path.insert(0, str(Path(__file__).parent))

project, author, copyright = "perceivers", "the authors of perceivers", "the authors of perceivers, Apache-2.0"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "equations"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "perceivers"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2866c8", "color-brand-content": "#2866c8"},
    "dark_css_variables": {"color-brand-primary": "#7db0ff", "color-brand-content": "#7db0ff"},
}
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
pygments_style, pygments_dark_style = "friendly", "github-dark"
highlight_language = "text"
default_role = "code"
smartquotes = False  # -- is no dash in --target
autodoc_inherit_docstrings = False  # forward would have what torch says of every module
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
nitpicky = False

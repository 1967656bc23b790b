"""How Sphinx makes the documentation: `make docs`, offline, warnings are errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

import semiseg

project = "semiseg"
author = "The semiseg authors"
copyright = "2026, The semiseg authors"
version = release = semiseg.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# attributes of one name in two classes, which a "metric" in a signature may mean
suppress_warnings = ["ref.python"]

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = (
    "none"  # shapes and units stand in the docstrings; the signatures hold the types
)
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

lexers["csv"] = TextLexer()  # Pygments has none of that name

html_theme = "furo"
html_title = "semiseg"
html_static_path = []
html_show_sourcelink = False


def shorten_module(app, what, name, obj, options, lines):
    """Of a module the first paragraph: what follows is laid out for the reader of the source."""
    if what == "module" and "" in lines:
        del lines[lines.index("") :]


def setup(app):
    app.connect("autodoc-process-docstring", shorten_module)

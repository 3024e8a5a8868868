"""Sphinx configuration: `make docs` writes docs/_build/html; warnings are errors."""

from __future__ import annotations

import importlib
import re
from typing import Any

from docutils import nodes
from sphinx.util.nodes import make_refnode

import gantrol

project = "gantrol"
author = "the gantrol authors"
copyright = "the gantrol authors, Apache-2.0"
version = release = gantrol.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gantrol {release}"

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
# Docstrings write code in single backticks.
default_role = "code"


def plain_to_rst(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text with formulas: keeps *, | and trailing _ outside of code from being markup."""
    for index, line in enumerate(lines):
        pieces = re.split(r"(`+[^`]*`+)", line)
        pieces[::2] = [re.sub(r"([*|]|\b_|(?<=\w)_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
        for place in range(2, len(pieces), 2):
            if pieces[place][:1].isalnum():  # `Module`s
                pieces[place] = "\\ " + pieces[place]
        lines[index] = "".join(pieces)


def object_named(name: str) -> Any:
    """What a dotted name stands for, or None."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found
    return None


def link_names(app: Any, doctree: Any, page: str) -> None:
    """`gantrol.models.transgan.smooth` in the text of a page leads to its entry on the page API.

    A name that is documented under a shorter one (`gantrol.models.GroupedMapping`) leads there.
    """
    documented = app.env.domains["py"].objects
    by_object = {id(object_named(name)): name for name in documented}
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().removesuffix("()")
        if not re.fullmatch(r"gantrol(\.\w+)+", name) or isinstance(literal.parent, nodes.reference):
            continue
        found = name if name in documented else by_object.get(id(object_named(name)))
        if found is not None:
            entry = documented[found]
            link = make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy(), found)
            literal.replace_self(link)


def setup(app: Any) -> None:
    app.connect("doctree-resolved", link_names)
    # Before napoleon (priority 500), whose output is markup and must stay as it is.
    app.connect("autodoc-process-docstring", plain_to_rst, priority=400)

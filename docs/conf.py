"""Sphinx configuration. ``make docs`` builds the site into ``docs/_build/html``; warnings are errors."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

import bstheory  # noqa: E402
from bstheory.files import atomic_write  # noqa: E402
from bstheory.references import cite  # noqa: E402

project = "bstheory"
author = "the bstheory authors"
copyright = author
version = release = bstheory.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
    "claims_table",
    "command_help",
    "docstrings",
    "outside_files",
]
exclude_patterns = ["_build"]

# The bibliography is what the code cites: `bstheory cite` prints the same entries.
_bibliography = HERE / "_build" / "references.bib"
_bibliography.parent.mkdir(parents=True, exist_ok=True)
atomic_write(_bibliography, cite() + "\n")
bibtex_bibfiles = ["_build/references.bib"]
bibtex_default_style = "plain"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
# Not "cache": it knows when a notebook changes, not when the package does.
nb_execution_mode = "force"
nb_execution_timeout = 600  # seconds a cell; a busy machine is no error
nb_execution_raise_on_error = True
nb_merge_streams = True

# Callbacks for other libraries are documented also where those libraries are not installed.
autodoc_mock_imports = [name for name in ("transformers", "lightning") if find_spec(name) is None]
# Two modules may use one name; the reference under a module's own heading is right either way.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "bstheory"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
# The calculator is a whole page of its own and keeps its address.
shutil.copytree(HERE / "calculator", HERE / "_build" / "extra" / "calculator", dirs_exist_ok=True)
html_extra_path = ["_build/extra"]

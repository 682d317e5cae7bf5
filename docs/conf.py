"""How the site is built.

`make docs`, or `python -m sphinx -W --keep-going docs build/docs`. Nothing is
fetched, neither when the site is built nor when it is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from zo_gym.version import __version__  # noqa: E402

project = "zo-gym"
author = "The zo-gym authors"
copyright = "The zo-gym authors, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "_ext.complete",
    "_ext.directives",
    "_ext.docstrings",
    "_ext.executed",
    "_ext.mathml",
    "_ext.modules",
]

# Every reference must resolve, except to names of other projects: their inventories
# would have to be fetched.
nitpicky = True
PROJECTS = """
    torch numpy np gymnasium gym stable_baselines3 collections concurrent typing
    pathlib spaces types tyro
"""
NAMES = """
    Any AutoresetMode Axes Callable Executor Figure Generator Generators Iterator
    Literal Mapping OnFailure Path Positional ResetNeeded Schedule Sequence Tensor
    array csr_matrix optional
"""
# The default role is a link where a name is documented, and code where it is not.
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:.*", rf"({'|'.join(PROJECTS.split())})\..*"),
    ("py:.*", "|".join(NAMES.split())),
]
default_role = "py:obj"

myst_enable_extensions = [
    "colon_fence",
    "deflist",
    "dollarmath",
    "fieldlist",
    "attrs_inline",
]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "References")]
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"zo-gym {release}"
html_static_path = ["_static"]
html_css_files = ["zo_gym.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.output) > div.highlight > pre"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5fa5",
        "color-brand-content": "#0b5fa5",
    },
    "dark_css_variables": {
        "color-brand-primary": "#56b4e9",
        "color-brand-content": "#56b4e9",
    },
    "navigation_with_keys": True,
}

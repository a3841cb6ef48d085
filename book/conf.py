"""Settings of the book; `make book` stages the sources and calls Sphinx with them."""

import re

project = "Learning to hash, hands on"
author = "the authors of the series"
html_title = "Learning to hash"
root_doc = "index"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
extensions += ["sphinx.ext.mathjax", "sphinx_copybutton"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings name the types
# What scikit-learn's base class adds to each estimator.
_ADDED = [f"set_{name}_request" for name in ("fit", "score", "transform", "decision_function")]
autodoc_default_options = {"exclude-members": ", ".join(_ADDED)}
napoleon_google_docstring = False
napoleon_use_rtype = False

mathjax_path = "tex-svg.js"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "navbar_persistent": [],  # one search box, not two
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_show_search_summary = False  # it would fetch pages, which a browser forbids for local files
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False


def _escape(app, what, name, obj, options, lines):
    """Let |x| in a docstring mean an absolute value, not a substitution of docutils."""
    lines[:] = [
        line if line.lstrip().startswith(">>>") else re.sub(r"(``.*?``)|\|", _bar, line)
        for line in lines
    ]


def _bar(match):
    return match[1] or r"\|"


def setup(app):
    """Register what is done to docstrings."""
    app.connect("autodoc-process-docstring", _escape)

"""How Sphinx builds the documentation: ``sphinx-build -W docs docs/_build/html``."""

from bycatch.version import __version__

project = "bycatch"
author = "The bycatch developers"
copyright = "the bycatch developers"  # noqa: A001  # Sphinx's name
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "*.py", "**.ipynb_checkpoints"]
# Notebooks are kept without their outputs: the build runs them, in a folder that goes away.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # else attributes of one name in two classes are ambiguous targets
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autosummary_generate = False

html_theme = "pydata_sphinx_theme"
html_title = "bycatch"
PLAIN = ("index", "installation", "tutorial", "howto", "fetch", "surveys", "accuracy", "speed")
html_sidebars: dict[str, list[str]] = {page: [] for page in PLAIN}  # the bar on top leads there
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,  # all sections, in one line at 1366 px
}
html_show_sourcelink = False

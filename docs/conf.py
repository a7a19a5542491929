"""Sphinx settings."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from a2e_async import __version__

project = "a2e_async"
author = "The a2e_async contributors"
release = version = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "a2e_reference",
    "cli_reference",
    "llms",
    "search_terms",
]
templates_path = ["_templates"]
html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"a2e_async {release}"
html_copy_source = False
html_show_copyright = False  # the note below each page names the licence
exclude_patterns = ["_build", "_ext", "_figures", "_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]

# Copy commands without their prompts, and blocks without Sphinx's own line numbers.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# A name in single backticks links to the reference if it is documented, and is code otherwise.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True


def _relink(app: Any, path: Path, docname: str, content: list[str]) -> None:
    """Rewrite the README's links, which are relative to the repository, for the pages here."""
    content[0] = content[0].replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")


def setup(app: Any) -> None:
    """Connect the handlers."""
    app.connect("include-read", _relink)

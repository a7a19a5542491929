"""Sphinx settings."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "a2e_async"
author = "The a2e_async contributors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "a2e_reference",
    "cli_reference",
    "llms",
]
html_theme = "furo"
html_title = "a2e_async"
html_copy_source = False
exclude_patterns = ["_build", "_ext", "_figures"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "fieldlist"]

# A name in single backticks is a link where the reference has it, and code elsewhere.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True


def _turn_links(app: Any, path: Path, docname: str, content: list[str]) -> None:
    """Turn the README's links, which are written for its own place, to the pages here."""
    content[0] = content[0].replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")


def setup(app: Any) -> None:
    """Connect what is done while the pages are read."""
    app.connect("include-read", _turn_links)

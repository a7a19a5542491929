"""Sphinx settings."""

project = "a2e_async"
author = "The a2e_async contributors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "a2e_async"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # the README's links are written for its own place

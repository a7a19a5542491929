"""The pages name HTTP headers that exist.

Examples with a wrong header name run without an error, so running them finds nothing.
"""

import re
from pathlib import Path

from a2e_async._core.webhooks.receiver import WEBHOOK_HEADER

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STANDARD = {"Content-Type", "Retry-After"}


def test_each_header_exists() -> None:
    """A quoted name in the form of a header is a standard one, or that of the webhook token."""
    shape = re.compile(r"""[`"]([A-Z][A-Za-z0-9]*(?:-[A-Z][A-Za-z0-9]*)+)[`"]""")
    named = {name: page.name for page in PAGES for name in shape.findall(page.read_text("utf-8"))}
    assert {"Retry-After", WEBHOOK_HEADER} <= named.keys()
    assert named.keys() <= STANDARD | {WEBHOOK_HEADER}, named

"""The README has the parts that other programs read."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_two_commands_are_there() -> None:
    """The README names the command that runs the main job and the one that runs the tests."""
    text = README.read_text()
    for name in ("demo", "tests"):
        block = re.search(rf"<!-- {name} -->\n```sh\n(.+?)\n```\n<!-- /{name} -->", text, re.DOTALL)
        assert block is not None
        assert "\n" not in block[1]

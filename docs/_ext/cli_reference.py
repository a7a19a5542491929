"""Sphinx directives of the command line's page, generated from the commands.

``{command} journal list`` describes a command; ``{common-flags}``, ``{kind-flags}``,
``{exit-codes}`` and ``{environment}`` write the tables that their names say.
"""

from collections.abc import Callable
from typing import Any

import cli_page
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Command(SphinxDirective):
    """The description, usage, arguments and flags of a command."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(cli_page.command(self.arguments[0]))


def table(write: Callable[[], str]) -> type[SphinxDirective]:
    """Return a directive without arguments that inserts the Markdown of ``write``."""

    class Table(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(write())

    return Table


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("command", Command)
    app.add_directive("common-flags", table(cli_page.common_flags))
    app.add_directive("kind-flags", table(cli_page.kind_flags))
    app.add_directive("exit-codes", table(cli_page.exit_code_table))
    app.add_directive("environment", table(cli_page.environment))
    return {"parallel_read_safe": True}

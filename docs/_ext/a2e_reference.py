"""Sphinx directives that generate the reference from the declarations of the package.

``{kind} dubbing`` generates the page of a kind, ``{namespace} voices`` that of another namespace.
``{kinds} Images`` generates a table of the kinds of a topic and adds their pages to the toctree.
``{client-options}``, ``{common-inputs}``, ``{recovery-table}`` and ``{error-tree}`` generate the
list or table of that name.
"""

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from client_options import client_options
from docutils import nodes
from kind_page import common_inputs, kind_page, kinds_table, recovery_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from a2e_async import A2E, errors
from a2e_async.kinds import kind_named, kind_names
from a2e_async.kinds.table import KIND_TABLE

# Creating a client does no I/O. It is used only to look up the classes of the namespaces.
CLIENT = A2E("not-a-key")


class Written(SphinxDirective):
    """A directive that inserts the Markdown returned by `text`, including its sections."""

    def text(self) -> str:
        """Return the Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)


class KindPage(Written):
    """The generated part of a kind's page."""

    required_arguments = 1

    def text(self) -> str:
        kind = kind_named(self.arguments[0])
        namespace = type(CLIENT.kind(kind.name))
        module = importlib.import_module(f"a2e_async.kinds.{kind.name}")
        name = f"{module.__name__}.{namespace.__name__}"
        own = namespace.__module__ == module.__name__  # shared bases are documented elsewhere
        more = [_auto("method", f"{name}.{method}") for method in _methods(namespace) if own]
        parts = [kind_page(kind)]
        if more:
            parts += ["## More methods", *more]
        return "\n\n".join(parts + _values(module, kind.input, kind.record, namespace))


class NamespacePage(Written):
    """The methods of a namespace that starts no tasks, and the classes of their values.

    Method names after the namespace's name restrict the page to these methods.
    """

    required_arguments = 1
    optional_arguments = 1
    final_argument_whitespace = True

    def text(self) -> str:
        name, *methods = self.arguments
        namespace = type(getattr(CLIENT, name))
        module = importlib.import_module(namespace.__module__)
        # Users never create one, so no signature is shown.
        shown = f"{module.__name__}.{namespace.__name__}()"
        members = ", ".join(" ".join(methods).split())
        parts = ["## Methods", _auto("class", shown, f":members: {members}")]
        return "\n\n".join(parts + _values(module, namespace))


class Kinds(Written):
    """A table of the kinds of a topic; adds their pages to the toctree."""

    required_arguments = 1
    final_argument_whitespace = True

    def text(self) -> str:
        names = KIND_TABLE[self.arguments[0]]
        pages = "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```"
        return f"{kinds_table([kind_named(name) for name in names])}\n\n{pages}"


class ClientOptions(Written):
    """The options of `A2E`."""

    def text(self) -> str:
        return client_options()


class CommonInputs(Written):
    """The inputs that every kind takes."""

    def text(self) -> str:
        return common_inputs()


class RecoveryTable(Written):
    """How lost starts are recovered, for every kind."""

    def text(self) -> str:
        return recovery_table([kind_named(name) for name in kind_names()])


class ErrorTree(Written):
    """The tree of exceptions, each with the first sentence of its documentation."""

    def text(self) -> str:
        return "\n".join(_branch(errors.A2EError, 0))


def _branch(cls: type[errors.A2EError], depth: int) -> Iterator[str]:
    first = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    yield f"{'  ' * depth}- {{py:class}}`~a2e_async.errors.{cls.__name__}`: {first}"
    # Exceptions of other modules are internal.
    public = [below for below in cls.__subclasses__() if below.__name__ in errors.__all__]
    for below in sorted(public, key=lambda c: errors.__all__.index(c.__name__)):
        yield from _branch(below, depth + 1)


def _auto(what: str, name: str, *options: str) -> str:
    shown = "\n".join(f"   {option}" for option in options)
    return f"```{{eval-rst}}\n.. auto{what}:: {name}\n{shown}\n```"


def _methods(cls: type[Any]) -> list[str]:
    return [n for n, v in vars(cls).items() if not n.startswith("_") and callable(v)]


def _values(module: ModuleType, *shown: Any) -> list[str]:
    """Return the section on the other classes of a module: parameters and return values."""
    values = [
        _auto("class", f"{module.__name__}.{name}", *_members(value))
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
        if value not in shown
    ]
    return ["## Values", *values] if values else []


def _members(cls: type[Any]) -> tuple[str, ...]:
    # A TypedDict's signature does not show its keys.
    return (":members:", ":undoc-members:") if hasattr(cls, "__total__") else (":members:",)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    directives: dict[str, type[SphinxDirective]] = {
        "kind": KindPage,
        "namespace": NamespacePage,
        "kinds": Kinds,
        "client-options": ClientOptions,
        "common-inputs": CommonInputs,
        "recovery-table": RecoveryTable,
        "error-tree": ErrorTree,
    }
    for name, directive in directives.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}

"""Sphinx directives that write the reference from the declarations of the package.

``{kind} dubbing`` writes a kind's page, ``{namespace} voices`` that of another namespace,
``{kinds}`` (with names as its content) a table and the pages below it, ``{common-inputs}``,
``{recovery-table}`` and ``{error-tree}`` what their names say.
"""

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docutils import nodes
from kind_page import common_inputs, kind_page, kinds_table, recovery_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from a2e_async import A2E, errors
from a2e_async.resources.registry import kind_named, kind_names

# Making a client does no I/O; it is asked only for its namespaces' classes.
CLIENT = A2E("not-a-key")


class Written(SphinxDirective):
    """A directive whose content is Markdown made by `text`, sections and all."""

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
        module = importlib.import_module(f"a2e_async.resources.{kind.name}")
        name = f"{module.__name__}.{namespace.__name__}"
        own = namespace.__module__ == module.__name__  # Renamable and the like have their page
        more = [_auto("method", f"{name}.{method}") for method in _methods(namespace) if own]
        parts = [kind_page(kind)]
        if more:
            parts += ["## More methods", *more]
        return "\n\n".join(parts + _values(module, kind.input, kind.record, namespace))


class NamespacePage(Written):
    """The methods of a namespace that starts no tasks, and the values they take and give.

    The names of methods after the namespace's keep the others out, which serve the package.
    """

    required_arguments = 1
    optional_arguments = 1
    final_argument_whitespace = True

    def text(self) -> str:
        name, *methods = self.arguments
        namespace = type(getattr(CLIENT, name))
        module = importlib.import_module(namespace.__module__)
        # Nobody makes one by hand, so there is no signature to show.
        shown = f"{module.__name__}.{namespace.__name__}()"
        members = ", ".join(" ".join(methods).split())
        parts = ["## Methods", _auto("class", shown, f":members: {members}")]
        return "\n\n".join(parts + _values(module, namespace))


class Kinds(Written):
    """A table of the kinds named in the content, whose pages are put below this one."""

    has_content = True

    def text(self) -> str:
        names = " ".join(self.content).split()
        pages = "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```"
        return f"{kinds_table([kind_named(name) for name in names])}\n\n{pages}"


class CommonInputs(Written):
    """The inputs that every kind takes."""

    def text(self) -> str:
        return common_inputs()


class RecoveryTable(Written):
    """How far the search for a lost start reaches, for every kind."""

    def text(self) -> str:
        return recovery_table([kind_named(name) for name in kind_names()])


class ErrorTree(Written):
    """The tree of exceptions, each with the first sentence of its documentation."""

    def text(self) -> str:
        return "\n".join(_branch(errors.A2EError, 0))


def _branch(cls: type[errors.A2EError], depth: int) -> Iterator[str]:
    first = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    yield f"{'  ' * depth}- {{py:class}}`~a2e_async.errors.{cls.__name__}`: {first}"
    # Those of other modules never reach a user.
    public = [below for below in cls.__subclasses__() if below.__name__ in errors.__all__]
    for below in sorted(public, key=lambda c: errors.__all__.index(c.__name__)):
        yield from _branch(below, depth + 1)


def _auto(what: str, name: str, *options: str) -> str:
    shown = "\n".join(f"   {option}" for option in options)
    return f"```{{eval-rst}}\n.. auto{what}:: {name}\n{shown}\n```"


def _methods(cls: type[Any]) -> list[str]:
    return [n for n, v in vars(cls).items() if not n.startswith("_") and callable(v)]


def _values(module: ModuleType, *shown: Any) -> list[str]:
    """Return the part on the other classes of a module, which its methods take and give."""
    values = [
        _auto("class", f"{module.__name__}.{name}", *_members(value))
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
        if value not in shown
    ]
    return ["## Values", *values] if values else []


def _members(cls: type[Any]) -> tuple[str, ...]:
    # The keys of a TypedDict have no place in a signature.
    return (":members:", ":undoc-members:") if hasattr(cls, "__total__") else (":members:",)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    directives: dict[str, type[SphinxDirective]] = {
        "kind": KindPage,
        "namespace": NamespacePage,
        "kinds": Kinds,
        "common-inputs": CommonInputs,
        "recovery-table": RecoveryTable,
        "error-tree": ErrorTree,
    }
    for name, directive in directives.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}

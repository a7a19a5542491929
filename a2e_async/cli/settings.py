"""The flags that commands share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from a2e_async.resources.registry import kind_names

COMMON = Group("Common", sort_key=100)


def _as_given(_: Any, tokens: Sequence[Any]) -> str:
    """Return the word itself: `kind_named` says best what is wrong with one."""
    value: str = tokens[0].value
    return value


_as_kind = Parameter(
    help="A kind of task; a2e kinds names them.", converter=_as_given, show_choices=False
)
if TYPE_CHECKING:
    KindName = Annotated[str, _as_kind]
else:
    # The names are what a shell can complete. Any text, lest pydantic, where a program has loaded
    # it, tells of a wrong one before `kind_named` does.
    KindName = Annotated[Literal[kind_names()] | str, _as_kind]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a command speaks."""

    json: Annotated[
        bool,
        Parameter(
            name="--json",
            negative="",
            show_default=False,
            group=COMMON,
            help="JSON on stdout, and nothing else there.",
        ),
    ] = False
    quiet: Annotated[
        bool,
        Parameter(
            name=("--quiet", "-q"),
            negative="",
            show_default=False,
            group=COMMON,
            help="Nothing on stderr but errors.",
        ),
    ] = False
    debug: Annotated[
        bool,
        Parameter(
            name="--debug",
            negative="",
            show_default=False,
            group=COMMON,
            help="Tracebacks and the log, on stderr.",
        ),
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Online(Settings):
    """How a command speaks, and with whom."""

    base_url: Annotated[
        str | None,
        Parameter(
            name="--base-url",
            group=COMMON,
            help="The service's address; otherwise A2E_BASE_URL, else the public one.",
        ),
    ] = None
    api_key_env: Annotated[
        str,
        Parameter(
            name="--api-key-env",
            group=COMMON,
            help="The environment variable that holds the API key.",
        ),
    ] = "A2E_API_KEY"


SWITCHES = frozenset({"--json", "--quiet", "-q", "--debug"})
VALUES = frozenset({"--base-url", "--api-key-env"})


def common_last(tokens: list[str]) -> list[str]:
    """Return the words with shared flags that stand before the command moved to the end."""
    moved: list[str] = []
    rest = list(tokens)
    while rest:
        name, equals, _ = rest[0].partition("=")
        if rest[0] in SWITCHES or (equals and name in VALUES):
            count = 1
        elif name in VALUES and len(rest) > 1:
            count = 2
        else:
            break
        moved, rest = moved + rest[:count], rest[count:]
    if not rest:
        return moved
    end = rest.index("--") if "--" in rest else len(rest)
    return rest[:end] + moved + rest[end:]

"""The flags that several commands share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from a2e_async.cli.known_kinds import declared_name, readable_kind_names

COMMON = Group("Common", sort_key=100)


def _unconverted(_: Any, tokens: Sequence[Any]) -> str:
    """Return the word: `kind_named` has the better message for an unknown kind."""
    value: str = tokens[0].value
    return declared_name(value)


def _declared_ref(_: Any, tokens: Sequence[Any]) -> str:
    kind, colon, ids = tokens[0].value.partition(":")
    return f"{declared_name(kind)}{colon}{ids}"


Ref = Annotated[
    str,
    Parameter(
        help="The task's ref, as a2e start prints it: dubbing:66ea4dd8….",
        converter=_declared_ref,
    ),
]


_as_kind = Parameter(
    help="A kind of task; a2e kinds lists them.", converter=_unconverted, show_choices=False
)
if TYPE_CHECKING:
    KindName = Annotated[str, _as_kind]
else:
    # The literals are what a shell completes. Any other text is accepted, so that `kind_named`
    # reports it: cyclopts would let pydantic, if a program has imported it, reject it first.
    KindName = Annotated[Literal[readable_kind_names()] | str, _as_kind]


def switch(
    help: str,  # noqa: A002  # the word of cyclopts
    *,
    name: str | Sequence[str] | None = None,
    group: Group | None = None,
) -> Parameter:
    """Return the declaration of a flag that takes no value and is off by default."""
    declared = Parameter(name=name, negative="", show_default=False, help=help)
    # None as the group would hide the flag from the help.
    return declared if group is None else Parameter.combine(declared, Parameter(group=group))


Force = Annotated[bool, switch("Overwrite the file that --out names, if it exists.")]

Yes = Annotated[bool, switch("Do not ask for confirmation.", name=("--yes", "-y"))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """The flags of every command: how it prints."""

    json: Annotated[
        bool,
        switch("Print JSON to stdout, and nothing else.", name="--json", group=COMMON),
    ] = False
    quiet: Annotated[
        bool,
        switch("Print only errors to stderr.", name=("--quiet", "-q"), group=COMMON),
    ] = False
    debug: Annotated[
        bool,
        switch("Print tracebacks and the log to stderr.", name="--debug", group=COMMON),
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServiceFlags(OutputFlags):
    """The flags of commands that call the service: how to print, and which service and key."""

    base_url: Annotated[
        str | None,
        Parameter(
            name="--base-url",
            group=COMMON,
            help="URL of the service; default: A2E_BASE_URL, or else the public service.",
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

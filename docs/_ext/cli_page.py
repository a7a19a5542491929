"""The generated parts of the command line's page, in Markdown. Needs no Sphinx."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from a2e_async.cli import exit_codes
from a2e_async.cli.app import COMMANDS, START_COMMANDS, build
from a2e_async.cli.common_flags import COMMON, OutputFlags, ServiceFlags
from a2e_async.cli.input_flags import INPUTS, flags_of
from a2e_async.kinds import kind_named, kind_names

PER_KIND: Final = ("start", "run", "quote")
"""Commands with one subcommand per kind; their pages show one table for all kinds."""

UNITS: Final[Mapping[str, str]] = {
    "--budget": "coins",
    "--coins": "coins",
    "--unknown-cost": "coins",
    "--timeout": "s",
    "--speed": "times real time",
    "--speech-rate": "times normal speed",
}
"""The units of flags with a quantity."""

TYPES: Final[Mapping[str, str]] = {"KIND": "a kind", "--kind": "a kind", "--older-than": "duration"}
"""The types of texts with a fixed form."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    "A2E_API_KEY": "API key. `--api-key-env` names another variable. Required by every command "
    "that calls the service.",
    "A2E_BASE_URL": "URL of the service. `--base-url` overrides it. Default: the public service.",
    "A2E_ACCOUNT": "Your name for the account in a journal, so that its entries stay the "
    "account's own after the key has changed. Default: a digest of the key.",
    "A2E_KINDS": "Path of a TOML file that declares kinds of your own; see "
    "[Use a model that the package does not know](how-to/own-kinds.md).",
    "A2E_WEBHOOK_SECRET": "Secret of the webhook tokens, for `a2e webhook listen`.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "Proxy for the service, and hosts without one. "
    "`a2e doctor` prints the one in use.",
    "NO_COLOR, TERM": "`NO_COLOR` turns colours off; `TERM=dumb` turns off everything that moves "
    "the cursor.",
}
"""The environment variables that the commands read."""


def commands() -> Iterator[str]:
    """Yield the words of every command, such as ``journal list``; the kinds count once."""
    yield from _commands(_command_line(), "")


def command(words: str) -> str:
    """Return what a command does, its usage, and a table of its arguments and flags."""
    app = _app(words)
    own = [a for a in _arguments(app) if not _in(a, COMMON) and not _in(a, INPUTS)]
    positional = [a for a in own if a.index is not None]
    flags = [a for a in own if a.index is None]
    parts = [_description(words), f"```text\n{_usage(words, positional, flags)}\n```"]
    rows = [_row(a) for a in (*positional, *flags)]
    if words in PER_KIND:
        rows.insert(0, ("`KIND`", "a kind", "required", "A kind of task; `a2e kinds` lists them."))
    if rows:
        parts.append(_table(("argument or flag", "type", "default", "meaning"), rows))
    if words in PER_KIND:
        parts.append(
            "The kind's inputs are flags, too: see [flags of each kind](#flags-of-each-kind)."
        )
    parts.append(_common_note(app))
    return "\n\n".join(part for part in parts if part)


def common_flags() -> str:
    """Return the table of the flags that commands share."""
    app = _app("credits")
    rows = [_row(a) for a in _arguments(app) if _in(a, COMMON)]
    rows += [
        ("`--help`, `-h`", "switch", "", "Print a command's arguments, flags and exit codes."),
        ("`--version`", "switch", "", "Print the version of the package."),
    ]
    return _table(("flag", "type", "default", "meaning"), rows)


def kind_flags() -> str:
    """Return the table of each kind's input flags, required ones in bold."""
    rows = (
        (
            f"[{name}](reference/{name}.md)",
            ", ".join(
                f"**`{flag.flag}`**" if flag.required else f"`{flag.flag}`"
                for flag in flags_of(kind_named(name))
            ),
        )
        for name in kind_names()
    )
    return _table(("kind", "flags (required ones in bold)"), rows)


def exit_code_table() -> str:
    """Return the table of exit codes."""
    rows = ((f"`{code}`", meaning) for code, meaning in exit_codes.MEANINGS.items())
    return _table(("exit code", "meaning"), rows)


def environment() -> str:
    """Return the table of environment variables."""
    rows = (
        (", ".join(f"`{name}`" for name in names.split(", ")), meaning)
        for names, meaning in ENVIRONMENT.items()
    )
    return _table(("variable", "meaning"), rows)


# -- inside --------------------------------------------------------------------------------------


def _commands(app: Any, before: str) -> Iterator[str]:
    for name in app:
        if name.startswith("-"):
            continue
        words = f"{before} {name}".strip()
        if words in PER_KIND or app[name].default_command is not None:
            yield words
        else:
            yield from _commands(app[name], words)


def _app(words: str) -> Any:
    app = _group(words)
    # All kinds have the same flags besides their inputs.
    return app[kind_names()[0]] if words in PER_KIND else app


def _group(words: str) -> Any:
    app = _command_line()
    for word in words.split():
        app = app[word]
    return app


@cache
def _command_line() -> Any:
    return build([*START_COMMANDS, *COMMANDS])


def _arguments(app: Any) -> list[Any]:
    found = app.assemble_argument_collection(parse_docstring=False)
    return [a for a in found if a.names != ("*",)]


def _in(argument: Any, group: Any) -> bool:
    return any(one is group or one.name == group.name for one in argument.parameter.group)


def _description(words: str) -> str:
    return _markdown(inspect.cleandoc(_group(words).help or ""))


def _usage(words: str, positional: Sequence[Any], flags: Sequence[Any]) -> str:
    parts = ["a2e", words]
    parts += ["KIND", "[INPUTS]"] if words in PER_KIND else []
    parts += [a.name if a.required else f"[{a.name}]" for a in positional]
    parts += [f"{a.name} {_placeholder(a)}" for a in flags if a.required]
    return " ".join([*parts, "[FLAGS]"])


def _placeholder(argument: Any) -> str:
    return argument.name.lstrip("-").upper()


def _row(argument: Any) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}`" for name in argument.names)
    return names, _type(argument), _default(argument), _markdown(argument.parameter.help or "")


def _type(argument: Any) -> str:
    if argument.name in TYPES:
        return TYPES[argument.name]
    choices = argument.get_choices()
    if choices and argument.parameter.show_choices is not False:
        return " or ".join(f"`{choice}`" for choice in choices)
    names = {bool: "switch", int: "whole number", float: "number", Path: "path"}
    single = next((names[p] for p in _members(argument.hint) if p in names), "text")
    return ", ".join(part for part in (single, UNITS.get(argument.name), _bounds(argument)) if part)


def _bounds(argument: Any) -> str:
    """Return the bounds that the command line itself checks."""
    for validator in argument.parameter.validator:
        low, high = getattr(validator, "gte", None), getattr(validator, "lte", None)
        if low is not None and high is not None:
            return f"{low} to {high}"
        if low is not None:
            return f"at least {low}"
        if high is not None:
            return f"at most {high}"
    return ""


def _members(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [p for member in get_args(hint) if member is not NoneType for p in _members(member)]
    return [str] if get_origin(hint) is Literal else [hint]


def _default(argument: Any) -> str:
    if argument.required:
        return "required"
    default = argument.field_info.default
    if default is None or isinstance(default, bool):
        return ""
    return f"`{default}`"


def _common_note(app: Any) -> str:
    names = {a.name for a in _arguments(app) if _in(a, COMMON)}
    if not names:
        return ""
    all_of_them = {*_names(ServiceFlags)} <= names
    some = "" if all_of_them else ", without `--base-url` and `--api-key-env`"
    return f"Also takes the [common flags](#common-flags){some}."


def _names(cls: type[OutputFlags]) -> Iterator[str]:
    for name in cls.__dataclass_fields__:
        yield f"--{name.replace('_', '-')}"


def _markdown(text: str) -> str:
    """Return a help text as Markdown: flags, variables and commands as code, the rest escaped."""
    text = re.sub(r'(\{"kind".*?\}\})', r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    for i in range(0, len(parts), 2):
        part = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*|A2E_[A-Z_]+)", r"`\1`", parts[i])
        part = re.sub(rf"\b(a2e (?:{_command_pattern()})(?: voice_clone| KIND)?)\b", r"`\1`", part)
        parts[i] = part.replace("<", r"\<").replace("*", r"\*")
    return "".join(parts)


@cache
def _command_pattern() -> str:
    names = {*commands(), *(words.split()[0] for words in commands())}
    return "|".join(sorted(names, key=len, reverse=True))


def _table(head: Sequence[str], rows: "Iterator[Sequence[str]] | Sequence[Sequence[str]]") -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines
    )

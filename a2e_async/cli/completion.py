"""``completion``: scripts that ask the command itself what can follow the words typed so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.known_kinds import declared_name, kind_named, readable_kind_names
from a2e_async.cli.printer import Printer
from a2e_async.errors import A2EError

if TYPE_CHECKING:
    from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]

FILES: Final = ":files"
"""What `candidates` returns where a path is expected: the shell completes it."""

_BASH: Final = """\
_a2e() {
  local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=($(a2e _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ "${COMPREPLY[0]-}" == ":files" ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -F _a2e a2e"""

# zsh loads the file at the first completion, which it must then answer, or the user sources it.
_ZSH: Final = """\
#compdef a2e
_a2e() {
  local -a found
  found=("${(@f)$(a2e _complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "$found[1]" == ":files" ]]; then _files; else compadd -a found; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _a2e "$@"; else compdef _a2e a2e; fi"""

_FISH: Final = """\
function __a2e_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (a2e _complete $words[2..-1] 2>/dev/null)
  if test "$found[1]" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c a2e -f -a '(__a2e_complete)'"""

_SCRIPTS: Final[dict[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

HELP: Final = """Print the script that completes commands, kinds and flags in a shell.

Save it where the shell loads completions from:

bash: a2e completion bash > ~/.local/share/bash-completion/completions/a2e

zsh: a2e completion zsh > _a2e, in a directory of $fpath

fish: a2e completion fish > ~/.config/fish/completions/a2e.fish
"""


def completion(shell: Annotated[Shell, Parameter(help="The shell.")], /) -> int:
    """Print the script that completes the command in a shell."""
    printer = Printer()
    printer.out(_SCRIPTS[shell])
    return printer.exit_code(exit_codes.OK)


def complete(words: Sequence[str]) -> int:
    """Print what can replace the last word, one candidate on a line, for the scripts."""
    *before, word = words or ("",)
    printer = Printer()
    try:
        found = candidates(before, word)
    except A2EError:  # such as a broken file of A2E_KINDS, which the command itself reports
        return exit_codes.USAGE
    for candidate in found:
        if candidate == FILES or candidate.startswith(word):
            printer.out(candidate)
    return printer.exit_code(exit_codes.OK)


def candidates(before: Sequence[str], word: str) -> Sequence[str]:
    """Return what can follow the words ``before``, also what does not begin with ``word``."""
    from a2e_async.cli.app import START_COMMANDS, build

    tokens = [declared_name(one) for one in before]
    if len(tokens) == 1 and tokens[0] in START_COMMANDS and not word.startswith("-"):
        return readable_kind_names()  # without the import of all kinds
    app, depth = build(tokens), 0
    for token in tokens:
        if token not in _commands(app):
            break
        app, depth = app[token], depth + 1
    if commands := _commands(app):
        return commands if depth == len(tokens) else ()
    arguments = app.assemble_argument_collection()
    named = {name: argument for argument in arguments for name in argument.names}
    last = named.get(tokens[-1]) if tokens else None
    if last is not None and last.hint is not bool:
        kind = tokens[1] if tokens[0] in START_COMMANDS else None
        return _values(tokens[-1], last.hint, kind)
    if word.startswith("-"):
        return [name for name in named if name.startswith("--")]
    positional = [one for one in arguments if not any(n.startswith("-") for n in one.names)]
    given = len(tokens) - depth
    return _values("", positional[given].hint, None) if given < len(positional) else (FILES,)


def _commands(app: "App") -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _values(flag: str, hint: Any, kind: str | None) -> Sequence[str]:
    """Return the values of a flag or a positional argument."""
    if kind is not None:
        from a2e_async.cli.input_flags import flags_of

        for declared in flags_of(kind_named(kind)):
            if declared.flag == flag:
                return (FILES,) if declared.media else [str(one) for one in declared.choices]
    parts = [part for one in (hint, *get_args(hint)) for part in (one, *get_args(one))]
    choices = [str(c) for part in parts if get_origin(part) is Literal for c in get_args(part)]
    return choices or ((FILES,) if Path in parts else ())

"""``completion``: the scripts that complete the command in a shell."""

from typing import Annotated, Final, Literal

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.printer import Printer

Shell = Literal["bash", "zsh", "fish"]

# zsh loads the file at the first completion, which it must then answer, or the user sources it.
_ZSH_END: Final = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _cyclopts_a2e "$@"
else
  compdef _cyclopts_a2e a2e
fi"""

HELP: Final = """Print the script that completes commands, kinds and flags in a shell.

Save it where the shell loads completions from. Save it again after an update:

bash: a2e completion bash > ~/.local/share/bash-completion/completions/a2e

zsh: a2e completion zsh > _a2e, in a directory of $fpath

fish: a2e completion fish > ~/.config/fish/completions/a2e.fish
"""


def completion(shell: Annotated[Shell, Parameter(help="The shell.")], /) -> int:
    """Print the script that completes the command in a shell."""
    from a2e_async.cli.app import build

    script = build(for_completion=True).generate_completion(prog_name="a2e", shell=shell)
    Printer().out(script.rstrip() + (_ZSH_END if shell == "zsh" else ""))
    return exit_codes.OK

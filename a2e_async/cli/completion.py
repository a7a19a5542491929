"""``completion``: what makes a shell complete the command."""

from typing import Annotated, Final, Literal

from cyclopts import Parameter

from a2e_async.cli import exits
from a2e_async.cli.printer import Printer

Shell = Literal["bash", "zsh", "fish"]

# zsh reads the file when it completes for the first time (and must be answered at once), or is
# told to source it.
_ZSH_END: Final = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _cyclopts_a2e "$@"
else
  compdef _cyclopts_a2e a2e
fi"""

HELP: Final = """Print the script that makes a shell complete commands, kinds and flags.

Save it where the shell looks for it, and again after an update:

bash: a2e completion bash > ~/.local/share/bash-completion/completions/a2e

zsh: a2e completion zsh > _a2e, in a directory of $fpath

fish: a2e completion fish > ~/.config/fish/completions/a2e.fish
"""


def completion(shell: Annotated[Shell, Parameter(help="For which shell.")], /) -> int:
    """Print the script that makes a shell complete the command."""
    from a2e_async.cli.app import build

    script = build(offering=True).generate_completion(prog_name="a2e", shell=shell)
    Printer().out(script.rstrip() + (_ZSH_END if shell == "zsh" else ""))
    return exits.OK

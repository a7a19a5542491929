"""The command line's page names every command, flag, exit code and variable."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.app import COMMANDS, START_COMMANDS, build
from a2e_async.cli.flag_order import SWITCH_NAMES, VALUE_FLAG_NAMES
from a2e_async.kinds.registry import kind_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/cli.md").read_text()


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The module of the documentation's build that reads the commands; it needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("cli_page", ROOT / "docs/_ext/cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections() -> dict[str, str]:
    """Return the text below each command's heading."""
    found = re.split(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    return {
        head.removeprefix("a2e "): text
        for head, text in zip(found[1::2], found[2::2], strict=True)
        if head.startswith("a2e ")
    }


def test_every_command_has_a_section_with_an_example(writer: ModuleType) -> None:
    """Each has its generated part, and an example that calls it."""
    assert set(sections()) == set(writer.commands())
    for words, text in sections().items():
        assert f"```{{command}} {words}\n" in text
        examples = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        assert any(f"a2e {words}" in example for example in examples), words


def test_every_flag_is_on_the_page(writer: ModuleType) -> None:
    """Read from the commands themselves, those of every kind included."""
    common, line = {*SWITCH_NAMES, *VALUE_FLAG_NAMES}, build([*START_COMMANDS, *COMMANDS])
    rows = {row.split("]")[0].removeprefix("| ["): row for row in writer.kind_flags().splitlines()}
    assert all(f"`{flag}`" in writer.common_flags() for flag in common)
    for words in writer.commands():
        text = writer.command(words)
        app = line
        for word in words.split():
            app = app[word]
        kinds = kind_names() if words in writer.PER_KIND else (None,)
        for kind in kinds:
            called = app[kind] if kind else app
            row = rows[kind] if kind else ""
            for argument in called.assemble_argument_collection(parse_docstring=False):
                for name in set(argument.names) - common - {"*"}:
                    assert f"`{name}`" in text + row or name.startswith("--no-"), (words, name)


def test_types_defaults_and_units_are_shown(writer: ModuleType) -> None:
    text = writer.command("batch")
    assert "| `--limit` | whole number | `10` |" in text
    assert "| `--budget` | whole number, coins |" in text
    assert "| `FILE` | path | required |" in text
    assert "| `--on-unknown` | `raise` or `resend-may-pay-twice` | `raise` |" in text
    assert "| `--timeout` | number, s |" in writer.command("run")
    assert "whole number, 0 to 65535 | `8765`" in writer.command("webhook listen")
    assert "a2e journal settle JOURNAL KEY --as AS [FLAGS]" in writer.command("journal settle")
    assert "(#common-flags), without" in writer.command("kinds")


def test_exit_codes_and_variables(writer: ModuleType) -> None:
    """All exit codes, and every variable that the package's own code reads for its users."""
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"| `{code}` | {meaning} |" in writer.exit_code_table()
    sources = "\n".join(path.read_text() for path in (ROOT / "a2e_async").rglob("*.py"))
    variables = set(re.findall(r"\bA2E_[A-Z_]+\b", sources)) - {"A2E_DEMO_FAULTS"}
    for variable in variables:
        assert f"`{variable}`" in writer.environment(), variable
    for directive in ("exit-codes", "environment", "common-flags", "kind-flags"):
        assert f"```{{{directive}}}\n```" in PAGE


def test_what_a_reader_searches_for() -> None:
    """Sphinx's search finds titles first."""
    titles = " ".join(re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)).lower()
    for words in ("cli", "command line", "exit code", "environment variable"):
        assert words in titles
    assert "\ncli\n" in (ROOT / "docs/index.md").read_text()

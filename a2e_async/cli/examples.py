"""The example that ends each command's help; docs/cli.md runs them, too."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from a2e_async.cli import exit_codes

if TYPE_CHECKING:
    from cyclopts import App

    from a2e_async.cli.input_flags import InputFlag

EXAMPLES: Final[Mapping[str, str]] = {
    "demo": "a2e demo --jobs 3 --out demo --speed 200",
    "sandbox": "a2e sandbox --port 8080 --speed 60",
    "start": "a2e start dubbing --source-url talk.wav --target-lang es",
    "run": "a2e run dubbing --source-url talk.wav --target-lang es --out talk-es.mp3",
    "quote": "a2e quote dubbing --source-url talk.wav --target-lang es",
    "speak-video": 'a2e speak-video "Good morning." --avatar "$avatar" --voice "$voice" '
    "--out morning.mp4",
    "dub-video": "a2e dub-video clip.mp4 --target-lang es --out clip-es.mp4 --journal jobs.db "
    "--key clip-es",
    "batch": "a2e batch jobs.jsonl --out out/ --journal jobs.db --report report.jsonl",
    "journal list": "a2e journal list jobs.db --all",
    "journal show": "a2e journal show jobs.db talk-es",
    "journal resume": "a2e journal resume jobs.db --out out/",
    "journal settle": "a2e journal settle jobs.db talk-es --as unpaid",
    "journal prune": "a2e journal prune jobs.db --older-than 30d --yes",
    "journal accounts": "a2e journal accounts jobs.db",
    "journal adopt": "a2e journal adopt jobs.db --from key:1f0c8a52d7e94b36",
    "journal page": "a2e journal page jobs.db --out out/",
    "journal export": "a2e journal export jobs.db > starts.jsonl",
    "webhook listen": "A2E_WEBHOOK_SECRET=... a2e webhook listen --port 8765",
    "task show": 'a2e task show "$ref"',
    "task wait": 'a2e task wait "$ref" --timeout 600',
    "task download": 'a2e task download "$ref" --out out/',
    "task rename": 'a2e task rename "$made" greeting',
    "task delete": 'a2e task delete "$ref" --yes',
    "open": 'a2e open "$ref" --print',
    "list": "a2e list dubbing --page-size 50",
    "kinds": "a2e kinds dubbing",
    "say": 'a2e say "Good day." --voice "$voice" --out hello.wav',
    "voices": "a2e voices --country en",
    "avatars": "a2e avatars",
    "backgrounds": "a2e backgrounds",
    "credits": "a2e credits --history",
    "mcp": "a2e mcp --budget 500 --out results",
    "doctor": "a2e doctor",
    "verify": "a2e verify",
    "completion": "a2e completion bash > a2e-completion.bash",
    "version": "a2e version",
}
"""By the words of the command."""


def epilogue(example: str | None) -> str:
    """Return the end of a command's help."""
    return f"Example: {example}\n\n{exit_codes.LINE}" if example else exit_codes.LINE


def add_examples(app: "App", words: str) -> None:
    """Add the examples of a command, or of each of its own commands."""
    app.help_epilogue = epilogue(EXAMPLES.get(words))
    for name in app:
        if not name.startswith("-"):
            add_examples(app[name], f"{words} {name}")


def kind_example(verb: str, kind: str, flags: Sequence["InputFlag"]) -> str:
    """Return a command that gives a kind's required inputs."""
    from a2e_async.cli.input_flags import ANY_INPUT

    given = [f"{flag.flag} {_EXAMPLE_VALUES.get(flag.name, _value(flag))}" for flag in flags]
    required = [text for text, flag in zip(given, flags, strict=True) if flag.required]
    if any(flag.name == ANY_INPUT for flag in flags):
        required.append(f"--{ANY_INPUT} prompt=dawn")
    return " ".join(["a2e", verb, kind, *required])


_EXAMPLE_VALUES: Final = {"target_lang": "es", "name": "greeting"}

_FILES: Final = {"image": "portrait.png", "video": "clip.mp4", "audio": "talk.wav"}


def _value(flag: "InputFlag") -> str:
    if flag.media:
        return _FILES.get(flag.media[0], "file.bin")
    if flag.choices:
        return str(flag.choices[0])
    if flag.is_json:
        return "@file.json"
    return "5" if flag.type in (int, float) else '"..."'

"""Rewrites words before they are parsed, such as common flags that precede the command."""

SWITCH_NAMES = frozenset({"--json", "--quiet", "-q", "--debug"})
VALUE_FLAG_NAMES = frozenset({"--base-url", "--api-key-env"})


def move_common_flags_last(tokens: list[str]) -> list[str]:
    """Return the words with common flags that precede the command moved to the end."""
    moved: list[str] = []
    rest = list(tokens)
    while rest:
        name, equals, _ = rest[0].partition("=")
        if rest[0] in SWITCH_NAMES or (equals and name in VALUE_FLAG_NAMES):
            count = 1
        elif name in VALUE_FLAG_NAMES and len(rest) > 1:
            count = 2
        else:
            break
        moved, rest = moved + rest[:count], rest[count:]
    if not rest:
        return moved
    end = rest.index("--") if "--" in rest else len(rest)
    return rest[:end] + moved + rest[end:]


def name_stdin(tokens: list[str]) -> list[str]:
    """Return the words with ``-`` as the file of ``batch`` by its name; it is no flag."""
    batch = tokens[:1] == ["batch"]
    return ["/dev/stdin" if batch and word == "-" else word for word in tokens]


def name_kind(tokens: list[str]) -> list[str]:
    """Return the words with the kind of ``start``, ``run`` and ``quote`` as it is declared."""
    if len(tokens) < 2 or tokens[0] not in ("start", "run", "quote") or "-" not in tokens[1][1:]:
        return tokens
    from a2e_async.cli.known_kinds import declared_name

    return [tokens[0], declared_name(tokens[1]), *tokens[2:]]

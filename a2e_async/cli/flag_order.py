"""The order of flags: the common ones may stand before the command."""

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

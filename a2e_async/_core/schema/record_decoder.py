"""Decode the fields of a record class from JSON, with a strict cattrs converter (pure).

A field of an unexpected type does not fail the whole record, which may describe a paid result: the
field becomes None and its value is kept in ``extra``.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, frozen

from a2e_async._core.typeguards import is_list
from a2e_async.models import NumericString, Record, WireName

if TYPE_CHECKING:
    from cattrs import Converter

_MAX_EXACT: Final = 2**53
"""Integers below it convert to float without loss."""

BASE_FIELDS: Final = frozenset(a.name for a in fields(Record))
"""Fields of every record; they are decoded by the kind's field map, not by name."""


def _strict_hook(kind: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")

    return hook


def _strict_float(value: Any, _: Any) -> float:
    # NaN differs from itself: a record containing it would seem to change with every poll.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise TypeError(f"expected a number, got {type(value).__name__}")


def _strict_int(value: Any, _: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"expected int, got {type(value).__name__}")


def parse_time(value: Any, _: Any = None) -> datetime:
    """Return an aware datetime from ISO text, epoch seconds or epoch milliseconds."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) > 8:
        value = int(value)  # fromisoformat would parse "1712101512345" as a date in 1712
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    raise TypeError(f"expected a time, got {type(value).__name__}")


@cache
def converter() -> "Converter":
    """Return the shared cattrs converter: strict primitives, aware datetimes, no coercion.

    Created on first use: importing cattrs takes a quarter of this package's import time.
    """
    from cattrs import Converter

    made = Converter(detailed_validation=False)
    made.register_structure_hook(str, _strict_hook(str))
    made.register_structure_hook(bool, _strict_hook(bool))
    made.register_structure_hook(float, _strict_float)
    made.register_structure_hook(int, _strict_int)
    made.register_structure_hook(datetime, parse_time)
    made.register_structure_hook_func(lambda t: t is Any, lambda value, _: value)
    made.register_structure_hook_factory(_is_tuple, _tuple_hook)
    return made


def _is_tuple(target: Any) -> bool:
    origin: Any = get_origin(target)
    return origin is tuple


def _tuple_hook(target: Any) -> Callable[[Any, Any], Any]:
    inner = get_args(target)[0]
    hook = converter().get_structure_hook(inner)

    def read(value: Any, _: Any) -> tuple[Any, ...]:
        if not is_list(value):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        return tuple(hook(item, inner) for item in value)

    return read


def _accept_numeric_string(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a hook that also accepts a number in the form of a string."""

    def read(value: Any, target: Any) -> Any:
        return hook(float(value) if isinstance(value, str) else value, target)

    return read


_CONSTRUCTION_HOOKS: Final = frozenset(
    {
        "__attrs_init__",  # made by attrs beside a constructor of the class's own
        "__attrs_pre_init__",
        "__attrs_post_init__",
        "__getattr__",
        "__getattribute__",
        "__new__",
    }
)


def _constructor_can_wait(record: type[Record]) -> bool:
    """Return whether a class's constructor only sets fields, so that it can run later.

    Otherwise it might fail, or set other values than were decoded.
    """
    own = record.__mro__[: record.__mro__.index(Record)]
    return not any(
        _CONSTRUCTION_HOOKS.intersection(vars(cls))
        or ("__init__" in vars(cls) and "__attrs_attrs__" not in vars(cls))
        for cls in own
    ) and all(map(_is_plain_field, fields(record)))


def _is_plain_field(attribute: Any) -> bool:
    """Return whether setting a field to its decoded value, or to its default, cannot fail."""
    default = attribute.default
    return (
        attribute.init
        and attribute.validator is None
        and attribute.converter is None
        and (attribute.name in BASE_FIELDS or attribute.alias == attribute.name)
        and (attribute.name == "id" or default is not NOTHING)
        and not getattr(default, "takes_self", False)  # a factory that reads the other fields
    )


@frozen
class _Field:
    name: str
    wire: str
    also: tuple[str, ...]
    target: Any
    exact: type | None
    """Values of exactly this class need no hook: the fast path for most values."""
    number: bool
    """The field is a float, for which JSON may contain an integer."""
    hook: Callable[[Any, Any], Any]


@frozen(eq=False)
class RecordDecoder:
    """Decodes the fields that a record class adds to `Record`."""

    fields: tuple[_Field, ...]
    modelled_names: frozenset[str]
    """All JSON names of these fields."""
    known_names: frozenset[str]
    """These and the names in the kind's field map; all others go to ``extra``."""
    plain_fields: tuple[_Field, ...]
    aliased_fields: tuple[_Field, ...]
    """Fields with several JSON names, of which the first one present is used."""
    can_wait: bool
    """The class can be constructed later, when a field is read."""

    @classmethod
    def for_record(cls, record: type[Record], mapped_names: frozenset[str]) -> "RecordDecoder":
        """Return the decoder of a class; ``mapped_names``: JSON names in the kind's field map."""
        hints = get_type_hints(record, include_extras=True)
        made: list[_Field] = []
        for attribute in fields(record):
            if attribute.name in BASE_FIELDS:
                continue
            hint = hints[attribute.name]
            wire, notes = WireName(attribute.name), list[Any]()
            if get_origin(hint) is Annotated:
                hint, *notes = get_args(hint)
                wire = next((note for note in notes if isinstance(note, WireName)), wire)
            inner = [part for part in get_args(hint) or (hint,) if part is not NoneType]
            # None is handled before the hook, so the hook of `str | None` is that of `str`.
            target = inner[0] if len(inner) == 1 and get_origin(hint) is not tuple else hint
            exact = target if target in (str, int, bool) else None
            hook = converter().get_structure_hook(target)
            if any(isinstance(note, NumericString) for note in notes):
                hook = _accept_numeric_string(hook)
            made.append(
                _Field(
                    attribute.name, wire.name, wire.aliases, target, exact, target is float, hook
                )
            )
        named = frozenset(w for f in made for w in (f.wire, *f.also))
        single = tuple(f for f in made if not f.also)
        return cls(
            tuple(made),
            named,
            mapped_names | named,
            single,
            tuple(f for f in made if f.also),
            _constructor_can_wait(record),
        )

    def decode(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields by attribute name, and the remaining values by JSON name."""
        own: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        # Every poll decodes every record, mostly with cold caches: look up the few fields, do not
        # iterate over the many names in the response.
        for f in self.plain_fields:
            value: Any = raw.get(f.wire)
            if value.__class__ is f.exact:
                own[f.name] = value
            elif f.number and value.__class__ is int and -_MAX_EXACT < value < _MAX_EXACT:
                own[f.name] = float(value)
            elif value is not None:
                _decode_slowly(f, raw, own, extra)
        for f in self.aliased_fields:
            _decode_slowly(f, raw, own, extra)
        if not self.known_names.issuperset(raw):
            extra.update((wire, raw[wire]) for wire in raw if wire not in self.known_names)
        return own, extra


def _decode_slowly(
    f: _Field, raw: Mapping[str, Any], own: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Decode a field that needs its hook, has other names, or is of an unexpected type."""
    for wire in (f.wire, *f.also):
        value = raw.get(wire)
        if value is None:
            continue
        if f.name not in own:
            try:
                own[f.name] = f.hook(value, f.target)
                continue
            except (TypeError, ValueError, AttributeError, LookupError, OverflowError, OSError):
                pass
        extra[wire] = value

"""Decode the fields of a record class from JSON, with a function that cattrs generates (pure).

A field of an unexpected type does not fail the whole record, which may describe a paid result: the
field becomes None and its value is kept in ``extra``.
"""

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from attrs import NOTHING, Attribute, fields, fields_dict, frozen

from a2e_async._core.converter import UNREADABLE, Hook, converter
from a2e_async._core.redact import hide_signatures
from a2e_async.models import NumericString, Record, WireName

_CONTAINERS: Final = frozenset({str, tuple, list, dict})
"""Types of values that may contain a URL."""

BASE_FIELDS: Final = frozenset(a.name for a in fields(Record))
"""Fields of every record; they are decoded by the kind's field map, not by name."""

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
    wire_names: tuple[str, ...]
    """Its names in the JSON, of which the first one present is used."""
    hook: Hook


@frozen(eq=False)
class RecordDecoder:
    """Decodes the fields of a record class that each depend on a single value of the JSON."""

    fields: tuple[_Field, ...]
    """The fields that the class adds to `Record`."""
    base_fields: tuple[_Field, ...]
    known_names: frozenset[str]
    """All JSON names of these fields, and those in the kind's field map; all others go to
    ``extra``."""
    can_wait: bool
    """The class can be constructed later, when a field is read."""
    _decode_strictly: Callable[[Mapping[str, Any]], dict[str, Any]]
    _aliased_fields: tuple[_Field, ...]

    @classmethod
    def for_record(
        cls,
        record: type[Record],
        mapped_names: frozenset[str],
        base_fields: Mapping[str, tuple[str, Hook]],
    ) -> "RecordDecoder":
        """Return the decoder of a class.

        ``mapped_names`` are the JSON names in the kind's field map, ``base_fields`` the JSON names
        and hooks of fields of every record.
        """
        from cattrs import gen

        cattrs_gen: Any = gen  # its functions are typed for classes
        hints = get_type_hints(record, include_extras=True)
        attributes = fields_dict(record)
        own = tuple(
            _own_field(a, hints[name]) for name, a in attributes.items() if name not in BASE_FIELDS
        )
        base = tuple(_Field(name, (wire,), hook) for name, (wire, hook) in base_fields.items())
        single = [f for f in (*own, *base) if len(f.wire_names) == 1]
        return cls(
            own,
            base,
            mapped_names.union(*(f.wire_names for f in own)),
            _constructor_can_wait(record),
            # As fast as a hand-written loop over the fields, and faster for ten or more: 3.8 us for
            # the record of `benchmarks.common`, of which the hooks take 2.4.
            cattrs_gen.make_dict_structure_fn_from_attrs(
                [attributes[f.name].evolve(alias=f.name, init=True) for f in single],
                dict,  # what the function calls: it returns the fields, not a record
                converter(),
                _cattrs_detailed_validation=False,
                **{
                    f.name: cattrs_gen.override(rename=f.wire_names[0], struct_hook=f.hook)
                    for f in single
                },
            ),
            tuple(f for f in own if len(f.wire_names) > 1),
        )

    def decode(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields by attribute name, and the remaining values by JSON name."""
        own: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        slow = self._aliased_fields
        try:
            own = self._decode_strictly(raw)
        except UNREADABLE:
            slow = (*self.fields, *self.base_fields)
        for f in slow:
            _decode_field(f, raw, own, extra)
        if not self.known_names.issuperset(raw):
            extra.update((wire, raw[wire]) for wire in raw if wire not in self.known_names)
        return own, extra


def _own_field(attribute: "Attribute[Any]", hint: Any) -> _Field:
    wire, notes = WireName(attribute.name), list[Any]()
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        wire = next((note for note in notes if isinstance(note, WireName)), wire)
    inner = [part for part in get_args(hint) or (hint,) if part is not NoneType]
    # None is handled before the hook, so the hook of `str | None` is that of `str`.
    target = inner[0] if len(inner) == 1 and get_origin(hint) is not tuple else hint
    hook = converter().get_structure_hook(target)
    if any(isinstance(note, NumericString) for note in notes):
        hook = _accept_numeric_string(hook)
    names = wire.name, *wire.aliases
    return _Field(attribute.name, names, _field_hook(hook, target, attribute.default))


def _accept_numeric_string(hook: Hook) -> Hook:
    """Return a hook that also accepts a number in the form of a string."""

    def read(value: Any, target: Any) -> Any:
        return hook(float(value) if isinstance(value, str) else value, target)

    return read


def _field_hook(hook: Hook, target: Any, default: Any) -> Hook:
    """Return a hook for which null is the default, and which hides the signatures of URLs."""
    text, no_default = target is str, default is NOTHING or hasattr(default, "factory")

    def read(value: Any, _: Any) -> Any:
        if text and value.__class__ is str:
            # Most texts hold neither a URL nor a token: no call for those.
            return hide_signatures(value) if "://" in value or "a2e-" in value else value
        if value is None:
            if no_default:
                raise TypeError("null")
            return default
        made = hook(value, target)
        return hide_signatures(made) if made.__class__ in _CONTAINERS else made

    return read


def empty_is_none(hook: Hook) -> Hook:
    """Return a hook for which an unreadable empty value, such as "", is None."""

    def read(value: Any, target: Any) -> Any:
        if value is None:
            return None
        try:
            return hook(value, target)
        except UNREADABLE:
            if value:
                raise
            return None

    return read


def _decode_field(
    f: _Field, raw: Mapping[str, Any], own: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Decode a field that has several names, or may be of an unexpected type."""
    for wire in f.wire_names:
        value = raw.get(wire)
        if value is None:
            continue
        if f.name not in own:
            try:
                own[f.name] = f.hook(value, None)
                continue
            except UNREADABLE:
                pass
        extra[wire] = value

"""Inputs of a kind without an input class: any names, JSON values, and media by their names (pure).

The checks are those of declared inputs as far as they are possible without a declaration: values
must be JSON, media must be files or URLs, and inputs of a safety check are refused.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from attrs import define, field

from a2e_async._core.schema.inputs import (
    COMMON_NAMES,
    MAX_TEXT_CHARS,
    AcceptedMedia,
    InputField,
    MediaInput,
    TaskInput,
    input_fields,
)
from a2e_async._core.schema.json_guard import check_field_name, short_repr
from a2e_async._core.typeguards import is_sequence
from a2e_async.errors import InvalidInput
from a2e_async.models import Output

MediaNames = Mapping[str, AcceptedMedia]
"""The media inputs of a kind by name."""


@define(kw_only=True)
class UntypedInput(TaskInput):
    """Inputs by their names in the JSON body. ``media_names`` says which of them are media."""

    values: Mapping[str, Any] = field(factory=dict[str, Any])
    media_names: MediaNames = field(factory=dict[str, AcceptedMedia], repr=False)

    @classmethod
    def build(cls, media_names: MediaNames, given: Mapping[str, Any]) -> "UntypedInput":
        """Return the inputs in keyword arguments: common ones, and any others.

        Inputs of the service that have the name of a common one are given in ``extra``.
        """
        common = {name: value for name, value in given.items() if name in COMMON_NAMES}
        values = {name: value for name, value in given.items() if name not in COMMON_NAMES}
        return cls(values=values, media_names=media_names, **common)

    def __attrs_post_init__(self) -> None:
        self.values = dict(self.values)  # changed below, and the caller's own must not change
        for name, value in self.values.items():
            check_field_name("inputs", name)
            if name not in self.media_names:
                _refuse_files(name, value)
        super().__attrs_post_init__()

    def _inputs(self) -> list[tuple[InputField, Any]]:
        common = [(f, getattr(self, f.name)) for f in _common_fields()]
        own = [
            (untyped_field(name, self.media_names.get(name)), value)
            for name, value in self.values.items()
        ]
        return [*common, *own]

    def _set_value(self, f: InputField, value: Any) -> None:
        if f.common:
            setattr(self, f.name, value)
        else:
            self.values = {**self.values, f.name: value}


@cache
def _common_fields() -> tuple[InputField, ...]:
    return input_fields(TaskInput)


def untyped_field(name: str, media: AcceptedMedia | None) -> InputField:
    """Return the field of an input that is declared by its name only."""
    return InputField(
        name=name,
        wire_name=name,
        hint=Any if media is None else MediaInput | Sequence[MediaInput],
        metadata=() if media is None else (media,),
        required=False,
        common=False,
        accepts=_accept_any,
        media=media,
        as_string=False,
        allows_list=True,
        allows_single=True,
        allows_mapping=media is None,  # checked as JSON, and copied
        free_text=False,  # a text may be one of a few settings
        max_chars=MAX_TEXT_CHARS,
    )


def _accept_any(_: Any) -> bool:
    return True


def _refuse_files(name: str, value: Any) -> None:
    """Raise `InvalidInput` for a file in an input that is not declared as media."""
    items: Sequence[Any] = value if is_sequence(value) else (value,)
    for item in items:
        if isinstance(item, bytes | os.PathLike | Output):
            raise InvalidInput(
                f"{name} is given a file, but the kind does not declare it as a media input. "
                f"Declare it, such as media={{{short_repr(name)}: 'image'}}.",
                field=name,
            )

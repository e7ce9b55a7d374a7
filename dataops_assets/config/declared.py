"""Base of all declared models: the strict base class, errors that name the YAML field, and durations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails

from dataops_assets.config.examples import add_examples
from dataops_assets.errors import nearest


class Declared(BaseModel):
    """Base class of everything that a YAML file declares. It refuses unknown fields; its values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON schema with an example for each field."""
        schema = handler(core_schema)
        add_examples([base.__name__ for base in cls.__mro__], handler.resolve_ref_schema(schema))
        return schema

    @model_validator(mode="before")
    @classmethod
    def _fields_are_known(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [key for key in data if key not in known and key not in cls.model_fields]
        # pydantic's own error names neither the known fields nor the most similar one
        refuse(
            cls.__name__,
            [
                (
                    (str(key),),
                    data[key],
                    f"unknown field{_why_unknown(str(key), data, known)}; known: {', '.join(known)}",
                )
                for key in unknown
            ],
        )
        return data


def _why_unknown(key: str, data: Mapping[Any, Any], known: Sequence[str]) -> str:
    # in {...} YAML takes the comma of decimal(12,2) for the end of the value
    if ")" in key and data[key] is None:
        for name, value in data.items():
            if isinstance(value, str) and _is_cut(value):
                return f": put the value in quotes, because it has a comma: {name}: '{value},{key}'"
    return hint(key, known)


def _is_cut(text: str) -> bool:
    return text.count("(") > text.count(")")


def hint(name: str, known: Sequence[str]) -> str:
    """Return the known name that is most similar to `name`, as the end of a message; empty if none is similar."""
    found = nearest(name, known)
    return f", {found}" if found else ""


FieldPath = tuple[str | int, ...]


Problem = tuple[FieldPath, Any, str]


def refuse(title: str, problems: Sequence[Problem]) -> None:
    """Raise one error for all problems, if there are any; each has a field path, the given value and a message."""
    if problems:
        raise ValidationError.from_exception_data(
            title,
            [
                InitErrorDetails(type="value_error", loc=path, input=given, ctx={"error": ValueError(message)})
                for path, given, message in problems
            ],
        )


def path_as_written(path: FieldPath, data: Any) -> FieldPath:
    """Return an error's path as in the YAML file: without the names that pydantic adds for a chosen `type`."""
    written: list[str | int] = []
    chosen = False
    for part in path[:-1]:
        # pydantic puts the name of the chosen `type` in front of the fields of that type
        chosen = not chosen and isinstance(data, Mapping) and data.get("type") == part
        if chosen:
            continue
        written.append(part)
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        )
        data = data[part] if inside else None
    return (*written, *path[-1:])


# a timedelta cannot hold nine digits of weeks
_DURATION = re.compile(r"^\s*(-?)\s*(\d{1,8})\s+(minute|hour|day|week)s?\s*$")


def _duration(value: Any, info: ValidationInfo) -> Any:
    spelled = _DURATION.match(value) if isinstance(value, str) else None
    if spelled is not None:
        sign, number, unit = spelled.groups()
        return timedelta(**{f"{unit}s": int(f"{sign}{number}")})
    if value is None or isinstance(value, timedelta) or (isinstance(value, str) and "P" in value):
        return value
    raise ValueError(
        f"{info.field_name} is {value!r}; known: '1 day', '12 hours', '-30 minutes', '2 weeks', or ISO 8601 (P1D)"
    )


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A duration such as '1 day', '-30 minutes' or 'P1D'."""

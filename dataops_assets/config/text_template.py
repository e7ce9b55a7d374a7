"""Templates of text files: one text for each row, with a header before and a footer after all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.names import Encoding

OF_FILE = ("output", "date", "time", "delivery", "rows")
"""The tokens of a header and a footer: the output's name, day and time in UTC, the number of the delivery, the rows of
the file."""
_FORM = re.compile(r"(?:(?P<fill>[^{}])?(?P<align>[<>]))?(?P<width>[1-9][0-9]{0,3})?")


@dataclass(frozen=True)
class Part:
    """A literal text, and the token after it: its name, and how it is filled to a width; width 0 is its own length."""

    text: str
    token: str = ""
    fill: str = " "
    align: str = "<"
    width: int = 0


def parts_of_template(template: str) -> list[Part]:
    """Return the parts of a template. Raises ValueError if it cannot be read."""
    found = []
    try:
        for text, token, form, conversion in Formatter().parse(template):
            if token is None:
                found.append(Part(text))
                continue
            shape = _FORM.fullmatch(form or "")
            if not token or conversion or shape is None:
                shown = token + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                raise ValueError(f"unknown token {{{shown}}}; write {{name}}, {{name:<10}} or {{name:0>10}}")
            found.append(Part(text, token, shape["fill"] or " ", shape["align"] or "<", int(shape["width"] or 0)))
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}") from error
    return found


class TextTemplate(Declared):
    """How rows become text. Tokens are columns in braces; {amount:0>10} fills to 10 characters, {{ is a brace."""

    row: str = Field(
        min_length=1,
        description="Text of a row, with its columns: '{order_no:<10}{amount:0>12}'. A value that is longer than its "
        "width stops the delivery. A line end is added.",
    )
    header: str = Field(
        "", description="Text before the rows. Tokens: {output}, {date}, {time}, {delivery}, {rows}. Empty: none."
    )
    footer: str = Field("", description="Text after the rows, with the tokens of the header. Empty: none.")
    escape: Literal["refuse", "xml", "json", "none"] = Field(
        "refuse",
        description="Of values: 'refuse' stops the delivery at line ends and control characters; 'xml' writes "
        "&<>\"' as entities; 'json' writes a value as between the quotes of JSON; 'none' writes it as it is.",
    )
    null_text: str = Field("", description="Text of a null.")
    encoding: Encoding = Field(
        "utf-8", description="Encoding of the file; a character that it does not have stops the delivery."
    )
    line_end: Literal["\n", "\r\n"] = Field("\n", description="What ends the header, each row and the footer.")
    ending: str = Field("txt", pattern=r"^[A-Za-z0-9]{1,16}$", description="How the name of the file ends.")

    @field_validator("row")
    @classmethod
    def _is_template(cls, value: str) -> str:
        parts_of_template(value)
        return value

    @field_validator("header", "footer")
    @classmethod
    def _has_known_tokens(cls, value: str) -> str:
        for part in parts_of_template(value):
            if part.token and part.token not in OF_FILE:
                known = ", ".join(f"{{{item}}}" for item in OF_FILE)
                raise ValueError(f"template {value!r}: unknown token {{{part.token}}}; known: {known}")
        return value

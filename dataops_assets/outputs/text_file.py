"""Writes rows as text by a template. A template has no reader: a file is compared with the text made once more.

Grain: one file. Values are the texts that CSV files have, nulls are `null_text`; then they are escaped, and then filled
to their width.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal, cast
from xml.sax.saxutils import escape

import pyarrow as pa
from sqlglot import exp

from dataops_assets.config.text_template import Part, TextTemplate, parts_of_template
from dataops_assets.engines.duckdb import DuckDBSession
from dataops_assets.errors import ConfigError, InputError, nearest
from dataops_assets.sql import alias, column, query

_PORTION = 10_000
_CHUNK = 1 << 20
# what ends a line for some reader, and what no reader shows
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTES = {'"': "&quot;", "'": "&apos;"}


class TemplatedText:
    """The text of some rows by a template."""

    def __init__(
        self,
        template: TextTemplate,
        session: DuckDBSession,
        rows: exp.Query,
        types: Mapping[str, str],
        of_file: Mapping[str, str],
    ) -> None:
        """`of_file` are the values of the tokens of header and footer. Raises ConfigError for an unknown column."""
        self._template, self._session, self._rows, self._of_file = template, session, rows, of_file
        self._parts = parts_of_template(template.row)
        self._names = list(dict.fromkeys(part.token for part in self._parts if part.token))
        for name in self._names:
            if name not in types:
                raise ConfigError(
                    f"writing rows as text {template.row!r}",
                    received=f"the token {{{name}}}",
                    known=list(types),
                    next_step=nearest(name, list(types)) or "name a column of the output",
                )

    def write(self, path: Path, packed: str) -> None:
        """Write the file. Raises InputError for a value that the template cannot hold."""
        with _opened(path, packed, "wb") as file:
            for text in self._texts():
                file.write(text)

    def is_in(self, path: Path, packed: str) -> bool:
        """Return whether a file has exactly this text."""
        with _opened(path, packed, "rb") as file:
            return all(file.read(len(text)) == text for text in self._texts()) and not file.read(1)

    def _texts(self) -> Iterator[bytes]:
        """Yield the text of the file in portions."""
        count = query("SELECT count(*) AS n FROM $rows AS t", rows=self._rows)
        tokens = {**self._of_file, "rows": str(self._session.fetch(count).column("n")[0].as_py())}
        # one encoder, because some encodings begin a file with a mark
        encoder = codecs.getincrementalencoder(self._template.encoding)()
        for text in self._portions(tokens):
            yield self._encoded(encoder, text)

    def _portions(self, tokens: Mapping[str, str]) -> Iterator[str]:
        if self._template.header:
            yield self._line(parts_of_template(self._template.header), tokens)
        as_text = _ESCAPES[self._template.escape]
        values = [alias(exp.cast(column(name, "t"), "VARCHAR"), name) for name in self._names]
        # a template without columns has a text for each row, too
        asked: exp.Query = query("SELECT $values FROM $rows AS t", values=values or [exp.null()], rows=self._rows)
        for batch in self._session.execute(asked).to_arrow_reader(_PORTION):
            lines = []
            for row in zip(*(item.to_pylist() for item in batch.columns), strict=True):
                found = {
                    name: self._template.null_text if value is None else as_text(name, value)
                    for name, value in zip(self._names, row, strict=False)
                }
                lines.append(self._line(self._parts, found))
            yield "".join(lines)
        if self._template.footer:
            yield self._line(parts_of_template(self._template.footer), tokens)

    def _line(self, parts: list[Part], values: Mapping[str, str]) -> str:
        filled = [part.text + (_filled(part, values[part.token]) if part.token else "") for part in parts]
        return "".join(filled) + self._template.line_end

    def _encoded(self, encoder: codecs.IncrementalEncoder, text: str) -> bytes:
        try:
            return encoder.encode(text)
        except UnicodeEncodeError as error:
            raise InputError(
                "writing rows as text",
                received=f"the character {error.object[error.start]!r}, which {self._template.encoding} does not have",
                next_step="choose another encoding, or replace the character by an expression; nothing was delivered",
            ) from error


def _filled(part: Part, value: str) -> str:
    if not part.width:
        return value
    if len(value) > part.width:
        raise InputError(
            f"writing column {part.token!r} as text",
            received=f"{value!r} of {len(value)} characters, where the template has room for {part.width}",
            next_step="widen it in the template, or shorten the value by an expression; nothing was delivered",
        )
    return value.rjust(part.width, part.fill) if part.align == ">" else value.ljust(part.width, part.fill)


def _without_control(name: str, value: str) -> str:
    if found := _CONTROL.search(value):
        raise InputError(
            f"writing column {name!r} as text",
            received=f"a value with {found[0]!r}, which a reader can take for the end of the row",
            next_step="declare template.escape, or remove it by an expression; nothing was delivered",
        )
    return value


_ESCAPES: Mapping[str, Callable[[str, str], str]] = {
    "refuse": _without_control,
    "xml": lambda _name, value: escape(value, _QUOTES),
    "json": lambda _name, value: json.dumps(value, ensure_ascii=False)[1:-1],
    "none": lambda _name, value: value,
}


def _opened(path: Path, packed: str, mode: Literal["wb", "rb"]) -> IO[bytes]:
    opened = pa.output_stream if mode == "wb" else pa.input_stream
    return cast("IO[bytes]", opened(str(path), None if packed == "none" else packed, _CHUNK))

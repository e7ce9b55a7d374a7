"""Where a source's data comes from: file formats, connections, and how new inputs are found."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared


class CsvFormat(Declared):
    """Delimited text with all the usual trouble."""

    type: Literal["csv"] = "csv"
    delimiter: str = Field(",", min_length=1, description="Field separator.")
    quote: str = Field('"', description="Quote character; empty for none.")
    escape: str = Field('"', description="Escape character inside quoted fields.")
    encoding: str = Field("utf-8", description="Text encoding, any name Python knows (utf-8, latin-1, utf-16, ...).")
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")
    decimal_mark: str = Field(".", description="Decimal mark of numbers.")
    thousands_mark: str = Field("", description="Thousands separator of numbers; empty for none.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except (LookupError, ValueError) as error:
            raise ValueError(f"unknown encoding {value!r}; known: those of Python, such as utf-8 or latin-1") from error
        return value


class JsonFormat(Declared):
    """A JSON document: an array of objects, or an object holding one under `records`."""

    type: Literal["json"]
    records: str = Field("", description="Dotted path to the array of records; empty when the document is the array.")


class JsonLinesFormat(Declared):
    """One JSON object a line."""

    type: Literal["jsonl"]


class ParquetFormat(Declared):
    """Apache Parquet."""

    type: Literal["parquet"]


class ExcelFormat(Declared):
    """An Excel workbook (.xlsx)."""

    type: Literal["excel"]
    sheet: str = Field("", description="Sheet name; empty for the first.")
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")


FileFormat = Annotated[
    CsvFormat | JsonFormat | JsonLinesFormat | ParquetFormat | ExcelFormat, Field(discriminator="type")
]


class ExtractTime(Declared):
    """Where an input's extract time comes from."""

    pattern: str = Field(
        "",
        description="strptime pattern matched against the file name, e.g. 'flights_%Y-%m-%d.csv'; a '*' matches any "
        "text. Empty: the file's modification time.",
    )
    otherwise: str = Field(
        "",
        description="Extract time of a file whose name does not match the pattern: an ISO 8601 date or time (UTC "
        "without an offset), e.g. of an undated history file that dated deliveries follow; 'modified' for the file's "
        "modification time. Empty: the file is refused.",
    )

    @field_validator("otherwise")
    @classmethod
    def _known_otherwise(cls, value: str) -> str:
        if value in ("", "modified"):
            return value
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"otherwise is {value!r}; known: an ISO 8601 time, 'modified', or nothing") from error
        return value

    @property
    def otherwise_time(self) -> datetime | None:
        """`otherwise` as an aware time in UTC; None where it is not a time."""
        if self.otherwise in ("", "modified"):
            return None
        time = datetime.fromisoformat(self.otherwise)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Limits(Declared):
    """What reading one input may cost. An input beyond a limit is stopped alone, and the error names the limit."""

    unpacked_bytes: int = Field(20 << 30, ge=1, description="Most bytes that a compressed input may unpack to.")
    unpacked_ratio: int = Field(
        500,
        ge=1,
        description="Most times its own size that an input may unpack to, where that is more than 100 MB.",
    )
    document_bytes: int = Field(
        512 << 20, ge=1, description="Most bytes of what is read as a whole: a JSON document, the parts of a workbook."
    )
    record_bytes: int = Field(
        16 << 20, ge=1, description="Most bytes of one record of text: a line, or a row whose quotes span lines."
    )
    columns: int = Field(4096, ge=1, description="Most columns that an input may have, declared or not.")


class FileConnection(Declared):
    """Files in a folder, glob or object store prefix; each file is one input."""

    type: Literal["files"]
    path: str = Field(
        description="Folder, glob or URL (s3://, gs://, ...). A relative path is below the deployment's landing area."
    )
    format: FileFormat = Field(CsvFormat(), description="How the bytes are laid out.")
    compression: Literal["infer", "none", "gzip", "zip", "zstd"] = Field(
        "infer", description="Compression; 'infer' goes by the file's ending."
    )
    extract_time: ExtractTime = Field(ExtractTime(), description="Where the extract time comes from.")
    settle_seconds: float = Field(
        2.0, ge=0, description="A file is taken only after size and modification time stood still for this long."
    )
    storage_options: dict[str, str] = Field({}, description="fsspec options; values may be '${ENV_NAME}'.")
    limits: Limits = Field(Limits(), description="What reading one file may cost.")


class PythonConnection(Declared):
    """A Python generator: the hook for the odd feed."""

    type: Literal["python"]
    function: str = Field(
        description="'module:function'. Called with the previous extract time (or None); yields "
        "dataops_assets.connections.python.Extract objects, each one input."
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments for the function.")
    limits: Limits = Field(Limits(), description="What reading one extract may cost.")


Connection = Annotated[FileConnection | PythonConnection, Field(discriminator="type")]


class Discovery(Declared):
    """How new inputs are found."""

    every_seconds: int = Field(30, ge=5, description="Seconds between two looks of the sensor.")
    inputs_per_run: int = Field(
        500, ge=1, description="Most inputs in one run; a history is loaded in runs of this size."
    )
    schedule: str = Field(
        "", description="Cron expression; when set, the source is looked at then instead of by the sensor."
    )
    timezone: str = Field("UTC", description="IANA zone of the cron expression and of naive extract times.")

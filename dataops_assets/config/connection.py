"""Declared connections of a source: file formats, origins of the data, and how new inputs are found."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.after_pickup import MAGIC, AfterPickup, require_can_move
from dataops_assets.config.databases import DatabaseConnection
from dataops_assets.config.declared import Declared
from dataops_assets.config.encryption import Encryption
from dataops_assets.config.file_manifest import FileManifest
from dataops_assets.config.kafka import KafkaConnection, MessagesFormat
from dataops_assets.config.limits import Limits
from dataops_assets.config.names import Encoding
from dataops_assets.config.notifications import Notifications
from dataops_assets.config.object_stores import LISTED_IN_PART
from dataops_assets.config.receiving import Receive
from dataops_assets.config.replication import ReplicationConnection
from dataops_assets.config.rest import RestConnection
from dataops_assets.config.secrets import Secret
from dataops_assets.config.sorted_names import SortedNames
from dataops_assets.config.text_lines import FieldRecordType, PlaceRecordType, TextFile, compiled


class CsvFormat(TextFile):
    """Delimited text (CSV), with the settings that such files need."""

    type: Literal["csv"] = "csv"
    delimiter: str = Field(",", min_length=1, description="Field separator.")
    quote: str = Field('"', description="Quote character; empty for none.")
    escape: str = Field('"', description="Escape character inside quoted fields.")
    encoding: Encoding = Field(
        "utf-8", description="Text encoding, any name Python knows (utf-8, latin-1, utf-16, ...)."
    )
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")
    quoted_nulls: Literal["empty", "all", "none"] = Field(
        "empty",
        description="Which of the null_words mean null in quotes too. 'empty': only the empty text; 'all': each of "
        "them; 'none': a quoted text is never null.",
    )
    decimal_mark: str = Field(".", description="Decimal mark of numbers.")
    thousands_mark: str = Field("", description="Thousands separator of numbers; empty for none.")
    record_type: FieldRecordType | None = Field(
        None,
        description="For a file with records of several types: those that this source takes. The others are counted "
        "as filtered.",
    )

    @model_validator(mode="after")
    def _one_header_for_one_type(self) -> CsvFormat:
        if self.record_type is not None and self.header:
            raise ValueError(
                "a header names the fields of one type of records: set header to false beside record_type (skip_rows "
                "or header_lines skip a header of the file)"
            )
        return self


MAP = "{}"
"""What is added to the name of a map in `explode`; without it, an object is one item."""


class NestedRecords(Declared):
    """The settings that all formats of nested records share."""

    explode: tuple[str, ...] = Field(
        (),
        description="Dotted names of lists whose items become records. Of several lists, each is within the items of "
        "the list before it. A field with the name of the list and # has the position of the item, from 1. The parent "
        "is a record, too, with position 0. Write {} after the name of a map: its entries have a key and a value.",
    )

    @field_validator("explode")
    @classmethod
    def _within_one_another(cls, explode: tuple[str, ...]) -> tuple[str, ...]:
        for outer, inner in itertools.pairwise(explode):
            items = outer.removesuffix(MAP)
            if not inner.startswith(f"{items}."):
                raise ValueError(
                    f"{inner!r} is not within the items of {items!r}; known: names that begin with {items + '.'!r}; "
                    "two lists of one record are two sources"
                )
        return explode


class JsonFormat(NestedRecords):
    """A JSON document: an array of objects, or an object that contains the array at the path `records`."""

    type: Literal["json"]
    records: str = Field("", description="Dotted path to the array of records; empty when the document is the array.")


class JsonLinesFormat(NestedRecords):
    """JSON lines: one JSON object on each line."""

    type: Literal["jsonl"]


class ParquetFormat(NestedRecords):
    """Apache Parquet."""

    type: Literal["parquet"]


class ExcelFormat(Declared):
    """An Excel workbook (.xlsx)."""

    type: Literal["excel"]
    sheet: str = Field("", description="Sheet name; empty for the first.")
    header: bool = Field(True, description="Whether the first row (after skip_rows) names the columns.")
    skip_rows: int = Field(0, ge=0, description="Rows to skip before the header.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")


class OrcFormat(NestedRecords):
    """Apache ORC."""

    type: Literal["orc"]


class AvroFormat(NestedRecords):
    """An Apache Avro file with its schema."""

    type: Literal["avro"]


class PythonFormat(Declared):
    """A format of one's own: a function in Python makes the records of a file."""

    type: Literal["python"]
    function: str = Field(
        description="'module:function'. It is called with the path of a file, unpacked, and yields its records: "
        "mappings of fields, or dataops_assets.connections.formats.own_records.Rejected records."
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments for both functions.")
    count: str = Field(
        "",
        description="'module:function' that counts the records of a file in another way; an input with another number "
        "of records is stopped. Empty: the number of records that `function` yields.",
    )


class XmlFormat(NestedRecords):
    """XML: each element at the path `records` is a record, and its elements and attributes are the fields."""

    type: Literal["xml"]
    records: str = Field(
        pattern=r"^[^.\s]+(\.[^.\s]+)+$",
        description="Path from the root to the elements that are records, e.g. orders.order. Children are fields by "
        "name, attributes by @name, the text beside attributes by #text; inner elements by dotted names.",
    )


class YamlFormat(NestedRecords):
    """YAML: each document is a list of records, or a record; or it has the list of records at the path `records`."""

    type: Literal["yaml"]
    records: str = Field("", description="Dotted path to the list of records; empty when a document is the list.")


class TextFormat(Declared):
    """Text in which a record is a line of a declared form and the lines after it, such as a log."""

    type: Literal["text"]
    pattern: str = Field(
        min_length=1,
        description="Regular expression (Python) of the whole first line of a record. Its named groups are the fields.",
    )
    start: str = Field(
        "",
        description="Regular expression of how the first line of a record starts. A line that starts so and does not "
        "match the pattern is rejected. Empty: a line that does not match the pattern belongs to the record before it.",
    )
    rest: str = Field(
        "",
        description="Field with the lines after the first one. Empty: they are added to the last group of the pattern.",
    )
    encoding: Encoding = Field("utf-8", description="Encoding of the text.")
    skip_rows: int = Field(0, ge=0, description="Lines to skip at the start of the file.")
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")
    decimal_mark: str = Field(".", description="Decimal mark of numbers.")
    thousands_mark: str = Field("", description="Thousands separator of numbers; empty for none.")

    @field_validator("pattern", "start")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        compiled(value)
        return value

    @model_validator(mode="after")
    def _has_fields(self) -> TextFormat:
        if not compiled(self.pattern).groupindex:
            raise ValueError(
                f"pattern {self.pattern!r} has no named group, such as (?P<message>.*), so it has no field"
            )
        return self

    @property
    def field_names(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        groups = tuple(compiled(self.pattern).groupindex)
        return groups if self.rest in ("", *groups) else (*groups, self.rest)


class FixedField(Declared):
    """One field of a line with fixed positions."""

    name: str = Field(min_length=1, description="Name of the field.")
    start: int = Field(ge=1, description="Position of its first character; the first one of the line is 1.")
    width: int = Field(ge=1, description="Number of characters.")


class FixedWidthFormat(TextFile):
    """Text in which each line is a record, and each field has its place in the line."""

    type: Literal["fixed_width"]
    fields: tuple[FixedField, ...] = Field(min_length=1, description="The fields. Blanks around a value are removed.")
    encoding: Encoding = Field("utf-8", description="Encoding of the text, such as utf-8, latin-1 or cp037 (EBCDIC).")
    skip_rows: int = Field(0, ge=0, description="Lines to skip at the start of the file.")
    short_lines: Literal["reject", "pad"] = Field(
        "reject",
        description="A line that ends before the last field: `reject` rejects it, because it can be cut off; `pad` "
        "reads the missing characters as blanks.",
    )
    null_words: tuple[str, ...] = Field(("",), description="Texts that mean null.")
    decimal_mark: str = Field(".", description="Decimal mark of numbers.")
    thousands_mark: str = Field("", description="Thousands separator of numbers; empty for none.")
    record_type: PlaceRecordType | None = Field(
        None,
        description="For a file with records of several types: those that this source takes. The others are counted "
        "as filtered.",
    )

    @field_validator("fields")
    @classmethod
    def _different_names(cls, fields: tuple[FixedField, ...]) -> tuple[FixedField, ...]:
        names = [item.name for item in fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two fields have the name {twice[0]!r}")
        return fields


FileFormat = Annotated[
    CsvFormat
    | FixedWidthFormat
    | TextFormat
    | JsonFormat
    | JsonLinesFormat
    | XmlFormat
    | YamlFormat
    | ParquetFormat
    | OrcFormat
    | AvroFormat
    | ExcelFormat
    | PythonFormat,
    Field(discriminator="type"),
]


RawFormat = FileFormat | MessagesFormat
"""The format of a raw file: of a file as delivered, or of messages as they were stored."""


class ExtractTime(Declared):
    """The origin of an input's extract time: the file's name, its modification time, or a fixed time."""

    pattern: str = Field(
        "",
        description="strptime pattern matched against the file name, e.g. 'flights_%Y-%m-%d.csv'; a '*' matches any "
        "text. Empty: the file's modification time.",
    )
    otherwise: str = Field(
        "",
        description="Extract time of a file whose name does not match the pattern: an ISO 8601 date or time (UTC "
        "if it has no offset), or 'modified' for the file's modification time. An example is a history file without a "
        "date, followed by files with dates. Empty: the file is refused.",
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
        """Return `otherwise` as an aware time in UTC; None if it is not a time."""
        if self.otherwise in ("", "modified"):
            return None
        time = datetime.fromisoformat(self.otherwise)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


# formats whose name is how their files end
_RECEIVED = ("json", "jsonl", "csv", "xml", "yaml", "avro", "parquet")


class FileConnection(Declared):
    """Files in a folder, glob, object store prefix or on a file server; each file is one input."""

    type: Literal["files"]
    path: str = Field(
        description="Folder, glob or URL (s3://, gs://, abfs://, sftp://, ftp://, https://, ...). A relative path is "
        "below the deployment's landing area."
    )
    format: FileFormat = Field(CsvFormat(), description="File format.")
    compression: Literal["infer", "none", "gzip", "zip", "zstd"] = Field(
        "infer", description="Compression; 'infer' decides by the file extension."
    )
    members: str = Field(
        "",
        description="For archives of several files (.zip, .tar, .tar.gz, .tgz, .tar.zst): the paths in the archive "
        "that are taken, with * and ?; each is an input. Its name is that of the archive, !, and the path with ! for "
        "each slash. Empty: a zip has one file.",
    )
    encryption: Encryption | None = Field(
        None,
        description="Encryption of the files, with its secret by reference. A file that is not encrypted is refused.",
    )
    manifest: FileManifest | None = Field(
        None,
        description="A JSON file beside each file that says what the file has: its period (refresh.period), totals and "
        "digest. A file waits for its manifest. Without it, files have no manifests.",
    )
    extract_time: ExtractTime = Field(ExtractTime(), description="Origin of the extract time.")
    settle_seconds: float = Field(
        2.0,
        ge=0,
        description="A file is read when its size and modification time have not changed for so many seconds.",
    )
    storage_options: dict[str, str | Secret] = Field(
        {},
        description="Options of fsspec or of a file server. A value may be '${ENV_NAME}' or a reference to a secret.",
    )
    receive: Receive | None = Field(
        None,
        description="With this setting, `dataops receive` takes requests (webhooks) or pushed files for the source and "
        "stores each as a file in `path`. Then `path` must be a folder in the landing area.",
    )
    sorted_names: SortedNames | None = Field(
        None,
        description="For buckets with very many objects whose names sort by time: a look lists only the last names. "
        "Default: each look lists all objects.",
    )
    notifications: Notifications | None = Field(
        None,
        description="For buckets of S3 with very many objects: a look reads the messages of a queue of SQS, which name "
        "the new objects, and lists all objects only from time to time. Default: each look lists all objects.",
    )
    after_pickup: AfterPickup | None = Field(
        None,
        description="Moves or deletes each file at its sender after it was stored. Default: files stay.",
    )
    follow_links: bool = Field(
        False,
        description="Follow symbolic links to folders, and links that lead out of the landing area. Without it such "
        "links are refused; a link to a file in the landing area is read as that file.",
    )
    limits: Limits = Field(Limits(), description="Limits for reading one file.")

    @model_validator(mode="after")
    def _one_way_into_a_zip(self) -> FileConnection:
        if self.members and self.encryption is not None:
            raise ValueError("members of archives are read without encryption: leave out one of them")
        if self.members and self.manifest is not None:
            raise ValueError("members of archives have no manifests of their own: leave out one of them")
        return self

    @model_validator(mode="after")
    def _may_be_moved(self) -> FileConnection:
        if self.after_pickup is None:
            return self
        for name in ("members", "manifest", "receive"):
            if getattr(self, name):
                raise ValueError(f"after_pickup moves single files: leave out it or {name}")
        require_can_move(self.path, self.after_pickup)
        return self

    @model_validator(mode="after")
    def _may_be_listed_in_part(self) -> FileConnection:
        for about, schemes in LISTED_IN_PART.items():
            if getattr(self, about) is None:
                continue
            known = tuple(f"{scheme}://" for scheme in schemes)
            if "://" in self.path and not self.path.startswith(known):
                raise ValueError(f"{about}: {self.path} is listed as a whole; known: {', '.join(known)}")
            for name in ("members", "manifest", "receive"):
                if getattr(self, name):
                    raise ValueError(f"{about} is about single objects: leave out it or {name}")
        if self.notifications is not None and self.sorted_names is not None:
            raise ValueError("notifications and sorted_names are two ways of not listing all objects: leave out one")
        if self.notifications is not None and MAGIC.search(self.path.partition("://")[2].partition("/")[0]):
            raise ValueError(f"notifications: write the name of the bucket in {self.path!r}, without wildcards")
        return self

    @model_validator(mode="after")
    def _receives_into_a_folder(self) -> FileConnection:
        if self.receive is None:
            return self
        parts = self.path.split("/")
        if "://" in self.path or self.path.startswith("/") or ".." in parts or set("*?[") & set(self.path):
            raise ValueError(
                f"path is {self.path!r}; bodies that are received are stored in a folder below the landing area, such "
                "as 'hooks/orders'"
            )
        if self.receive.uploads is not None:
            if self.manifest is not None:
                raise ValueError("a pushed file has no manifest beside it: leave out receive.uploads or manifest")
        elif self.format.type not in _RECEIVED:
            raise ValueError(f"format is {self.format.type}; bodies that are received are {', '.join(_RECEIVED)}")
        return self


class PythonConnection(Declared):
    """A Python generator function, for feeds that are not files."""

    type: Literal["python"]
    function: str = Field(
        description="'module:function'. It is called with the previous extract time (or None) and yields "
        "dataops_assets.connections.python.Extract objects; each one is an input."
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments for the function.")
    limits: Limits = Field(Limits(), description="Limits for reading one extract.")


Connection = Annotated[
    FileConnection | PythonConnection | DatabaseConnection | ReplicationConnection | RestConnection | KafkaConnection,
    Field(discriminator="type"),
]


_MOST_OFTEN_SECONDS = 5
_LEAST_OFTEN_SECONDS = 30
# to list the files of this number of sources takes a few hundredths of a second
_SOURCES_A_SECOND = 20
# a tick of a sensor costs Dagster's daemon 65 ms, so its sensors take a tenth of the time at most
_SECONDS_A_SENSOR = 0.65


class Discovery(Declared):
    """How and when new inputs are found."""

    every_seconds: int | None = Field(
        None,
        ge=5,
        description="Seconds between two looks of the sensor. The default is 5 for up to 10 sources in the code "
        "location, and grows with their number to at most 30.",
    )
    inputs_per_run: int = Field(
        500, ge=1, description="Maximum number of inputs in one run. A long history is loaded by several runs."
    )
    schedule: str = Field(
        "", description="Cron expression. If it is set, a schedule looks for new inputs instead of the sensor."
    )
    timezone: str = Field(
        "UTC",
        description="IANA time zone of the cron expression, of extract times without a zone, of s_extract_time and of "
        "declared periods. If file names or a Python function give times without a zone, it cannot change once "
        "the source has inputs.",
    )

    def seconds_between_looks(self, sources: int, sensors: int = 1) -> int:
        """Return the declared seconds, or the default for a code location with these numbers of sources and sensors."""
        wanted = max(sources // _SOURCES_A_SECOND, round(sensors * _SECONDS_A_SENSOR), _MOST_OFTEN_SECONDS)
        return self.every_seconds or min(wanted, _LEAST_OFTEN_SECONDS)

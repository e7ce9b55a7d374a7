"""The `Output` model: what leaves the lake, from which table, in which shape, and to which table, files or topic.

Pure pydantic: no I/O, no Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.contract import COLUMN_TYPE
from dataops_assets.config.declared import Declared, Problem, hint, refuse
from dataops_assets.config.names import Area, Name, Owner
from dataops_assets.config.quality import FreshnessCheck, VolumeCheck
from dataops_assets.config.secrets import Secret
from dataops_assets.config.text_template import TextTemplate

TOKENS = ("output", "date", "time", "version", "delivery")
"""The tokens of a file name: the output's name, day and time of the delivery in UTC, the version of the table it is
made of, and the number of the delivery."""

_FROM = re.compile(r"^(hub|warehouse)/[A-Za-z_][A-Za-z0-9_]*$")
# a table is named as 'name' or 'schema.name'
_TABLE = re.compile(r"^[^.{}\s][^.{}]*(\.[^.{}\s][^.{}]*)?$")
_ENDINGS = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "avro": "avro", "excel": "xlsx"}
_PACKED = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_UNSAFE = re.compile(r"[/\\\x00-\x1f]")


class OutputColumn(Declared):
    """One column of an output."""

    name: str = Field(min_length=1, max_length=63, description="Column name in the output.")
    of: str = Field("", description="Name of the column in the table, if it differs from the name in the output.")
    expression: str = Field("", description="SQL expression over the columns of one row of the table, instead of `of`.")
    type: str = Field(
        "",
        description="Type in the output: text, boolean, integer, double, decimal(p,s), date, timestamp, timestamptz or "
        "binary; default: the type of the value. A value that does not fit stops the delivery.",
    )
    description: str = Field("", description="What the column means; shown in the UI.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip() or any(sign in value for sign in "{}%"):
            raise ValueError(
                f"column {value!r}: a name has no braces, percent signs, control characters or spaces at its ends"
            )
        return value

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value and not COLUMN_TYPE.match(value):
            raise ValueError(f"unknown type {value!r}; known: those of a source's columns, such as decimal(12,2)")
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> OutputColumn:
        if self.of and self.expression:
            raise ValueError(f"column {self.name!r}: give either of (a column) or expression")
        return self


class TableTarget(Declared):
    """A table in a declared database."""

    type: Literal["table"]
    database: str = Field(description="Name of the database in a ConnectionsComponent.")
    table: str = Field(description="Table, as 'name' or 'schema.name', written as in the database.")
    structure: Literal["create", "alter", "check"] = Field(
        "create",
        description="'create': create the table if it is missing; 'alter': also add missing columns; 'check': only "
        "check that table and columns are there.",
    )

    @field_validator("table")
    @classmethod
    def _named(cls, value: str) -> str:
        if not _TABLE.match(value):
            raise ValueError(f"table is {value!r}; write it as 'name' or 'schema.name'")
        return value


class FilesTarget(Declared):
    """Files in a folder, an object store or on an SFTP server. A manifest says that a delivery is complete."""

    type: Literal["files"]
    path: str = Field(
        description="Folder, or URL (s3://, gs://, abfs://, sftp://). A relative path is below DATAOPS_OUTPUTS."
    )
    name: str = Field(
        "{output}",
        description="Name of the file, or of the folder if there are several, without ending. Tokens: {output}, "
        "{date}, {time}, {version}, {delivery}.",
    )
    format: Literal["csv", "jsonl", "parquet", "avro", "excel", "text"] = Field("csv", description="File format.")
    template: TextTemplate | None = Field(None, description="Of the format text: how rows become text.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="Field separator of CSV.")
    header: bool = Field(True, description="Whether CSV begins with the names of the columns.")
    compression: Literal["none", "gzip", "zstd"] = Field(
        "none",
        description="Compression of CSV, JSON Lines and text as a whole, of Parquet (none: snappy) and Avro within the "
        "file.",
    )
    partition_by: tuple[str, ...] = Field(
        (), description="Columns by whose values the rows are divided into files, in folders such as country=DE."
    )
    keep: int | None = Field(
        None,
        ge=1,
        description="Number of the newest deliveries to keep. Older ones are archived or removed; default: keep all.",
    )
    archive: str = Field(
        "",
        description="Folder where older deliveries go, on the same disk or below `path` in the same store; without it "
        "they are removed.",
    )
    storage_options: dict[str, str | Secret] = Field(
        {},
        description="Options of fsspec or of a file server. A value may be '${ENV_NAME}' or a reference to a secret.",
    )

    @property
    def ending(self) -> str:
        """How the name of a file ends, with the dot."""
        packed = "" if self.format in ("parquet", "avro") else _PACKED[self.compression]
        ending = self.template.ending if self.template is not None else _ENDINGS[self.format]
        return f".{ending}{packed}"

    @field_validator("name")
    @classmethod
    def _known_tokens(cls, value: str) -> str:
        try:
            parts = list(Formatter().parse(value))
        except ValueError as error:
            raise ValueError(f"name is {value!r}: {error}") from error
        for _, token, form, conversion in parts:
            if token is not None and (token not in TOKENS or form or conversion):
                raise ValueError(f"unknown token {{{token}}}; known: {', '.join(f'{{{item}}}' for item in TOKENS)}")
        if not value or value.startswith(".") or _UNSAFE.search(value):
            raise ValueError(f"name is {value!r}; a file name has no slashes, and no dot at its beginning")
        return value

    @property
    def is_numbered(self) -> bool:
        """Return whether each delivery has a name of its own."""
        return "delivery" in [part[1] for part in Formatter().parse(self.name)]

    @model_validator(mode="after")
    def _parts_fit(self) -> FilesTarget:
        if self.format == "excel" and self.compression != "none":
            raise ValueError("a workbook is compressed already: leave out compression")
        if (self.format == "text") != (self.template is not None):
            raise ValueError("the format text and template belong together: declare both or none")
        if self.partition_by and not self.is_numbered:
            raise ValueError("files by partition_by appear together as a folder, whose name needs the token {delivery}")
        if self.archive and self.keep is None:
            raise ValueError("archive needs keep: the number of deliveries that stay")
        return self


class TopicTarget(Declared):
    """A topic of a declared Kafka cluster. Each row is a message by its key, and a key that left is a tombstone."""

    type: Literal["topic"]
    cluster: str = Field(description="Name of the cluster in a ConnectionsComponent.")
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Name of the topic.")
    format: Literal["json", "avro"] = Field(
        "json",
        description="The values: a JSON object, or an Avro record with the id of its schema before it. The schema is "
        "registered in the cluster's schema_registry as TOPIC-value.",
    )
    key_format: Literal["text", "json"] = Field(
        "json", description="The keys: a JSON object of the key columns, or the text of the only one."
    )
    structure: Literal["create", "check"] = Field(
        "create",
        description="'create': create the topic, compacted, if it is missing; 'check': it must be there.",
    )
    partitions: int = Field(1, ge=1, le=10_000, description="Number of partitions of a topic that is created.")
    positions: str = Field(
        "dataops_outputs",
        pattern=r"^[A-Za-z0-9._-]{1,249}$",
        description="Topic with the positions of outputs, beside the messages; it is created if it is missing.",
    )


class HttpTarget(Declared):
    """An address of a declared API. It gets batches of rows and deleted keys, each with an idempotency key."""

    type: Literal["http"]
    api: str = Field(description="Name of the API in a ConnectionsComponent.")
    path: str = Field(description="Path below the API's address.")
    method: Literal["POST", "PUT"] = Field("POST", description="How a batch is sent.")
    batch_rows: int = Field(500, ge=1, le=100_000, description="Most rows and deleted keys of a batch.")

    @field_validator("path")
    @classmethod
    def _below(cls, value: str) -> str:
        if "://" in value or value.startswith("//"):
            raise ValueError(f"path is {value!r}; write it below the API's address, such as 'customers'")
        return value


Target = Annotated[TableTarget | FilesTarget | TopicTarget | HttpTarget, Field(discriminator="type")]


class AfterDelivery(Declared):
    """A function in Python that is called after each delivery."""

    function: str = Field(
        description="'module:function'. It is called with a dataops_assets.outputs.after_delivery.Delivery, at least "
        "once for the newest delivery; what it returns, a mapping or None, is shown at the asset."
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments for the function.")


class OutputChecks(Declared):
    """Checks of an output. The check `delivery` is always made: what is in the target is compared with the table."""

    freshness: FreshnessCheck = Field(FreshnessCheck(), description="How recent the last delivery must be.")
    volume: VolumeCheck = Field(
        VolumeCheck(), description="Limits for the number of rows. With severity fail, nothing is delivered."
    )


class Output(Declared):
    """A delivery from a hub, a recalculated hub or a warehouse model to where people use it: `output/<name>`."""

    name: Name = Field(description="Output name: lower case letters, digits and underscores.")
    area: Area = Field(description="Subject area; the group in the Dagster UI.")
    description: str = Field("", description="Who uses it, and for what.")
    owners: tuple[Owner, ...] = Field((), description="E-mail addresses or 'team:name'.")
    source: str = Field(
        alias="from", description="Table to deliver: hub/<source>, hub/<source>_current or warehouse/<model>."
    )
    versions: Literal["current", "all"] = Field(
        "current", description="Of a hub with history: only the current version of each key, or all versions."
    )
    key: tuple[str, ...] = Field(
        (), description="Output columns that identify a row; default: the key of the source (and s_valid_from)."
    )
    columns: tuple[OutputColumn, ...] = Field(
        (), description="Columns in order; default: all columns of the table, without those of the platform."
    )
    keep_when: str = Field("", description="SQL predicate on one row of the table; other rows are not delivered.")
    mode: Literal["full", "incremental"] = Field(
        "full", description="'full': all rows each time; 'incremental': only keys that changed since the last delivery."
    )
    deletes: Literal["hard", "soft", "ignore"] = Field(
        "hard",
        description="What becomes of rows that left the table: removed, flagged in deleted_column, or left alone.",
    )
    deleted_column: str = Field("is_deleted", description="Boolean column of the output for `deletes: soft`.")
    when_held: Literal["wait", "deliver"] = Field(
        "wait",
        description="While inputs of the source are held or failed a gate: wait for a person, or deliver the table as "
        "it is, without them.",
    )
    to: Target = Field(description="Where the rows go.")
    after: AfterDelivery | None = Field(
        None, description="What is done after each delivery, such as to tell somebody. Default: nothing."
    )
    checks: OutputChecks = Field(OutputChecks(), description="Checks of the output.")

    @property
    def place(self) -> tuple[str, ...] | None:
        """The place that the output needs for itself; None if its name is in it, or if several may share it."""
        if isinstance(self.to, FilesTarget) and "{output}" not in self.to.name:
            return "file", self.to.path.rstrip("/"), f"{self.to.name}{self.to.ending}"
        if isinstance(self.to, TableTarget):
            return "table", self.to.database, self.to.table
        return None

    @field_validator("source")
    @classmethod
    def _known_layer(cls, value: str) -> str:
        if not _FROM.match(value):
            raise ValueError(f"from is {value!r}; known: hub/<source>, hub/<source>_current, warehouse/<model>")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Output:
        refuse("Output", [*self._repeated_names(), *self._unfit_modes()])
        return self

    def _repeated_names(self) -> Iterator[Problem]:
        seen = {self.deleted_column.lower()} if self.deletes == "soft" else set()
        for index, item in enumerate(self.columns):
            if item.name.lower() in seen:
                yield ("columns", index, "name"), item.name, f"column {item.name!r} is there twice (case is ignored)"
            seen.add(item.name.lower())
        names = [item.name for item in self.columns]
        of_files = self.to.partition_by if isinstance(self.to, FilesTarget) else ()
        for path, used in {("key",): self.key, ("to", "partition_by"): of_files}.items():
            for name in used if names else ():
                if name not in names:
                    yield (
                        path,
                        name,
                        f"{name!r} is no column of the output{hint(name, names)}; known: {', '.join(names)}",
                    )

    def _unfit_modes(self) -> Iterator[Problem]:
        if isinstance(self.to, TopicTarget) and self.deletes == "soft":
            yield ("deletes",), self.deletes, "in a topic a tombstone says that a key is gone: declare hard or ignore"
        if isinstance(self.to, HttpTarget) and self.deletes == "soft":
            yield ("deletes",), self.deletes, "a batch lists the deleted keys: declare hard or ignore"
        if not isinstance(self.to, FilesTarget):
            return
        if self.mode == "incremental":
            if self.deletes == "hard":
                message = "files with changes cannot delete: declare soft (a column marks the row) or ignore"
                yield ("deletes",), self.deletes, message
            if not self.to.is_numbered:
                message = "each delivery has other rows, so the name needs the token {delivery}"
                yield ("to", "name"), self.to.name, message
            if self.source.startswith("warehouse/"):
                message = "a model keeps no record of its changes, and files cannot be compared with: declare full"
                yield ("mode",), self.mode, message
        elif self.deletes == "soft":
            message = "a full delivery has no rows that left the table: declare hard, or mode: incremental"
            yield ("deletes",), self.deletes, message

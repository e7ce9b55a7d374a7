"""The limits for reading one input."""

from __future__ import annotations

from pydantic import Field

from dataops_assets.config.declared import Declared


class Limits(Declared):
    """Limits for reading one input. If an input exceeds one, only that input fails, and the error names the limit."""

    unpacked_bytes: int = Field(
        20 << 30, ge=1, description="Maximum number of bytes of a compressed input after unpacking."
    )
    unpacked_ratio: int = Field(
        500,
        ge=1,
        description="Maximum ratio of unpacked to compressed size. It applies to more than 100 MB of unpacked data.",
    )
    document_bytes: int = Field(
        512 << 20,
        ge=1,
        description="Maximum bytes of anything that is read into memory as a whole: a JSON document, a workbook part.",
    )
    record_bytes: int = Field(
        16 << 20,
        ge=1,
        description="Maximum bytes of one text record: a line, or a row with quoted fields that span several lines.",
    )
    nesting: int = Field(
        100, ge=1, description="Maximum number of levels of a JSON record: objects and arrays that are in one another."
    )
    columns: int = Field(4096, ge=1, description="Maximum number of columns of an input, declared or not.")

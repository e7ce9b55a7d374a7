"""Declared manifests of files: a JSON file beside each file says what the file has."""

from __future__ import annotations

from pydantic import Field, field_validator

from dataops_assets.config.declared import Declared

STEM, NAME = "{stem}", "{name}"


class FileManifest(Declared):
    """A JSON file that is delivered beside each file and describes it. A file without its manifest waits for it."""

    name: str = Field(
        "{stem}.manifest.json",
        description="Name of the manifest, in the folder of its file: {stem} is the name of the file without its "
        "endings, {name} its whole name. Files with such a name are never inputs.",
    )
    rows: str = Field(
        "", description="Dotted name of the number of records in the manifest. The number is checked. Empty: none."
    )
    sums: dict[str, str] = Field(
        {},
        description="For columns of whole or decimal numbers: dotted name of their sum in the manifest. It is checked.",
    )
    size: str = Field(
        "", description="Dotted name of the size in bytes of the file as delivered, in the manifest. It is checked."
    )
    sha256: str = Field(
        "", description="Dotted name of the SHA-256 (in hex) of the file as delivered, in the manifest. It is checked."
    )

    @field_validator("name")
    @classmethod
    def _tells_its_file(cls, value: str) -> str:
        if value.count(STEM) + value.count(NAME) != 1 or "/" in value:
            raise ValueError(f"name {value!r} must have {STEM} or {NAME} once, and no slash")
        if value in (STEM, NAME):
            raise ValueError(f"name {value!r} is the name of a file: add an ending, such as {value}.manifest.json")
        return value

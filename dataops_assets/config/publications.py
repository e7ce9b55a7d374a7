"""Publications that YAML declares: tables that their readers see at one moment."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.names import Name

LAYERS = ("hub", "lake", "warehouse")
"""The layers whose tables a publication can have."""


def _asset_key(value: str) -> str:
    layer, _, name = value.partition("/")
    if layer not in LAYERS or not name or "/" in name:
        raise ValueError(f"{value!r} is no table; known: {', '.join(f'{item}/<name>' for item in LAYERS)}")
    return value


class Publication(Declared):
    """Tables that their readers see at one moment, all of them or none.

    A publication moves to another moment when its tables agree: each was made of the very versions of the others that
    it shows.
    """

    description: str = Field("", description="Purpose of the publication.")
    owner: str = Field("", description="Owner of the publication: an e-mail address or 'team:name'.")
    tables: tuple[Annotated[str, AfterValidator(_asset_key)], ...] = Field(
        min_length=1, description="Asset keys of its tables: 'hub/<table>', 'lake/<table>' or 'warehouse/<model>'."
    )
    strict: bool = Field(
        False,
        description="Whether it also waits until each known input of the sources of its tables is in them, none is "
        "held, none failed, and no check of severity fail fails.",
    )

    @field_validator("tables")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({item for item in value if value.count(item) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value


class Publications(Declared):
    """The publications of a deployment, by name."""

    publications: dict[Name, Publication] = Field({}, description="Publications by name.")

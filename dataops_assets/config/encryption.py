"""Declared encryption of files; keys and passwords are references to secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dataops_assets.config.declared import Declared
from dataops_assets.config.secrets import Secret


class AgeEncryption(Declared):
    """Files that are encrypted with age."""

    type: Literal["age"]
    identity: Secret = Field(
        description="The secret keys (AGE-SECRET-KEY-1...), one on each line, as age-keygen writes them. Any of them "
        "may open a file, so a key is changed without a gap."
    )


class ZipEncryption(Declared):
    """Zip files with a password: AES or the old encryption of zip."""

    type: Literal["zip"]
    password: Secret = Field(description="The password.")


Encryption = Annotated[AgeEncryption | ZipEncryption, Field(discriminator="type")]

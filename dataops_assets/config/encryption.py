"""Declared encryption of files; keys and passwords are references to secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared
from dataops_assets.config.secrets import Secret


class AgeEncryption(Declared):
    """Files that are encrypted with age, for a key or with a passphrase."""

    type: Literal["age"]
    identity: Secret | None = Field(
        None,
        description="The secret keys (AGE-SECRET-KEY-1...), one on each line, as age-keygen writes them. Any of them "
        "may open a file, so a key is changed without a gap.",
    )
    passphrase: Secret | None = Field(
        None, description="The passphrase, instead of keys. Such a file is opened in memory as a whole."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> AgeEncryption:
        if (self.identity is None) == (self.passphrase is None):
            raise ValueError("age has either an identity (secret keys) or a passphrase: declare one of them")
        return self


class PgpEncryption(Declared):
    """Files that are encrypted with PGP, for a key or with a passphrase. The program gpg opens them."""

    type: Literal["pgp"]
    keys: Secret | None = Field(
        None,
        description="The secret keys, as `gpg --armor --export-secret-keys` writes them, one after another. Any of "
        "them, and of their subkeys, may open a file.",
    )
    passphrase: Secret | None = Field(None, description="The passphrase of the keys; without keys, that of the files.")

    @model_validator(mode="after")
    def _has_a_secret(self) -> PgpEncryption:
        if self.keys is None and self.passphrase is None:
            raise ValueError("pgp needs keys, perhaps with their passphrase, or the passphrase of the files")
        return self


class ZipEncryption(Declared):
    """Zip files with a password: AES or the old encryption of zip."""

    type: Literal["zip"]
    password: Secret = Field(description="The password.")


Encryption = Annotated[AgeEncryption | PgpEncryption | ZipEncryption, Field(discriminator="type")]

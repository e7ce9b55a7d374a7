"""References to secrets. A declaration never contains the secret itself."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared

_PLACES = ("env", "file", "aws", "vault")


class Secret(Declared):
    """A reference to a secret: a variable, a file, or an entry of a secret store. It is read when it is needed."""

    env: str = Field("", description="Name of the environment variable that holds the secret.")
    file: str = Field("", description="Path of the file that holds the secret; a line end at its end is ignored.")
    aws: str = Field("", description="Name or ARN of a secret in AWS Secrets Manager.")
    vault: str = Field("", description="Path of a secret in Vault's key-value engine, as its API has it.")
    key: str = Field(
        "",
        description="Name of the value in a secret of `aws` or `vault` that has several. Empty: the text of the whole "
        "secret of `aws`, or the only value of that of `vault`.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Secret:
        given = [name for name in _PLACES if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                "give one of env (the name of a variable), file (a path), aws (the name of a secret in AWS Secrets "
                "Manager) and vault (a path in Vault)"
            )
        if self.env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.env):
            # the value is not shown: it may be the secret itself
            raise ValueError("env is the name of an environment variable, and not the secret")
        if self.key and given[0] in ("env", "file"):
            raise ValueError("key belongs to aws and vault; a variable and a file hold one secret")
        return self

    @property
    def place(self) -> str:
        """Return where the secret is, in words."""
        if self.env:
            return f"the environment variable {self.env}"
        if self.file:
            return f"the file {self.file}"
        name, store = (self.aws, "AWS Secrets Manager") if self.aws else (self.vault, "Vault")
        return f"the secret {name} of {store}" + (f", key {self.key}" if self.key else "")

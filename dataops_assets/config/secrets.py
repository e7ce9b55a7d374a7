"""References to secrets. A declaration never contains the secret itself."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from dataops_assets.config.declared import Declared


class Secret(Declared):
    """A reference to a secret: an environment variable or a file. It is read each time a connection is opened."""

    env: str = Field("", description="Name of the environment variable that holds the secret.")
    file: str = Field("", description="Path of the file that holds the secret; a line end at its end is ignored.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Secret:
        if bool(self.env) == bool(self.file):
            raise ValueError("give either env (the name of a variable) or file (a path)")
        if self.env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.env):
            # the value is not shown: it may be the secret itself
            raise ValueError("env is the name of an environment variable, and not the secret")
        return self

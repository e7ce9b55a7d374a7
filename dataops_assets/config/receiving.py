"""Declared receivers: how requests that others send (webhooks) are proved and stored as files of a source."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataops_assets.config.declared import Declared
from dataops_assets.config.secrets import Secret


class Signature(Declared):
    """The signature of a request: HMAC-SHA256 of its body with a shared secret, in a header."""

    secret: Secret = Field(description="Reference to the secret that the sender signs with.")
    header: str = Field("X-Hub-Signature-256", min_length=1, description="Name of the header with the signature.")
    prefix: str = Field("", description="What stands before the signature in the header, such as 'sha256='.")
    encoding: Literal["hex", "base64"] = Field("hex", description="How the signature is written.")


class Receive(Declared):
    """The receiver of a source: `dataops receive` stores the body of each request as a file, and answers then."""

    signature: Signature = Field(description="How requests are proved; others are refused.")
    most_bytes: int = Field(8 << 20, ge=1, description="Most bytes of a body.")

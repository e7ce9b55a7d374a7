"""Declared receivers: how requests that others send (webhooks) and files that agents push are proved and stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.secrets import Secret


class Signature(Declared):
    """The signature of a request: HMAC-SHA256 of its body with a shared secret, in a header."""

    secret: Secret = Field(description="Reference to the secret that the sender signs with.")
    header: str = Field("X-Hub-Signature-256", min_length=1, description="Name of the header with the signature.")
    prefix: str = Field("", description="Text before the signature in the header, such as 'sha256='.")
    encoding: Literal["hex", "base64"] = Field("hex", description="Encoding of the signature.")


class Uploads(Declared):
    """Files that agents push: `dataops push` sends them in parts, and they get their own names in the folder."""

    most_bytes: int = Field(10 << 30, ge=1, description="Maximum size of a file in bytes.")
    keep_unfinished: Duration = Field(
        timedelta(days=7),
        gt=timedelta(0),
        description="How long the parts of an unfinished file are kept after the last part arrived. After that, the "
        "file must be sent again from its beginning.",
    )


class Receive(Declared):
    """The receiver of a source: `dataops receive` stores the body of each request as a file, and answers then."""

    signature: Signature = Field(
        description="The signature that proves who sent a request. Requests without it are refused."
    )
    most_bytes: int = Field(8 << 20, ge=1, description="Maximum size of a body in bytes.")
    uploads: Uploads | None = Field(
        None,
        description="Receives files that `dataops push` sends, instead of the bodies of requests. Then only the secret "
        "of `signature` is used.",
    )

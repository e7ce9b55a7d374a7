"""Declared REST APIs: how to reach and sign in to one, and which of its collections is a source.

An API is declared once, in a `ConnectionsComponent`, beside the databases. Secrets are only referred to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration
from dataops_assets.config.limits import Limits
from dataops_assets.config.secrets import Secret


class ApiKey(Declared):
    """A key in a header or in the query of each request."""

    type: Literal["api_key"]
    name: str = Field("X-API-Key", min_length=1, description="Name of the header or of the query parameter.")
    place: Literal["header", "query"] = Field("header", description="Place of the key.")
    key: Secret = Field(description="Reference to the key.")


class Basic(Declared):
    """A user and a password."""

    type: Literal["basic"]
    user: str = Field(description="Name of the user.")
    password: Secret = Field(description="Reference to the password.")


class Bearer(Declared):
    """A token that does not change."""

    type: Literal["bearer"]
    token: Secret = Field(description="Reference to the token.")


class OAuth2(Declared):
    """OAuth 2 with client credentials. A token is asked for when it is needed, and again before it expires."""

    type: Literal["oauth2"]
    token_url: str = Field(description="Address that issues tokens.")
    client_id: str = Field(description="Id of the client.")
    client_secret: Secret = Field(description="Reference to the client's secret.")
    scope: str = Field("", description="Scopes to ask for, separated by blanks.")

    @field_validator("token_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return require_url(value, "token_url")


Auth = Annotated[ApiKey | Basic | Bearer | OAuth2, Field(discriminator="type")]


class RestApi(Declared):
    """A REST API that answers with JSON."""

    type: Literal["rest"]
    url: str = Field(description="Address below which all requests are made.")
    auth: Auth | None = Field(None, description="How requests are signed in; none if the API is open.")
    headers: dict[str, str] = Field({}, description="Further headers of each request, without secrets.")
    timeout_seconds: float = Field(30.0, gt=0, description="Longest time without an answer.")
    tries: int = Field(
        5, ge=1, le=20, description="Maximum number of tries of a request that fails with a transient error."
    )
    longest_wait: Duration = Field(
        timedelta(seconds=30),
        description="Longest time that one look waits between tries, and for a rate limit. Then the next look tries.",
    )
    test_path: str = Field("", description="Path that `dataops connections test` asks for; default: a source's path.")

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return require_url(value, "url")


class OnePage(Declared):
    """All records come in one answer."""

    type: Literal["none"] = "none"


class PageNumber(Declared):
    """Pages are numbered. The last one is followed by an empty one, or by none that `pages_at` counts."""

    type: Literal["page"]
    param: str = Field("page", description="Query parameter with the number.")
    first: int = Field(1, ge=0, description="Number of the first page.")
    pages_at: str = Field(
        "", description="Dotted path to the number of pages; without it, an empty page is the last one."
    )


class Offset(Declared):
    """The next page begins after the records that came. An empty page is the last one."""

    type: Literal["offset"]
    param: str = Field("offset", description="Query parameter with the number of records to skip.")
    limit_param: str = Field("limit", description="Query parameter with the size of a page.")
    limit: int = Field(100, ge=1, description="Size of a page. An API may give fewer.")


class Cursor(Declared):
    """The body has a value with which the next page is asked for; there is none in the last page."""

    type: Literal["cursor"]
    param: str = Field("cursor", description="Query parameter with the value.")
    cursor_at: str = Field(description="Dotted path to the value in the body.")


class NextLink(Declared):
    """The body, or the header Link with rel=next, has the address of the next page; there is none in the last page."""

    type: Literal["link"]
    link_at: str = Field("", description="Dotted path to the address in the body; empty: the header Link.")


Paging = Annotated[OnePage | PageNumber | Offset | Cursor | NextLink, Field(discriminator="type")]


class RestIncremental(Declared):
    """Takes only records that are new or changed since the last look."""

    cursor: str = Field(
        description="Dotted path of a value in a record that grows with each change: a number, a date or an ISO time."
    )
    param: str = Field(description="Query parameter with the value from which records are asked for.")
    start: str = Field("", description="Value of the parameter at the first look, and at full looks; empty: none.")
    format: str = Field(
        "", description="Form of a time or a date in the parameter, as in Python's strftime; empty: ISO 8601."
    )
    overlap: Duration | int | None = Field(
        None,
        description="How far a look goes back behind the highest value, for records that appeared late. Records that "
        "were taken before are not taken again. Default: 1 hour for times, 1 day for dates, 1000 for numbers.",
    )
    full_every: Duration | None = Field(None, description="Read all records again after this time.")

    @field_validator("overlap")
    @classmethod
    def _not_negative(cls, value: timedelta | int | None) -> timedelta | int | None:
        if (value < timedelta(0)) if isinstance(value, timedelta) else (value is not None and value < 0):
            raise ValueError("overlap goes back, so it is not negative")
        return value


class RestConnection(Declared):
    """A collection of a declared REST API. Each look that finds something new makes one input, in JSON Lines."""

    type: Literal["rest"]
    api: str = Field(description="Name of the API in a ConnectionsComponent.")
    path: str = Field(description="Path below the API's address.")
    params: dict[str, str | int | bool] = Field({}, description="Query parameters of each request.")
    body: dict[str, Any] | None = Field(
        None,
        description="JSON body of each request, which is a POST then. Parameters of paging and of incremental are put "
        "into it, at their names as dotted paths.",
    )
    records_at: str = Field("", description="Dotted path to the array of records; empty: the body is the array.")
    total_at: str = Field(
        "",
        description="Dotted path to the number of all records. If it changes while pages are read, or another number "
        "of records came, the look begins again. Without it, paging by number or offset misses a record if one of an "
        "earlier page is deleted meanwhile.",
    )
    paging: Paging = Field(OnePage(), description="How the next page is asked for.")
    most_pages: int = Field(10_000, ge=1, description="A look that needs more pages fails.")
    every: Duration | None = Field(
        None, description="Time between two looks at the API; default: 1 hour, or each tick of discovery.schedule."
    )
    incremental: RestIncremental | None = Field(None, description="Read only new and changed records; default: all.")
    limits: Limits = Field(Limits(), description="Limits for reading one extract.")

    @model_validator(mode="after")
    def _parts_fit(self) -> RestConnection:
        if "://" in self.path or self.path.startswith("//"):
            raise ValueError(f"path is {self.path!r}; write it below the API's address, such as 'orders'")
        if self.body is not None:
            self._require_places(self.body)
        elif self.incremental is not None and self.incremental.param in self.params:
            raise ValueError(f"params has {self.incremental.param!r}, which incremental.param sets; use start")
        return self

    def _require_places(self, body: Mapping[str, Any]) -> None:
        """Raise ValueError if a parameter has no place in the body, because a value on its way is no object."""
        of_incremental = (self.incremental.param,) if self.incremental is not None else ()
        for name in (*_names(self.paging), *of_incremental):
            inside: Any = body
            for part in name.split(".")[:-1]:
                inside = inside.get(part, {})
                if not isinstance(inside, Mapping):
                    raise ValueError(f"body has no place for {name!r}: its {part!r} is no object")


def _names(paging: OnePage | PageNumber | Offset | Cursor | NextLink) -> tuple[str, ...]:
    match paging:
        case Offset():
            return paging.param, paging.limit_param
        case PageNumber() | Cursor():
            return (paging.param,)
    return ()


def require_url(value: str, field: str) -> str:
    """Return an absolute address without credentials; `field` names it in the error. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{field} is not an address such as https://api.example.com/v1")
    if parts.username or parts.password:
        raise ValueError(f"{field} has a user or a password: declare auth, which refers to secrets")
    return value

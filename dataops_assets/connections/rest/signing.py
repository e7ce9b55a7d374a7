"""Signs requests in: a key, a user, a token, or a token that OAuth 2 gives. Secrets are read when a look begins."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote_plus

import requests

from dataops_assets.config.rest import ApiKey, Basic, Bearer, OAuth2, RestApi
from dataops_assets.connections.secrets import secret_of
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.masking import remember

# a token is asked for again so long before it expires
_EARLY_SECONDS = 30.0
_USUAL_SECONDS = 300.0


class Signing(Protocol):
    """Signs requests: with headers and query parameters that prove who asks."""

    can_renew: bool

    def of_request(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return headers and query parameters for a request."""

    def renew(self) -> None:
        """Forget a token that the API refused."""


@dataclass(frozen=True)
class Fixed:
    """Headers and query parameters that stay the same."""

    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    can_renew = False

    def of_request(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """See `Signing`."""
        return self.headers, self.params

    def renew(self) -> None:
        """See `Signing`."""


@dataclass
class ClientCredentials:
    """Tokens of OAuth 2."""

    declared: OAuth2
    secret: str
    timeout: float
    clock: Callable[[], float] = time.monotonic
    token: str = ""
    until: float = 0.0
    can_renew = True

    def of_request(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """See `Signing`. A token that is about to expire is asked for again."""
        if not self.token or self.clock() >= self.until:
            self._ask()
        return {"Authorization": f"Bearer {self.token}"}, {}

    def renew(self) -> None:
        """See `Signing`."""
        self.token = ""

    def _ask(self) -> None:
        attempted = f"asking for a token of client {self.declared.client_id!r}"
        form = {"grant_type": "client_credentials"} | ({"scope": self.declared.scope} if self.declared.scope else {})
        try:
            response = requests.post(
                self.declared.token_url,
                data=form,
                headers=_basic(quote_plus(self.declared.client_id), quote_plus(self.secret)),
                timeout=self.timeout,
                allow_redirects=False,
            )
            found: Any = response.json() if response.ok else {}
        except (requests.RequestException, ValueError) as error:
            raise StorageError(
                attempted, received=type(error).__name__, next_step="check auth.token_url; the next look tries again"
            ) from None
        if response.status_code >= 500 or response.status_code == 429:
            raise StorageError(
                attempted, received=f"status {response.status_code}", next_step="nothing: it is tried again"
            )
        if not isinstance(found, Mapping) or not isinstance(found.get("access_token"), str):
            raise ConfigError(
                attempted,
                received=f"status {response.status_code} and no token",
                next_step="check auth: token_url, client_id, the secret and scope",
            )
        self.token = found["access_token"]
        remember([self.token])
        lasts = found.get("expires_in")
        seconds = float(lasts) if isinstance(lasts, int | float) else _USUAL_SECONDS
        self.until = self.clock() + max(seconds - _EARLY_SECONDS, 0.0)


def signing_of(api: RestApi, variables: Mapping[str, str]) -> Signing:
    """Return how requests to an API are signed in. Raises ConfigError if a secret is not there."""
    match api.auth:
        case ApiKey():
            value = {api.auth.name: secret_of(api.auth.key, variables) or ""}
            return Fixed(headers=value) if api.auth.place == "header" else Fixed(params=value)
        case Basic():
            return Fixed(_basic(api.auth.user, secret_of(api.auth.password, variables) or ""))
        case Bearer():
            return Fixed({"Authorization": f"Bearer {secret_of(api.auth.token, variables)}"})
        case OAuth2():
            secret = secret_of(api.auth.client_secret, variables) or ""
            return ClientCredentials(api.auth, secret, api.timeout_seconds)
        case None:
            return Fixed()


def _basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    remember([text])
    return {"Authorization": f"Basic {text}"}

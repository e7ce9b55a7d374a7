"""Asks an API whether it works, for `dataops connections test`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dataops_assets.config.limits import Limits
from dataops_assets.config.rest import RestApi
from dataops_assets.connections.rest.client import Patience, RestClient
from dataops_assets.connections.rest.signing import signing_of


def answered(api: RestApi, path: str, variables: Mapping[str, str] = os.environ) -> str:
    """Ask for a path, once and signed in, and return what answered. Raises DataOpsError if it does not."""
    once = api.model_copy(update={"tries": 1})
    client = RestClient(once, signing_of(api, variables), Patience(0.0), Limits().document_bytes)
    with client.session:
        answer = client.get(f"{api.url.rstrip('/')}/{path.lstrip('/')}", {})
    return f"REST API {answer.server or 'without a name'}"

"""Reads secrets from AWS Secrets Manager, and from Vault's key-value engine over HTTP.

A store is asked at most once a minute for each secret, so a rotated secret is used a minute later, without a restart.
Only the secret's name is in errors.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_assets.config.secrets import Secret
from dataops_assets.connections.aws import new_session
from dataops_assets.errors import ConfigError, StorageError
from dataops_assets.masking import remember

KEPT_SECONDS = 60.0
_TIMEOUT_SECONDS = 10
_TRIES = 3
# what no other try can help
_REFUSED_BY_AWS = ("ResourceNotFoundException", "AccessDeniedException", "InvalidRequestException", "DecryptionFailure")
_ARN_PARTS = 7
_VAULT = ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_NAMESPACE", "VAULT_CACERT")

_kept: dict[tuple[str, ...], tuple[float, Any]] = {}
_lock = threading.Lock()


def stored_secret(reference: Secret, variables: Mapping[str, str]) -> str:
    """Return the secret of a store.

    Raises ConfigError if it is not there or may not be read, and StorageError if the store does not answer.
    """
    place = (reference.aws, reference.vault, *(variables.get(name, "") for name in _VAULT))
    with _lock:
        read_at, found = _kept.get(place, (0.0, None))
        if found is None or time.monotonic() - read_at >= KEPT_SECONDS:
            read_at = time.monotonic()
            found = _of_aws(reference) if reference.aws else _of_vault(reference, variables)
            _kept[place] = read_at, found
    return _value(reference, found)


def _value(reference: Secret, found: str | Mapping[str, Any]) -> str:
    """Return one value of a secret, which is a text or has values by name."""
    if isinstance(found, str):
        if not reference.key:
            return found
        try:
            values = json.loads(found)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise _wrong(reference, "a text that is no JSON object, so it has no keys", "leave out key")
        found = values
    key = reference.key or (next(iter(found)) if len(found) == 1 else "")
    if key not in found:
        known = ", ".join(sorted(found))
        raise _wrong(reference, f"values with the names {known}" if known else "no values", "name one of them as key")
    value = found[key]
    return value if isinstance(value, str) else json.dumps(value)


def _of_aws(reference: Secret) -> str:
    # takes long to import, and few deployments need it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    parts = reference.aws.split(":")
    region = parts[3] if len(parts) >= _ARN_PARTS and parts[0] == "arn" else None
    limits = {"connect_timeout": _TIMEOUT_SECONDS, "read_timeout": _TIMEOUT_SECONDS}
    settings = Config(retries={"total_max_attempts": _TRIES}, **limits)
    try:
        client = new_session().create_client("secretsmanager", region_name=region, config=settings)
        found = client.get_secret_value(SecretId=reference.aws)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error without a code")
        if code in _REFUSED_BY_AWS:
            raise _wrong(reference, code, "correct the name, or let this role read it") from None
        raise _away(reference, code) from None
    except (NoCredentialsError, NoRegionError) as error:
        raise _wrong(reference, str(error), "give this process a role, and set AWS_REGION") from None
    except BotoCoreError as error:
        raise _away(reference, type(error).__name__) from None
    if "SecretString" not in found:
        raise _wrong(reference, "a binary secret", "store it as text")
    return str(found["SecretString"])


def _of_vault(reference: Secret, variables: Mapping[str, str]) -> Mapping[str, Any]:
    import requests

    address = variables.get("VAULT_ADDR", "").rstrip("/")
    if not address:
        raise _wrong(reference, "no VAULT_ADDR", "set VAULT_ADDR to the address of Vault")
    headers = {"X-Vault-Token": _vault_token(reference, variables)}
    if namespace := variables.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    try:
        answer = requests.get(
            f"{address}/v1/{reference.vault.strip('/')}",
            headers=headers,
            timeout=_TIMEOUT_SECONDS,
            verify=variables.get("VAULT_CACERT") or True,
            # the token is for this address alone
            allow_redirects=False,
        )
        body = answer.json() if answer.ok else {}
    except (requests.RequestException, OSError) as error:
        raise _away(reference, type(error).__name__) from None
    if answer.status_code in (requests.codes.not_found, requests.codes.forbidden, requests.codes.bad_request):
        told = {requests.codes.not_found: "nothing at this path", requests.codes.forbidden: "no right to read it"}
        received = told.get(answer.status_code, "a path that Vault does not understand")
        raise _wrong(reference, received, "write the path as the API has it, such as secret/data/shop, or grant `read`")
    data = body.get("data") if isinstance(body, dict) else None
    # version 2 of the engine has the values one level below, beside what it knows of their version
    if isinstance(data, dict) and isinstance(data.get("metadata"), dict):
        data = data.get("data")
    if not answer.ok or not isinstance(data, dict):
        raise _away(reference, f"status {answer.status_code}, and no values")
    return data


def _vault_token(reference: Secret, variables: Mapping[str, str]) -> str:
    """Return the token of Vault: from the file that its agent renews, or from a variable."""
    found = variables.get("VAULT_TOKEN", "")
    if path := variables.get("VAULT_TOKEN_FILE"):
        try:
            found = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(reference, f"{type(error).__name__} at VAULT_TOKEN_FILE", "correct the path") from None
    if not found:
        raise _wrong(reference, "no token", "set VAULT_TOKEN, or VAULT_TOKEN_FILE (the file that Vault's agent writes)")
    remember([found])
    return found


def _wrong(reference: Secret, received: str, next_step: str) -> ConfigError:
    return ConfigError(f"reading {reference.place}", received=received, next_step=next_step)


def _away(reference: Secret, received: str) -> StorageError:
    return StorageError(
        f"reading {reference.place}",
        received=received,
        next_step="check that the store can be reached; the next look or retry asks again",
    )

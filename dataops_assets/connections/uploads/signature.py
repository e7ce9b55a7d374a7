"""Signs the requests of uploads as RFC 9421 describes it (HTTP Message Signatures, hmac-sha256).

The signature covers method, path, time and all headers that decide; the body by its digest. A request that is repeated
changes nothing, because bytes are only added at the offset that it names, and only to the upload that it announces.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from dataops_assets.connections.proofs import is_proved, proof_of
from dataops_assets.connections.uploads.upload import CONTENT_DIGEST, DIGEST, LENGTH, MODIFIED, NAME, OFFSET
from dataops_assets.errors import InputError

MOST_SKEW = 300
"""Seconds that the time of a request may differ from the clock of the receiver."""

_ANNOUNCED = (NAME, LENGTH, MODIFIED, DIGEST)
_COVERED = {"HEAD": _ANNOUNCED, "PATCH": (*_ANNOUNCED, OFFSET, CONTENT_DIGEST)}
_LABEL = "dataops"
_INPUT = re.compile(rf'{_LABEL}=(?P<parameters>\([^()]*\);created=(?P<created>[0-9]{{1,12}});alg="hmac-sha256")')
_SIGNATURE = re.compile(rf"{_LABEL}=:([A-Za-z0-9+/=]+):")


def signed(secret: str, method: str, path: str, headers: Mapping[str, str], now: float) -> dict[str, str]:
    """Return the headers that sign a request; `now` is in seconds since 1970."""
    parameters = f'{_components(method)};created={int(now)};alg="hmac-sha256"'
    proof = proof_of(secret, _base(method, path, headers, parameters))
    return {
        "signature-input": f"{_LABEL}={parameters}",
        "signature": f"{_LABEL}=:{base64.b64encode(proof).decode()}:",
    }


def require_signed(secret: str, method: str, path: str, headers: Mapping[str, str], now: float) -> None:
    """Raise InputError if a request is not signed with the secret, or at another time."""
    given = _INPUT.fullmatch(headers.get("signature-input", ""))
    sent = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if given is None or sent is None or not given["parameters"].startswith(f"{_components(method)};"):
        raise _refused("no signature of method, path and headers")
    try:
        proof = base64.b64decode(sent[1], validate=True)
    except binascii.Error:
        proof = b""
    if not is_proved(secret, _base(method, path, headers, given["parameters"]), proof):
        raise _refused("no valid signature")
    if abs(now - int(given["created"])) > MOST_SKEW:
        raise _refused(f"a time that differs from the receiver's clock by more than {MOST_SKEW} s")


def receipt_of(secret: str, upload_id: str) -> str:
    """Return the proof that an upload is stored, which only a receiver with the secret can give."""
    return proof_of(secret, f"stored {upload_id}".encode()).hex()


def is_receipt(secret: str, upload_id: str, given: str) -> bool:
    """Return whether a receipt is that of the upload."""
    try:
        return is_proved(secret, f"stored {upload_id}".encode(), bytes.fromhex(given))
    except ValueError:
        return False


def _components(method: str) -> str:
    return "(" + " ".join(f'"{name}"' for name in ("@method", "@path", *_COVERED[method])) + ")"


def _base(method: str, path: str, headers: Mapping[str, str], parameters: str) -> bytes:
    """Return the signature base of RFC 9421, section 2.5."""
    values = {"@method": method, "@path": path}
    values |= {name: headers.get(name, "").strip() for name in _COVERED[method]}
    lines = [*(f'"{name}": {value}' for name, value in values.items()), f'"@signature-params": {parameters}']
    return "\n".join(lines).encode()


def _refused(received: str) -> InputError:
    return InputError(
        "proving who sent a request",
        received=received,
        next_step="give both sides the same secret and the right time; a proxy between them must not change the path",
    )

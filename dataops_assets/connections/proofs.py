"""Proves messages with a shared secret: HMAC-SHA256 (RFC 2104)."""

from __future__ import annotations

import hashlib
import hmac


def proof_of(secret: str, message: bytes) -> bytes:
    """Return the proof of a message."""
    return hmac.new(secret.encode(), message, hashlib.sha256).digest()


def is_proved(secret: str, message: bytes, given: bytes) -> bool:
    """Return whether a signature is valid for a message. With an empty secret, no signature is valid."""
    return bool(secret) and hmac.compare_digest(proof_of(secret, message), given)

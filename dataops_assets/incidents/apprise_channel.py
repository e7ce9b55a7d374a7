"""A channel that sends with Apprise. Its URL has secrets: it is read when a message is sent, and shown nowhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from dataops_assets.masking import MASK, mask

_SHORTEST = 4
_LINES = 3


@dataclass(frozen=True)
class AppriseChannel:
    """A channel whose URL is the value of an environment variable."""

    variable: str
    environment: Mapping[str, str] = field(repr=False)

    def send(self, title: str, body: str, severity: str) -> str:
        """Send a message. Returns why it was not sent, without secrets; '' if it was."""
        # takes long to import, and most processes send nothing
        import apprise

        url = self.environment.get(self.variable, "")
        if not url:
            return f"the environment variable {self.variable} is not set"
        kind = apprise.NotifyType.FAILURE if severity == "fail" else apprise.NotifyType.WARNING
        receiver = apprise.Apprise()
        logger = logging.getLogger("apprise")
        # its messages may have parts of the URL, so no other handler gets them
        propagated, logger.propagate = logger.propagate, False
        try:
            with apprise.LogCapture(level=logging.WARNING) as log:  # type: ignore[no-untyped-call]
                is_known = receiver.add(url)
                is_sent = is_known and receiver.notify(
                    body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
                )
                said = log.getvalue()
        finally:
            logger.propagate = propagated
        if not is_known:
            return f"the value of {self.variable} is no URL that Apprise knows"
        return "" if is_sent else _hidden(said, url) or "Apprise could not send it, and did not say why"


def _hidden(text: str, url: str) -> str:
    """Return the last lines of a text without any part of the URL."""
    for part in sorted({*re.split(r"[/:@?&=+,;#]+", url), url}, key=len, reverse=True):
        for form in (part, unquote(part)):
            if len(form) >= _SHORTEST:
                text = text.replace(form, MASK)
    return mask("; ".join(line.strip() for line in text.splitlines()[-_LINES:] if line.strip()))

"""Switch the looks at a source off and on again, in the name of a person."""

from __future__ import annotations

import datetime as dt
import getpass
from dataclasses import dataclass

from dataops_assets.errors import InputError
from dataops_assets.metadata.look_store import LookRecord
from dataops_assets.steps.source_context import SourceContext


@dataclass(frozen=True)
class Pause:
    """A source whose looks are off or were off: who did it, when and why."""

    source: str
    by: str
    since: dt.datetime
    because: str


def pause(context: SourceContext, because: str, by: str = "") -> Pause:
    """Switch the looks at a source off. `by` is a person; default: the user of the operating system.

    Runs that were requested before go on. Raises InputError if the source is paused already.
    """
    name, looks = context.source.name, context.metadata.looks
    before = looks.record(name)
    if before.paused:
        raise InputError(f"pausing {name!r}", received=f"it is {before.paused}", next_step=f"dataops resume {name}")
    return _pause(name, looks.pause(name, by or getpass.getuser(), because, dt.datetime.now(dt.UTC)))


def resume(context: SourceContext) -> Pause:
    """Switch the looks at a source on again, and return what ends. Raises InputError if it is not paused."""
    name = context.source.name
    before = context.metadata.looks.resume(name)
    if not before.paused:
        raise InputError(
            f"resuming {name!r}", received="it is not paused", next_step=f"dataops status {name} shows what it does"
        )
    return _pause(name, before)


def _pause(source: str, record: LookRecord) -> Pause:
    since = record.paused_at or dt.datetime.now(dt.UTC)
    return Pause(source, record.paused_by, since, record.paused_because)

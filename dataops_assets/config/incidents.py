"""The settings of incidents that YAML declares: channels, routes, and when an incident opens again."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dataops_assets.config.declared import Declared, Duration, Problem, hint, refuse
from dataops_assets.config.quality import Severity
from dataops_assets.local_time import first_at

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Told = Literal["opened", "reopened", "worsened", "acknowledged", "resolved", "unmuted"]
_DAYS: tuple[Day, ...] = get_args(Day)
_TOLD: tuple[Told, ...] = get_args(Told)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_MINUTES_OF_A_DAY = 24 * 60
# the next week has the days that the clocks skip in this one
_TWO_WEEKS = 15


def _time_of_day(value: Any) -> Any:
    # YAML reads 18:30 without quotes as a number in base 60, which is the minute of the day
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MINUTES_OF_A_DAY:
        return dt.time(value // 60, value % 60)
    return dt.time.max if value in (_MINUTES_OF_A_DAY, "24:00") else value


TimeOfDay = Annotated[dt.time, BeforeValidator(_time_of_day)]
"""A time of the day such as '08:30' or '24:00'."""


class Channel(Declared):
    """A way to tell people: anything that Apprise can send to (e-mail, chat, web hook, pager)."""

    url: str = Field(
        description="The environment variable with the URL of Apprise, as ${NAME}. The URL itself has secrets."
    )
    description: str = Field("", description="Who reads it.")

    @field_validator("url")
    @classmethod
    def _names_a_variable(cls, value: str) -> str:
        if not _VARIABLE.fullmatch(value):
            # the value is not shown: it may be a URL with a secret
            raise ValueError("write the name of an environment variable as ${NAME}; a URL has secrets")
        return value

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return self.url[2:-1]


class Hours(Declared):
    """The hours in which messages are sent. Those of other times wait until the next such hour."""

    timezone: str = Field("UTC", description="Time zone of the hours, such as Europe/Berlin.")
    days: tuple[Day, ...] = Field(_DAYS, min_length=1, description="Days on which messages are sent.")
    begin: TimeOfDay = Field(dt.time(0), description="First minute of the day at which messages are sent.")
    end: TimeOfDay = Field(dt.time.max, description="Time of the day from which messages wait.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; known: UTC, Europe/Berlin, America/New_York, ...") from None
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Hours:
        if self.begin >= self.end:
            raise ValueError(f"hours: begin ({self.begin}) must be before end ({self.end})")
        return self

    def next_open(self, time: dt.datetime) -> dt.datetime:
        """Return the first time from `time` on at which messages are sent."""
        return next(max(time, opens) for opens, closes in self._windows(time) if time < closes)

    def closes(self, time: dt.datetime) -> dt.datetime:
        """Return the end of the hours that are open at `time`."""
        return next(closes for _, closes in self._windows(time) if time < closes)

    def _windows(self, time: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        """Return when messages begin and cease to be sent, of the days from that of `time` on."""
        zone = ZoneInfo(self.timezone)
        today = time.astimezone(zone).date()
        for day in (today + dt.timedelta(days=ahead) for ahead in range(_TWO_WEEKS)):
            # midnight is the next day's
            is_whole = self.end == dt.time.max
            end = dt.datetime.combine(day + dt.timedelta(days=is_whole), dt.time() if is_whole else self.end)
            opens, closes = first_at(dt.datetime.combine(day, self.begin), zone), first_at(end, zone)
            # the clocks can skip the hours of a day
            if _DAYS[day.weekday()] in self.days and opens < closes:
                yield opens, closes


class Route(Declared):
    """Sends the incidents that it matches to channels. An empty choice matches all incidents."""

    to: tuple[str, ...] = Field(min_length=1, description="Names of channels.")
    owners: tuple[str, ...] = Field((), description="Only incidents of these owners.")
    areas: tuple[str, ...] = Field((), description="Only incidents of these subject areas.")
    severities: tuple[Severity, ...] = Field((), description="Only incidents of these severities.")
    tell: tuple[Told, ...] = Field(_TOLD, description="Changes about which messages are sent.")
    hours: Hours | None = Field(None, description="When messages are sent; default: always.")
    escalate_after: Duration | None = Field(
        None, description="If nobody acknowledges the incident within this time, one more message is sent."
    )
    escalate_to: tuple[str, ...] = Field(
        (), description="Channels of this further message, which is sent at any hour; default: `to`."
    )


class Incidents(Declared):
    """Settings of the incidents of a deployment."""

    reopen_within: Duration = Field(
        dt.timedelta(days=1),
        description="A problem that comes back within this time opens its incident again; later it makes a new one.",
    )
    link: str = Field("", description="Address of the Dagster UI, for links in messages.")
    digest_above: int = Field(
        5, ge=1, description="If more messages than this are due for a channel, they are sent as one."
    )
    channels: dict[str, Channel] = Field({}, description="Channels by name.")
    routes: tuple[Route, ...] = Field(
        (), description="Which incidents are reported to which channels; every route that matches is used."
    )

    @model_validator(mode="after")
    def _known_channels(self) -> Incidents:
        known = list(self.channels)
        problems: list[Problem] = [
            (("routes", index, field), name, f"unknown channel {name!r}{hint(name, known)}; known: {', '.join(known)}")
            for index, route in enumerate(self.routes)
            for field, names in (("to", route.to), ("escalate_to", route.escalate_to))
            for name in names
            if name not in self.channels
        ]
        refuse("Incidents", problems)
        return self

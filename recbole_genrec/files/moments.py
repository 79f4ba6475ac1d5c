"""The meaning of a file's timestamps: their origin, their unit, and whether they are calendar times."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from math import floor
from typing import Any

from recbole_genrec.errors import GenRecError, shown

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: units of time since 1970, each with the times that are taken for it: those of the years 1973 to 2286.
UNITS = {
    "seconds": (timedelta(seconds=1), 1e8, 1e10),
    "milliseconds": (timedelta(milliseconds=1), 1e11, 1e13),
}
#: times that are numbers of no known unit, such as 1, 2, 3.
NO_CLOCK = "none"
#: what no time reaches, so that the difference of two is a number of 64 bits.
LARGEST = 2**62
#: the accepted forms of a moment, for messages.
FORMS = "a date and time such as '2026-11-26 20:00' or '2026-11-26T20:00+01:00'"


@dataclass(frozen=True)
class Clock:
    """The origin and unit of the times of a file.

    Attributes:
        first: the first time of the file, without what comes after its decimal point: exact times count from there.
        unit: one of :data:`UNITS`, since 1970, or :data:`NO_CLOCK`.
    """

    first: int
    unit: str

    @classmethod
    def of(cls, first: float, last: float) -> "Clock":
        """The clock of a file by its first and last time: the unit is inferred from their magnitude."""
        units = (name for name, (_, least, most) in UNITS.items() if least <= first and last < most)
        return cls(floor(first), next(units, NO_CLOCK))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Clock":
        """Read what :meth:`as_json` gave.

        Raises:
            GenRecError: the unit is none, or the first time is beyond all times.
        """
        if abs(content["first"]) >= LARGEST:
            raise GenRecError(f"its times begin at {shown(content['first'])}.")
        if content["unit"] not in (*UNITS, NO_CLOCK):
            raise GenRecError(f"the unit of its times is {shown(content['unit'])}, not {', '.join(UNITS)} or 'none'.")
        return cls(content["first"], content["unit"])

    def as_json(self) -> dict[str, Any]:
        """First time and unit by name."""
        return asdict(self)

    @property
    def has_calendar(self) -> bool:
        """Whether the times are calendar times."""
        return self.unit != NO_CLOCK

    @property
    def seconds(self) -> float:
        """Seconds in one unit of the times, which must be calendar times."""
        return UNITS[self.unit][0].total_seconds()

    def since_first(self, moment: "datetime | str | float", what: str) -> int:
        """The exact time of a moment: units of the file since its first time, 0 for what was earlier.

        Args:
            moment: a date and time, also as ISO text, of the local time zone unless it says another; or a number, in
                the units of the file.
            what: names the moment in errors.

        Raises:
            GenRecError: it is no moment, or a date and the times tell none.
        """
        if isinstance(moment, (int, float)) and not isinstance(moment, bool) and abs(moment) < LARGEST:
            return max(floor(moment) - self.first, 0)
        when = read_moment(moment, what)
        if not self.has_calendar:
            raise GenRecError(
                f"{what} is a date, but the times of the training data are no clock: they begin at {self.first}, which "
                "is neither seconds nor milliseconds since 1970."
            )
        return max((when - _EPOCH) // UNITS[self.unit][0] - self.first, 0)


def read_moment(moment: object, what: str) -> datetime:
    """A moment with its time zone.

    Args:
        moment: a ``datetime``, or ISO text; without a time zone it is local.
        what: names it in errors.

    Raises:
        GenRecError: it is neither.
    """
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment.strip().replace("Z", "+00:00"))
        if isinstance(moment, datetime):
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):  # no such date, or one that no time zone reaches
        pass
    raise GenRecError(f"{what} must be {FORMS}, not {shown(moment)}.")

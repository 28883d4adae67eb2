"""The errors of Halfback. Every text says what was found, what was expected, and what to do."""

__all__ = ["ConfigError", "Error", "FileError", "ScheduleError"]


class Error(Exception):
    """Base of all errors of Halfback."""


class ConfigError(Error, ValueError):
    """A shape or an argument that cannot work."""


class FileError(Error, OSError):
    """A file that cannot be read, written or understood."""


class ScheduleError(Error, ValueError):
    """A schedule that breaks a rule, or a text that is not a schedule.

    The text contains the lists around the fault. Where the fault has a place, it is here too:

    Attributes:
        rank: the rank whose list has the fault.
        position: the 0-based position in that list.
        action: the action there, such as ``"2F0"``; ``""`` after the end of the list.

    All three are ``None`` where there is no such place, as in a text that does not parse.
    """

    def __init__(self, text: str, rank: int | None = None, position: int | None = None, action: str | None = None):
        super().__init__(text)
        self.rank = rank
        self.position = position
        self.action = action

    def __reduce__(self):
        return type(self), (self.args[0], self.rank, self.position, self.action)


for _error in (Error, ConfigError, FileError, ScheduleError):
    _error.__module__ = "halfback"

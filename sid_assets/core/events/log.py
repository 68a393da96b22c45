"""A log of events: where it is, and what its columns mean."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EventLog:
    """A file, folder or glob of events, and how to read it.

    Attributes:
        path: What `SID_EVENTS` names.
        user: Column of users: integers or text.
        item: Column of items, written as the catalog writes them.
        time: Column of times.
        order: Column of numbers that orders the events of a user at one time; "" for none.
        delimiter: What separates values in text files, such as `::`; "" as the name says.
        header: Names of the columns, separated by commas, if the files have no header line.
        time_format: "" finds out whether times are numbers of s, ms, us or ns since 1970, or ISO
            text; or one of these four units, or a format of strptime, such as `%Y%m%d`.
        timezone: Of times without an offset.
        quoting: How CSV files are quoted: `auto`, `quoted` or `none`.
    """

    path: str
    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    order: str = ""
    delimiter: str = ""
    header: str = ""
    time_format: str = ""
    timezone: str = "UTC"
    quoting: str = "auto"

"""The log of a flow run, in which no name of a file looks like a line of its own."""

import logging

from nst.wording import message

# Those that Prefect gives handlers: of its console and of its server.
_LOGGERS = (None, "nst", "prefect", "prefect.flow_runs", "prefect.task_runs")


class _InOneMessage(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = message(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = message(logging.Formatter().formatException(record.exc_info))
        return True


_filter = _InOneMessage()


def show_names_as_text() -> None:
    """From now on this process logs control characters, and line breaks in names, by their numbers."""
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_filter)

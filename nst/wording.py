"""Quantities as people read them."""


def shown_bytes(count: int) -> str:
    """Bytes as a message says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def shown_duration(seconds: float) -> str:
    """Seconds as people say them, to no more digits than an estimate has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.3g} h"


def counted(number: int, noun: str) -> str:
    """So many of something, in the singular where it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

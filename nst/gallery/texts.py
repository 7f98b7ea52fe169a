"""What a person wrote -> what a page may show of it: no credentials, local folders or unseen letters."""

import re
import sys
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from urllib.parse import unquote
from urllib.request import url2pathname

from nst.redaction import HIDDEN, redacted, without_user
from nst.wording import visible

# Most texts are of these alone, and are told as they stand.
_PLAIN = re.compile(r"[\w .,:+()-]*")
_SPACES = re.compile(r"[\t\n\r]+")
_URL = re.compile(r"(?i)\b(?P<scheme>[a-z][a-z0-9+.-]{0,30})://(?P<rest>[^\s\"'<>]*)")
# Folders may have spaces in their names, but none begins or ends with one.
_FOLDER = r"[^/\s:\"'<>|](?:[^/:\"'<>|\n]*[^/\s:\"'<>|])?/"
_POSIX_PATH = re.compile(rf"(?<![^\s\"'(\[=,;<>|])/(?:{_FOLDER})+[^/\s:\"'<>|]*")
_WINDOWS_FOLDER = r"[^\\/\s:\"'<>|](?:[^\\/:\"'<>|\n]*[^\\/\s:\"'<>|])?[\\/]"
_WINDOWS_PATH = re.compile(
    rf"(?i)(?<![^\s\"'(\[=,;<>|])(?:[a-z]:[\\/]|\\\\)(?:{_WINDOWS_FOLDER})+[^\\/\s:\"'<>|]*"
)
_WINDOWS_START = re.compile(r"(?i)[a-z]:[\\/]|\\\\")
# From the start of a word only, so that no letter of a long one is looked at for each before it.
_NAMED_HIDDEN = re.compile(rf"(?<![\w.-])[\w.-]+={re.escape(HIDDEN)}")
_DIGITS = re.compile(r"0*([0-9]+)")
_HOMES = {"home", "users"}


def shown_text(text: str) -> str:
    """A text without credentials, folders of local paths, users and queries of URLs, and unseen letters."""
    if _PLAIN.fullmatch(text):
        return redacted(text)
    text = redacted(_URL.sub(_shown_url, without_user(text)))
    text = _POSIX_PATH.sub(lambda found: _shortened(found[0], "/"), text)
    text = _WINDOWS_PATH.sub(lambda found: _shortened(found[0], "\\"), text)
    return visible(_NAMED_HIDDEN.sub(HIDDEN, text))


def shown_sentence(text: str) -> str:
    """As `shown_text`, for one that may be of several lines."""
    return shown_text(_SPACES.sub(" ", text))


def shown_reference(text: str) -> str:
    """As `shown_text`, for the path or URL of a picture, or several of them apart by `|`."""
    text = redacted(text)
    if _PLAIN.fullmatch(text):
        return text
    return " | ".join(_shown_url_or_path(each.strip()) for each in text.split("|"))


def told_apart(shown: Iterable[str]) -> list[str]:
    """The texts, those that look like an earlier one with a number after them."""
    taken: set[str] = set()
    # The last number of each text, since very many can be alike.
    numbers: dict[str, int] = {}
    result = []
    for text in shown:
        made, number = text, numbers.get(text, 1)
        while made in taken:
            number += 1
            made = f"{text} ({number})"
        numbers[text] = number
        taken.add(made)
        result.append(made)
    return result


def shown_name(text: str) -> str:
    """As `shown_text`, for one word: the name of a layer or a file, without credentials."""
    return visible(redacted(text))


def readable(reference: str) -> str:
    """`pictures/great-wave.jpg | b.png` -> `great wave + b`."""
    return " + ".join(_readable(each.strip()) for each in reference.split("|"))


def natural_key(text: str) -> str:
    """What texts are sorted by so that `a9` comes before `a10`, whatever their case."""
    pieces = _DIGITS.split(text.casefold())
    pieces[1::2] = [f"0{chr(min(len(digits), sys.maxunicode))}{digits}" for digits in pieces[1::2]]
    return "".join(pieces)


def number_text(value: float) -> str:
    """A finite number as JavaScript's String() writes it."""
    if value == int(value) and abs(value) < 1e16:
        return str(int(value))
    digits = repr(value)
    mantissa, _, exponent = digits.partition("e")
    if not exponent:
        return digits
    return f"{Decimal(digits):f}" if -7 < int(exponent) < 21 else f"{mantissa}e{int(exponent):+d}"


def chip_text(value: float, digits: int = 3) -> str:
    """A number to so many digits, a whole one to all of its own: as `short` in format.js has it."""
    if float(value).is_integer():
        return number_text(value)
    rounded = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(Decimal(value))
    return number_text(float(rounded))


def _shown_url_or_path(text: str) -> str:
    """A whole path or URL, whatever spaces are in it."""
    if "://" not in text:
        if text.startswith("/"):
            return visible(_shortened(text, "/"))
        if _WINDOWS_START.match(text):
            return visible(_shortened(text, "\\"))
        return visible(_NAMED_HIDDEN.sub(HIDDEN, text))
    scheme, _, rest = without_user(text).partition("://")
    if scheme.lower() == "file":
        return visible(_shortened(url2pathname(rest), "/"))
    return visible(f"{scheme}://{_without_query(rest)}")


def _shown_url(found: re.Match[str]) -> str:
    scheme, rest = found["scheme"], found["rest"]
    body = rest.rstrip(".,:;)]")
    end = rest[len(body) :]
    if scheme.lower() == "file":
        return _shortened(url2pathname(body), "/") + end
    return f"{scheme}://{_without_query(body)}{end}"


def _without_query(rest: str) -> str:
    # The user of a URL in a message may have been hidden already.
    return rest.removeprefix(f"{HIDDEN}@").partition("?")[0]


def _shortened(path: str, separator: str) -> str:
    """`/home/me/pics/a.jpg` -> `…/pics/a.jpg`; the folder that is somebody's home is left out."""
    if separator == "\\":
        path = path.replace("/", "\\")
    name = path.rstrip(separator).rpartition(separator)[2]
    tail = name + path[len(path.rstrip(separator)) :]
    folders = [each for each in path.split(separator)[: -1 - len(tail) + len(name)] if each]
    if not folders or folders == [name]:
        return path
    above = folders[-2].lower() if len(folders) > 1 else ""
    is_home = above in _HOMES or folders in (["root"], ["home"])
    is_drive = folders[-1].endswith(":")
    shown = [] if is_home or is_drive else [folders[-1]]
    return separator.join(["…", *shown, tail])


def _readable(reference: str) -> str:
    last = unquote(reference).rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    words = " ".join(stem.replace("-", " ").replace("_", " ").split())
    return visible(words or reference)

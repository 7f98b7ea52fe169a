"""What people said of pictures in a gallery: files of it, checked and merged, as fields of the pictures."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nst.errors import ConfigError
from nst.gallery.facets import Facet, Items, Value, rounded
from nst.gallery.fields import Field
from nst.gallery.texts import shown_sentence, shown_text
from nst.redaction import redacted

VOTES = "votes.json"

_FORMAT = "nst-votes"
_PICKS = ("favourite", "rejected")
_RESULTS = ("a", "b", "same")
MAX_VOTES_BYTES = 64 << 20
_MAX_NAME = 100
_MAX_ID = 1000
_MAX_NOTE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What somebody says of a picture, and when: ms since 1970."""

    rating: int | None
    pick: str | None
    note: str | None
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Which of two pictures, by their ids, is better: a, b or same."""

    a: str
    b: str
    better: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """A person, by a random name of their browser's, and all that they said."""

    voter: str
    name: str
    opinions: Mapping[str, Opinion]
    votes: tuple[Vote, ...]


def read_votes(data: bytes) -> list[Voter]:
    """The voters of a file that a gallery has saved. Raises ConfigError that says what is wrong."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise ConfigError(
            f"expected JSON that a gallery has saved under Judge, found other bytes, or a part: {exc}"
        ) from exc
    _expect(
        isinstance(found, dict)
        and found.get("format") == _FORMAT
        and isinstance(found.get("voters"), list),
        "",
        f'ratings and votes that a gallery has saved under Judge, with "format": "{_FORMAT}"',
    )
    return [_voter(each, f"voter {n}: ") for n, each in enumerate(found["voters"], 1)]


def _expect(is_right: bool, where: str, what: str) -> None:
    if not is_right:
        raise ConfigError(f"{where}expected {what}; found something else")


def _voter(given: Any, where: str) -> Voter:
    _expect(isinstance(given, dict), where, "an object")
    voter, name = given.get("voter"), given.get("name", "")
    opinions, votes = given.get("opinions"), given.get("votes")
    _expect(
        _is_text(voter, _MAX_NAME) and voter != "", where, f"a voter of 1 to {_MAX_NAME} characters"
    )
    _expect(_is_text(name, _MAX_NAME), where, f"a name of at most {_MAX_NAME} characters")
    _expect(isinstance(opinions, dict), where, "an object of opinions by the pictures' ids")
    _expect(isinstance(votes, list), where, "a list of votes")
    return Voter(
        voter=redacted(voter),
        name=redacted(name),
        opinions={
            _id(key, where): _opinion(each, f"{where}{key}: ") for key, each in opinions.items()
        },
        votes=tuple(_vote(each, f"{where}vote {n}: ") for n, each in enumerate(votes, 1)),
    )


def _opinion(given: Any, where: str) -> Opinion:
    _expect(isinstance(given, dict), where, "an object")
    rating, pick, note = (given.get(name) for name in ("rating", "pick", "note"))
    is_rating = type(rating) is int and 1 <= rating <= 5
    _expect(rating is None or is_rating, where, "a rating of 1 to 5")
    _expect(pick is None or pick in _PICKS, where, f"a pick of {' or '.join(_PICKS)}")
    _expect(
        note is None or _is_text(note, _MAX_NOTE),
        where,
        f"a note of at most {_MAX_NOTE} characters",
    )
    return Opinion(
        rating=rating,
        pick=pick,
        note=redacted(note) if note else None,
        at=_time(given.get("at", 0), where),
    )


def _vote(given: Any, where: str) -> Vote:
    _expect(isinstance(given, dict), where, "an object")
    better = given.get("better")
    _expect(better in _RESULTS, where, f"better to be one of {', '.join(_RESULTS)}")
    return Vote(
        a=_id(given.get("a"), where),
        b=_id(given.get("b"), where),
        better=str(better),
        at=_time(given.get("at", 0), where),
    )


def _id(given: Any, where: str) -> str:
    _expect(_is_text(given, _MAX_ID), where, f"an id of at most {_MAX_ID} characters")
    return str(given)


def _time(given: Any, where: str) -> int:
    _expect(type(given) is int and 0 <= given < 2**53, where, "a time in ms since 1970")
    return int(given)


def _is_text(value: Any, most: int) -> bool:
    if not isinstance(value, str) or len(value) > most:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def merged(several: Iterable[Iterable[Voter]]) -> list[Voter]:
    """All voters; of one voter the later opinion of each picture, and each vote once."""
    found: dict[str, Voter] = {}
    for voters in several:
        for each in voters:
            before = found.get(each.voter)
            found[each.voter] = _both(before, each) if before else each
    return sorted(found.values(), key=lambda each: each.voter)


def _both(one: Voter, other: Voter) -> Voter:
    opinions = dict(one.opinions)
    for key, each in other.opinions.items():
        if key not in opinions or opinions[key].at < each.at:
            opinions[key] = each
    votes = {(each.at, each.a, each.b): each for each in (*one.votes, *other.votes)}
    return replace(
        one,
        name=one.name or other.name,
        opinions=opinions,
        votes=tuple(votes[key] for key in sorted(votes)),
    )


def to_json(voters: Sequence[Voter]) -> bytes:
    """The voters as a file that `read_votes` and the gallery read."""
    return json.dumps(
        {"format": _FORMAT, "version": 1, "voters": [_plain(each) for each in voters]},
        ensure_ascii=False,
        indent=1,
    ).encode()


def _plain(voter: Voter) -> dict[str, Any]:
    def opinion(one: Opinion) -> dict[str, Any]:
        told = {"rating": one.rating, "pick": one.pick, "note": one.note}
        return {name: value for name, value in told.items() if value is not None} | {"at": one.at}

    return {
        "voter": voter.voter,
        "name": voter.name,
        "opinions": {key: opinion(each) for key, each in sorted(voter.opinions.items())},
        "votes": [
            {"a": each.a, "b": each.b, "better": each.better, "at": each.at} for each in voter.votes
        ],
    }


def page_content(voters: Sequence[Voter]) -> dict[str, Any]:
    """The votes of each voter as the page reads them; opinions are fields of the pictures."""
    return {
        "voters": [
            _plain(replace(each, name=shown_text(each.name), opinions={}))
            for each in voters
            if each.votes
        ]
    }


def facets_of(voters: Sequence[Voter], items: Items) -> dict[str, Facet]:
    """What all voters say of each item, as fields of it; none where nobody says anything."""
    numbers = {str(items.facets["id"].at(item)): item for item in range(len(items))}
    ratings: dict[int, list[int]] = defaultdict(list)
    picks: dict[str, dict[int, int]] = {pick: defaultdict(int) for pick in _PICKS}
    notes: dict[int, list[str]] = defaultdict(list)
    for voter in voters:
        for key, said in voter.opinions.items():
            item = numbers.get(key)
            if item is None:
                continue
            if said.rating is not None:
                ratings[item].append(said.rating)
            if said.pick is not None:
                picks[said.pick][item] += 1
            if said.note is not None:
                name = shown_text(voter.name)
                note = shown_sentence(said.note)
                notes[item].append(f"{name}: {note}" if name else note)
    won = _shares_won(voters, numbers)
    means = {item: sum(each) / len(each) for item, each in ratings.items()}
    told: list[tuple[str, str, int, Mapping[int, Value]]] = [
        ("mean_rating", "mean rating", 1, means),
        ("favourite_of", "favourite of", 1, picks["favourite"]),
        ("rejected_by", "rejected by", -1, picks["rejected"]),
        ("votes_won", "share of votes won", 1, won),
        (
            "notes_of_voters",
            "notes of voters",
            0,
            {item: " | ".join(each) for item, each in notes.items()},
        ),
    ]
    return {
        name: _facet(
            Field(column=name, name=name, title=title, role="opinion", better=better),
            [by_item.get(item) for item in range(len(items))],
        )
        for name, title, better, by_item in told
        if by_item
    }


def _facet(field: Field, values: Sequence[Value | None]) -> Facet:
    known = [each for each in values if each is not None]
    if isinstance(known[0], str):
        return _coded(field, "text", sorted({str(each) for each in known}), values)
    numbers = rounded(np.array(known, np.float64)).tolist()
    short = iter(_whole(each) for each in numbers)
    values = [None if each is None else next(short) for each in values]
    return _coded(field, "number", sorted(set(map(_whole, numbers))), values)


def _coded(
    field: Field,
    kind: Literal["number", "text"],
    distinct: Sequence[Value],
    values: Sequence[Value | None],
) -> Facet:
    code_of: dict[Value | None, int] = {value: code for code, value in enumerate(distinct)}
    codes = np.array([code_of.get(each, len(distinct)) for each in values], np.int64)
    return Facet(field, kind, distinct, codes.astype(np.min_scalar_type(len(distinct))))


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def _shares_won(voters: Sequence[Voter], numbers: Mapping[str, int]) -> dict[int, Value]:
    wins: dict[int, float] = defaultdict(float)
    counts: dict[int, int] = defaultdict(int)
    for vote in (vote for voter in voters for vote in voter.votes):
        for key, side in ((vote.a, "a"), (vote.b, "b")):
            item = numbers.get(key)
            if item is not None:
                counts[item] += 1
                wins[item] += 0.5 if vote.better == "same" else float(vote.better == side)
    return {item: wins[item] / count for item, count in counts.items()}

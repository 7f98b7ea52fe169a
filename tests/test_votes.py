"""Ratings and votes that galleries have saved: checked, merged, shown, and never lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from nst import output, pipeline, storage
from nst.errors import ConfigError
from nst.gallery import codec, votes
from nst.gallery.publishing import publish
from tests.browser import samples
from tests.helpers import nst

_ANN: dict[str, Any] = {
    "voter": "a1",
    "name": "Ann",
    "opinions": {
        "p00000": {"rating": 4, "pick": "favourite", "at": 5},
        "p00001": {"rating": 1, "note": "<img src=x onerror=alert(1)>", "at": 6},
    },
    "votes": [
        {"a": "p00000", "b": "p00001", "better": "a", "at": 7},
        {"a": "p00001", "b": "p00000", "better": "same", "at": 8},
    ],
}
_BEN: dict[str, Any] = {
    "voter": "b1",
    "name": "",
    "opinions": {
        "p00000": {"rating": 5, "at": 1},
        "gone": {"rating": 5, "at": 1},
        "p00001": {"note": "dull", "at": 1},
    },
    "votes": [{"a": "p00000", "b": "p00001", "better": "b", "at": 2}],
}


def saved(*voters: Any) -> bytes:
    return json.dumps({"format": "nst-votes", "version": 1, "voters": list(voters)}).encode()


def made(folder: Path) -> Path:
    """An output of four pictures in two rows."""
    samples.write(
        folder,
        [
            samples.Sample(number=n, content=f"c{n // 2}.jpg", backbone=samples.BACKBONES[n % 2])
            for n in range(4)
        ],
    )
    return folder


def data_files(folder: Path, start: str) -> list[Any]:
    paths = sorted((folder / "data").glob(f"{start}*.js"))
    return [codec.decoded(path.read_bytes())[1] for path in paths]


def values(folder: Path, name: str) -> list[Any]:
    """The field of each picture as the gallery shows it, in its order."""
    (spine,) = data_files(folder, "spine")
    index = [field["name"] for field in spine["fields"]].index(name)
    (chunk,) = data_files(folder, "rows")
    column = chunk["fields"][str(index)]
    return [[*column["values"], None][code] for code in column["codes"].tolist()]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no JSON", "expected JSON that a gallery has saved"),
        (saved(_ANN)[:-2], "or a part"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"format": "other", "voters": []}', 'with "format": "nst-votes"'),
        (saved([]), "voter 1: expected an object"),
        (saved(_ANN, {**_ANN, "voter": ""}), "voter 2: expected a voter"),
        (saved({**_ANN, "opinions": {"p": {"rating": 6}}}), "p: expected a rating of 1 to 5"),
        (saved({**_ANN, "opinions": {"p": {"rating": True}}}), "p: expected a rating of 1 to 5"),
        (saved({**_ANN, "opinions": {"p": {"pick": "best"}}}), "a pick of favourite or rejected"),
        (saved({**_ANN, "opinions": {"p": {"note": "x" * 2001}}}), "at most 2000 characters"),
        (saved({**_ANN, "opinions": {"p": {"note": "\ud800"}}}), "a note of at most"),
        (saved({**_ANN, "opinions": {"p": {"at": -1}}}), "a time in ms"),
        (
            saved({**_ANN, "votes": [{"a": "p", "b": "q", "better": "c"}]}),
            "vote 1: expected better",
        ),
        (saved({**_ANN, "votes": [{"a": 1, "b": "q", "better": "a"}]}), "vote 1: expected an id"),
    ],
)
def test_what_is_no_file_of_votes_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        votes.read_votes(data)


def test_what_is_written_is_read_as_it_was() -> None:
    voters = votes.read_votes(saved(_ANN, _BEN))
    assert votes.read_votes(votes.to_json(voters)) == voters


def test_of_one_voter_the_later_opinion_stays_and_each_vote_once() -> None:
    later = {
        **_ANN,
        "opinions": {"p00000": {"rating": 2, "at": 50}, "p00001": {"rating": 5, "at": 1}},
        "votes": [_ANN["votes"][1], {"a": "p00002", "b": "p00003", "better": "b", "at": 9}],
    }
    files = [votes.read_votes(saved(each)) for each in (_ANN, later)]
    for order in (files, files[::-1]):
        (one,) = votes.merged(order)
        assert one.opinions["p00000"].rating == 2
        assert one.opinions["p00001"].rating == 1
        assert [vote.at for vote in one.votes] == [7, 8, 9]


def test_the_gallery_shows_what_all_voters_say_of_each_picture(tmp_path: Path) -> None:
    folder = made(tmp_path)
    pipeline.rebuild_gallery([str(folder)], voters=votes.read_votes(saved(_ANN, _BEN)))
    assert values(folder, "id") == [f"p0000{n}" for n in range(4)]
    assert values(folder, "mean_rating") == [4.5, 1, None, None]
    assert values(folder, "favourite_of") == [1, None, None, None]
    # Of three votes one was won and one a tie.
    assert values(folder, "votes_won") == [0.5, 0.5, None, None]
    assert values(folder, "notes_of_voters") == [
        None,
        "Ann: <img src=x onerror=alert(1)> | dull",
        None,
        None,
    ]
    (told,) = data_files(folder, "votes")
    assert [len(each["votes"]) for each in told["voters"]] == [2, 1]
    assert b"onerror" not in (folder / output.GALLERY).read_bytes()


def test_what_people_said_outlasts_every_rebuild_and_is_added_to(tmp_path: Path) -> None:
    folder = made(tmp_path)
    pipeline.rebuild_gallery([str(folder)], voters=votes.read_votes(saved(_ANN)))
    before = {path: path.read_bytes() for path in folder.glob("data/*")}
    pipeline.rebuild_gallery([str(folder)])
    assert {path: path.read_bytes() for path in folder.glob("data/*")} == before
    pipeline.rebuild_gallery([str(folder)], voters=votes.read_votes(saved(_BEN)))
    assert values(folder, "mean_rating")[0] == 4.5
    kept = votes.read_votes((folder / "votes.json").read_bytes())
    assert [each.voter for each in kept] == ["a1", "b1"]
    assert pipeline.clean(str(folder), dry_run=True) == ()


def test_a_damaged_file_of_votes_stays_and_ends_no_run(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "votes.json").write_bytes(b"{")
    with output.read_table(str(folder), storage.ScratchFile()) as table:
        publish(str(folder), table)
    assert (folder / "votes.json").read_bytes() == b"{"
    with pytest.raises(ConfigError, match="move it away"):
        pipeline.rebuild_gallery([str(folder)], voters=votes.read_votes(saved(_ANN)))
    assert (folder / "votes.json").read_bytes() == b"{"


def test_bad_files_are_named_and_left_out_and_the_others_are_added(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    (tmp_path / "ann.json").write_bytes(saved(_ANN))
    (tmp_path / "bad.json").write_bytes(b"{}")
    files = [str(tmp_path / name) for name in ("ann.json", "bad.json", "none.json")]
    # As a shell passes --votes *.json.
    done = nst("gallery", folder, "--votes", *files)
    assert done.returncode == 3
    assert "2 votes and 2 opinions of 1 voter" in done.stdout
    assert "bad.json: expected ratings and votes" in done.stderr
    assert "none.json" in done.stderr
    assert values(folder, "mean_rating") == [4, 1, None, None]


def test_files_of_votes_may_be_a_pattern_and_need_an_output(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    for name, voter in (("ann.json", _ANN), ("ben.json", _BEN)):
        (tmp_path / name).write_bytes(saved(voter))
    assert nst("gallery", folder, "--votes", tmp_path / "*.json").returncode == 0
    assert values(folder, "mean_rating")[0] == 4.5
    done = nst("gallery", "--votes", tmp_path / "ann.json", tmp_path / "ben.json")
    assert done.returncode == 2
    assert "expected an OUTPUT" in done.stderr

"""Outputs whose pictures have the names that earlier releases gave them."""

from dataclasses import replace
from pathlib import Path

import pytest

from nst.errors import NSTError
from nst.manifest.parsing import Refusal
from nst.manifest.reading import Rows
from nst.output import records
from nst.output.metadata import Status, failure
from nst.planning.earlier_ids import with_earlier_ids
from nst.settings import RunSettings
from tests.helpers import job

TOWER = job(id="東京タワー-s-vgg19-0123456789abcdef", content_name="東京タワー.jpg", backbone="vgg19",
            style_name="in/s.png")  # fmt: skip
OWN = job(id="own", row=2)
ROWS = Rows(jobs=(TOWER, OWN), refused={}, digest="d")
EARLIER = "picture-s-vgg19-0123456789abcdef"


def ids(rows: Rows, output: Path) -> list[str]:
    return [each.id for each in with_earlier_ids(rows, RunSettings(output=str(output))).jobs]


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_picture_keeps_the_name_that_the_output_has(tmp_path: Path, status: Status) -> None:
    assert ids(ROWS, tmp_path) == [TOWER.id, "own"]
    records.write(str(tmp_path), replace(failure(EARLIER, NSTError("x")), status=status))
    assert ids(ROWS, tmp_path) == [EARLIER, "own"]


def test_a_row_that_is_refused_stays_refused_under_the_earlier_name(tmp_path: Path) -> None:
    records.write(str(tmp_path), failure(EARLIER, NSTError("x")))
    rows = replace(ROWS, refused={TOWER.id: Refusal("bad_row", "no")})
    found = with_earlier_ids(rows, RunSettings(output=str(tmp_path)))
    assert list(found.refused) == [EARLIER]


def test_names_that_a_disk_cannot_have_are_those_of_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsencode", lambda text: text.encode("latin-1"))
    assert ids(ROWS, tmp_path) == [EARLIER, "own"]


def test_no_record_is_read_for_names_of_ascii(tmp_path: Path) -> None:
    rows = replace(ROWS, jobs=(OWN,))
    assert with_earlier_ids(rows, RunSettings(output="s3://no-such-bucket/out")) is rows

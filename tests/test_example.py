"""The example of a manifest that `nst init` writes."""

import re

import pytest

from nst.errors import ConfigError
from nst.job import PARAM_FIELDS, PictureParams
from nst.manifest.access import Access
from nst.manifest.example import example_text
from nst.manifest.parsing import Parsed, Places, parse


def parsed(name: str, data: bytes) -> Parsed:
    places = Places(
        resolve=lambda reference: f"/in/{reference}",
        full_pattern=lambda pattern: f"/in/{pattern}",
        glob=lambda pattern: [pattern.replace("*", "a"), pattern.replace("*", "b")],
        access=Access(("file",)),
    )
    return parse(name, data, places)


def test_a_matrix_paints_each_content_in_each_style_with_the_defaults() -> None:
    jobs = parsed("manifest.yaml", example_text("manifest.yaml")).jobs
    assert [(job.content, job.styles) for job in jobs] == [
        ("/in/photos/a.jpg", ("/in/paintings/a.jpg",)),
        ("/in/photos/a.jpg", ("/in/paintings/b.jpg",)),
        ("/in/photos/b.jpg", ("/in/paintings/a.jpg",)),
        ("/in/photos/b.jpg", ("/in/paintings/b.jpg",)),
    ]
    assert {job.params for job in jobs} == {PictureParams()}


def test_each_line_of_a_column_says_its_default_once_the_comment_is_taken_off() -> None:
    text = example_text("m.yaml").decode()
    columns = "|".join(PARAM_FIELDS)
    plain, number = re.subn(rf"^# ({columns}):", r"\1:", text, flags=re.MULTILINE)
    assert number == len(PARAM_FIELDS)
    (params,) = {job.params for job in parsed("m.yaml", plain.encode()).jobs}
    assert params == PictureParams()


def test_a_table_has_one_row_and_names_each_column() -> None:
    data = example_text("rows.csv")
    (job,) = parsed("rows.csv", data).jobs
    assert (job.content, job.params) == ("/in/photos/one.jpg", PictureParams())
    assert [name for name in PARAM_FIELDS if f"# {name}: " not in data.decode()] == []


def test_another_suffix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"found .rows\.txt"):
        example_text("rows.txt")

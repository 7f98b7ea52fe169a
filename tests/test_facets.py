import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nst.errors import ConfigError
from nst.gallery import facets
from nst.gallery.facets import DETAIL_ITEMS, Items, read_items
from nst.job import PictureParams
from nst.output.metadata import Outcome, Record
from nst.output.paths import preview_name, small_preview_name, thumbnail_stem
from tests.galleries import RECORDS, expected_items, record, source
from tests.test_metadata import FAILED, OK


def told(items: Items) -> list[dict[str, Any]]:
    """What is known of each item, without what is not."""
    return [
        {name: value for name, facet in items.facets.items() if (value := facet.at(i)) is not None}
        for i in range(len(items))
    ]


def read(*records: Record, **options: Any) -> Items:
    return read_items([source(records, **options)])


@settings(deadline=None, database=None, max_examples=20)
@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_all_runs_are_told_as_their_metadata_tells_them(runs: list[list[Record]]) -> None:
    sources = [source(rows, name=f"run {n}") for n, rows in enumerate(runs)]
    items = read_items(sources)
    assert told(items) == expected_items(sources)
    assert items.num_rows == sum(map(len, runs))
    for facet in items.facets.values():
        assert facet.num_missing == sum(facet.at(i) is None for i in range(len(items)))
        assert set(facet.codes.tolist()) - {len(facet.values)} == set(range(len(facet.values)))
        if facet.kind == "number":
            assert list(facet.values) == sorted(facet.values)


@settings(deadline=None, database=None)
@given(st.lists(st.floats() | st.floats(width=32), max_size=20))
@example([1.0625, -999.99999, 1e-320, 1.7976931348623157e308, 0.0, -0.0, 9999.5, 12345.5])
def test_numbers_are_rounded_as_text_of_four_digits_is(values: list[float]) -> None:
    found = facets.rounded(np.array(values, np.float64)).tolist()
    expected = [float(f"{value:.4g}") for value in values]
    np.testing.assert_array_equal(found, expected)
    assert not any(value == 0 and np.signbit(value) for value in found)


def test_values_are_in_order_and_texts_in_natural_order() -> None:
    rows = [record(id=f"p{n}", content=f"c{n}.png", row=11 - n) for n in (10, 9, 1)]
    items = read(*rows)
    assert items.facets["content"].values == ["c1.png", "c9.png", "c10.png"]
    assert items.facets["row"].values == [1, 2, 10]
    assert [items.facets["id"].at(i) for i in range(3)] == ["p10", "p9", "p1"]


def test_the_contents_own_size_is_a_word_beside_other_sizes() -> None:
    sizes = {"a": 1024, "b": 0, "c": 512}
    rows = [record(id=name, params=PictureParams(size=size)) for name, size in sizes.items()]
    assert read(*rows).facets["size"].values == ["512", "1024", "content"]
    assert [read(*rows).facets["size"].at(i) for i in range(3)] == ["1024", "content", "512"]
    assert read(rows[0], rows[2]).facets["size"].values == [512, 1024]


def test_rows_that_share_an_id_are_one_item_the_first() -> None:
    items = read(record(id="a", row=1), record(id="b", row=2), record(id="a", row=3))
    assert [(each["id"], each["row"]) for each in told(items)] == [("a", 1), ("b", 2)]
    assert items.facets["row"].values == [1, 2]
    assert items.num_rows == 3


def test_a_picture_that_two_manifests_name_is_one_item_that_names_both() -> None:
    failed = replace(FAILED, id="b")
    items = read(
        record(id="a", manifest="/home/me/rows/one.csv"),
        record(outcome=failed, manifest="/home/me/rows/one.csv"),
        record(id="a", row=2, manifest="s3://bucket/two.csv"),
        record(id="b", row=3, manifest="s3://bucket/two.csv"),
        record(id="c", row=4, manifest="s3://bucket/two.csv"),
    )
    assert [(each["id"], each["row"], each["manifest"]) for each in told(items)] == [
        ("a", 1, "…/rows/one.csv | s3://bucket/two.csv"),
        ("b", 3, "…/rows/one.csv | s3://bucket/two.csv"),
        ("c", 4, "s3://bucket/two.csv"),
    ]


def test_the_same_id_in_two_runs_is_two_items() -> None:
    runs = [source([record(id="a")], name="x"), source([record(id="a")], name="x")]
    items = read_items(runs)
    assert [each["id"] for each in told(items)] == ["x/a", "x (2)/a"]
    assert items.run.tolist() == [0, 1]


def test_details_of_each_run_begin_with_a_file_of_their_own() -> None:
    lengths = [1, 0, DETAIL_ITEMS, DETAIL_ITEMS + 1, 2]
    runs = [source([record(id=str(i)) for i in range(n)], name=str(n)) for n in lengths]
    items = read_items(runs)
    firsts = [items.source[items.run == run].tolist()[:1] for run in range(len(runs))]
    assert firsts == [[0], [], [250], [500], [1000]]
    assert facets.first_rows(lengths) == [0, 250, 250, 500, 1000]


def test_what_one_release_has_and_another_has_not_is_missing_there() -> None:
    runs = [
        source([record(id="a", labels={"x": "1"})], name="old"),
        source([record(id="a")], name="new"),
    ]
    assert [each.get("label_x") for each in told(read_items(runs))] == ["1", None]


def test_references_that_would_look_alike_stay_apart() -> None:
    paths = ["/home/me/one/a.jpg", "/home/you/one/a.jpg", "/home/me/a.jpg"]
    items = read(*(record(id=str(n), content=path) for n, path in enumerate(paths)))
    assert [each["content"] for each in told(items)] == [
        "…/one/a.jpg",
        "…/one/a.jpg (2)",
        "…/a.jpg",
    ]


def test_seeds_that_javascript_cannot_hold_are_texts() -> None:
    seeds = [2**62, 2**62 + 1, 0]
    items = read(*(record(id=str(s), params=PictureParams(seed=s)) for s in seeds))
    seed = items.facets["seed"]
    assert seed.kind == "text"
    assert seed.values == ["0", str(2**62), str(2**62 + 1)]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("images/a b#?%.png", "images/a%20b%23%3F%25.png"),
        ('images/"><script>.png', "images/%22%3E%3Cscript%3E.png"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("//host/a.png", None),
        ("/etc/passwd", None),
        ("../../a.png", None),
        ("images/../../a.png", None),
        ("images/./a.png", None),
        ("images/", None),
    ],
)
def test_pictures_are_paths_below_the_output(picture: str, expected: str | None) -> None:
    items = read(record(outcome=replace(OK, picture=picture)))
    assert items.paths["picture"].at(0) == expected


@pytest.mark.parametrize(
    ("name", "text", "is_taken"),
    [
        ("thumbnail", "thumbs/ab/abcdef0123456789", True),
        ("thumbnail", "thumbs/../abcdef0123456789", False),
        ("thumbnail", "https://host/a", False),
        ("color", "#a0b1c2", True),
        ("color", "red;background:url(x)", False),
    ],
)
def test_thumbnails_and_colors_are_what_they_should_be(
    name: str, text: str, is_taken: bool
) -> None:
    items = read(record(outcome=replace(OK, **{name: text})))  # type: ignore[arg-type]
    place = items.paths["thumb" if name == "thumbnail" else name]
    assert place.at(0) == (text if is_taken else None)


def test_thumbnails_that_metadata_does_not_name_are_those_that_are_there() -> None:
    outcomes = [replace(OK, thumbnail=None, picture_digest=letter * 64) for letter in "ab"]
    rows = [record(id=o.picture_digest[:3], outcome=o) for o in outcomes if o.picture_digest]
    run = source(rows)
    assert facets.lacks_thumbnails(run.metadata)
    stem = thumbnail_stem("a" * 64)
    items = read_items([replace(run, thumbnails={f"{stem}-256.webp"})])
    assert [items.paths["thumb"].at(i) for i in range(2)] == [stem, None]
    named = replace(OK, picture_digest="b" * 64, thumbnail=thumbnail_stem("b" * 64))
    assert not facets.lacks_thumbnails(source([record(outcome=named)]).metadata)
    assert not facets.lacks_thumbnails(source([record(outcome=FAILED)]).metadata)


DIGESTS = {"content_digest": "c" * 64, "style_digest": f"{'d' * 64} {'e' * 64}"}


def test_previews_are_told_where_they_are() -> None:
    outcome = replace(OK, **DIGESTS)  # type: ignore[arg-type]
    there = {preview_name(letter * 64) for letter in "ce"}
    items = read(record(outcome=outcome), previews=there)
    assert items.paths["content_preview"].at(0) == f"inputs/{'c' * 16}"
    assert items.paths["style_preview"].at(0) == f"inputs/{'e' * 16}"
    assert not items.has_small_previews
    small = {small_preview_name(letter * 64) for letter in "ce"}
    assert read(record(outcome=outcome), previews=there | small).has_small_previews
    assert not read(record(outcome=outcome), previews=there | {min(small)}).has_small_previews
    assert read(record(outcome=outcome)).paths["content_preview"].at(0) is None


def test_an_input_is_shown_by_what_any_row_of_the_run_knows_of_it() -> None:
    outcome = replace(OK, **DIGESTS)  # type: ignore[arg-type]
    failed = Outcome(id="x", status="failed")
    rows = [record(id="x", outcome=failed), record(id="y", outcome=outcome)]
    previews = {preview_name("c" * 64)}
    runs = [
        source(rows, name="a", previews=previews),
        source(rows, name="b"),
        source(rows[:1], name="c", previews=previews),
    ]
    places = read_items(runs).paths["content_preview"]
    stem = f"inputs/{'c' * 16}"
    assert [places.at(i) for i in range(5)] == [stem, stem, None, None, None]


def test_bytes_that_are_no_metadata_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected the metadata of a run"):
        read_items([replace(source([]), metadata=io.BytesIO(b"PAR1"))])
    with pytest.raises(ConfigError, match="at most 255 runs"):
        read_items([source([])] * 256)


def test_the_order_can_be_changed_of_all_at_once() -> None:
    rows = [record(id=str(n), row=n, outcome=replace(OK, height=n)) for n in range(1, 5)]
    items = read(*rows).in_order(np.array([3, 0, 2, 1]))
    assert [each["id"] for each in told(items)] == ["4", "1", "3", "2"]
    assert items.height.tolist() == [4, 1, 3, 2]
    assert items.source.tolist() == [3, 0, 2, 1]
    assert items.paths["picture"].at(0) == "images/4.png"

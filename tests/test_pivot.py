from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst.gallery.facets import Items, read_items
from nst.gallery.pivot import Grid, arrange, cells_of, lines_of
from nst.job import PictureParams
from nst.output.metadata import Record
from tests.galleries import RECORDS, record, source
from tests.test_metadata import OK


def arranged(*runs: list[Record]) -> tuple[Items, Grid]:
    sources = [source(rows, name=f"r{n}") for n, rows in enumerate(runs)]
    items = read_items(sources)
    return items, arrange(items, num_runs=len(runs))


def made(**values: Any) -> Record:
    """A record whose id is what it says, with these parameters."""
    own = {n: values.pop(n) for n in list(values) if n in ("style_weight", "tv_weight", "seed")}
    known = record(params=PictureParams(**own), **values)
    return replace(known, outcome=replace(OK, id=repr((sorted(values.items()), own))))


@settings(deadline=None, database=None, max_examples=20)
@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_the_grid_is_that_of_a_slow_one(runs: list[list[Record]]) -> None:
    items, grid = arranged(*runs)
    column = [items.facets[grid.column].at(i) for i in range(len(items))]
    assert {repr(value) for value in column} == {repr(value) for value in grid.columns}
    rows: dict[tuple[Any, ...], list[int]] = {}
    for i in range(len(items)):
        rows.setdefault(tuple(items.facets[name].at(i) for name in grid.row), []).append(i)
    members = [
        sorted(each, key=lambda i: (grid.columns.index(column[i]), i)) for each in rows.values()
    ]
    assert grid.order.tolist() == [i for row in members for i in row]
    assert grid.column_of.tolist() == [grid.columns.index(column[i]) for i in grid.order.tolist()]
    assert grid.num_rows == len(rows)
    starts = grid.starts.tolist()
    assert [b - a for a, b in pairwise(starts)] == [*map(len, members)]
    heights = [max(Counter(grid.columns.index(column[i]) for i in row).values())
               for row in members]  # fmt: skip
    assert grid.num_lines == sum(heights)
    # Every item stands in exactly one cell, and in its own column.
    places = [
        (cell, number)
        for row, within in lines_of(grid)
        for number, cell in cells_of(grid, row)[within].items()
    ]
    assert sorted(cell for cell, _ in places) == list(range(len(items)))
    assert all(grid.column_of[cell] == number for cell, number in places)
    assert len(list(lines_of(grid))) == grid.num_lines


def test_columns_are_backbones_in_the_order_of_the_profiles() -> None:
    backbones = ["resnet50", "vgg19", "unknown", "vgg16"]
    _, grid = arranged([made(backbone=name) for name in backbones])
    assert (grid.row, grid.column) == (("content", "style"), "backbone")
    assert grid.columns == ("vgg16", "vgg19", "resnet50", "unknown")
    assert grid.patterns == ((0, 1, 2, 3),)
    assert grid.order.tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("rows", "row", "column", "columns"),
    [
        ([{}], (), "backbone", ("vgg16",)),
        ([{"style_weight": 2}, {"style_weight": 1}], (), "style_weight", (1, 2)),
        (
            [{"labels": {"a": "10"}}, {"labels": {"a": "9"}}, {}],
            (),
            "label_a",
            ("9", "10", None),
        ),
        (
            [{"labels": {"a": "x"}, "seed": 1}, {"labels": {"a": "y"}, "seed": 2}],
            (),
            "seed",
            (1, 2),
        ),
        (
            [{"backbone": "vgg19", "mask": "m"}, {"tv_weight": 1}],
            ("mask", "tv_weight"),
            "backbone",
            ("vgg16", "vgg19"),
        ),
    ],
)
def test_the_axes_are_what_varies(
    rows: list[dict[str, Any]], row: tuple[str, ...], column: str, columns: tuple[Any, ...]
) -> None:
    _, grid = arranged([made(**values) for values in rows])
    assert grid.row == ("content", "style", *row)
    assert (grid.column, grid.columns) == (column, columns)


def crossed(**axes: int) -> list[Record]:
    """Every combination of so many values of each."""
    numbers = product(*(range(count) for count in axes.values()))
    return [
        made(**{name: _value(name, n) for name, n in zip(axes, each, strict=True)})
        for each in numbers
    ]


def _value(name: str, number: int) -> Any:
    return (
        float(number)
        if name.endswith("weight")
        else number
        if name == "seed"
        else f"{name}{number:03}"
    )


@pytest.mark.parametrize(
    ("axes", "layout", "column"),
    [
        ({"content": 12, "style": 4}, "table", "style"),
        ({"content": 12, "style": 40}, "table", "content"),
        ({"content": 40, "style": 40}, "table", "style"),
        ({"content": 20, "style": 50}, "table", "content"),
        ({"content": 50, "style": 20}, "table", "style"),
        ({"content": 4, "style": 10}, "table", "style"),
        ({"content": 12, "style": 4, "backbone": 3}, "table", "backbone"),
        ({"content": 4, "backbone": 2, "style_weight": 5}, "table", "style_weight"),
        ({"content": 4, "backbone": 2, "style_weight": 2}, "table", "backbone"),
        ({"style": 4}, "table", "style"),
        ({"style": 20}, "wall", "backbone"),
        ({"content": 12}, "wall", "backbone"),
        ({"seed": 30}, "wall", "seed"),
        ({}, "table", "backbone"),
    ],
)
def test_the_layout_fits_the_run(axes: dict[str, int], layout: str, column: str) -> None:
    _, grid = arranged(crossed(**axes))
    assert (grid.layout, grid.column) == (layout, column)


def test_pairs_that_would_leave_a_table_empty_make_a_wall() -> None:
    items, grid = arranged([made(content=f"c{n}", style=f"s{n}") for n in range(12)])
    assert (grid.layout, grid.row, grid.column) == ("wall", ("content", "style"), "backbone")
    # A table of them would be one picture in twelve.
    assert grid.num_lines * len(grid.columns) == len(items)


def test_rows_come_as_the_manifest_first_names_them() -> None:
    _, grid = arranged(
        [
            made(content="b"),
            made(content="a"),
            made(content="b", backbone="vgg19"),
            made(content="b", mask="m", labels={"x": "1"}),
        ]
    )
    assert grid.row == ("content", "style", "mask")
    assert grid.order.tolist() == [0, 2, 1, 3]
    assert grid.patterns == ((0, 1), (0,))
    assert grid.row_patterns.tolist() == [0, 1, 1]


def test_pictures_of_one_cell_take_lines_of_their_own() -> None:
    rows = [record(id=name) for name in "abc"] + [record(id="d", backbone="vgg19")]
    _, grid = arranged(rows)
    assert grid.patterns == ((0, 0, 0, 1),)
    assert grid.num_lines == 3
    assert cells_of(grid, 0) == [{0: 0, 1: 3}, {0: 1}, {0: 2}]


@pytest.mark.parametrize("num_runs", [2, 5])
def test_runs_are_columns_matched_by_what_their_rows_say(num_runs: int) -> None:
    """A setting that is constant within every run tells the run, not the row."""
    runs = [
        [
            made(content=content, style_weight=weight, tv_weight=float(run), backbone="vgg16")
            for content in ("a", "b")
            for weight in (1.0, 2.0)
            if not (run == 1 and (content, weight) == ("b", 2.0))
        ]
        for run in range(num_runs)
    ]
    items, grid = arranged(*runs)
    names = tuple(f"r{n}" for n in range(num_runs))
    assert (grid.column, grid.columns) == ("run", names)
    assert grid.row == ("content", "style", "style_weight")
    assert grid.run_diff == {"tv_weight": tuple(range(num_runs))}
    assert grid.num_rows == 4
    assert grid.num_unmatched == 1
    whole, lacking = grid.patterns
    assert whole == tuple(range(num_runs))
    assert lacking == tuple(n for n in range(num_runs) if n != 1)
    assert grid.row_patterns.tolist() == [0, 0, 0, 1]
    for start, stop in pairwise(grid.starts.tolist()):
        members = grid.order[start:stop].tolist()
        for name in ("content", "style_weight"):
            assert len({items.facets[name].at(i) for i in members}) == 1


def test_a_backbone_for_each_run_is_told_of_the_run() -> None:
    _, grid = arranged([made(backbone="vgg16")], [made(backbone="vgg19")])
    assert grid.run_diff == {"backbone": ("vgg16", "vgg19")}
    assert grid.num_rows == 1
    assert grid.num_unmatched == 0


def test_a_run_of_nothing_matches_nothing() -> None:
    _, grid = arranged([made(content="a"), made(content="b")], [])
    assert grid.num_unmatched == 2
    assert grid.num_rows == 2


def test_nothing_at_all_is_a_matrix_too() -> None:
    items, grid = arranged([])
    assert len(items) == 0
    assert (grid.num_rows, grid.num_lines, grid.columns, grid.patterns) == (0, 0, (), ())
    assert grid.column == "backbone"
    assert list(lines_of(grid)) == []

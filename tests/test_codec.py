import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nst.gallery import codec
from tests.galleries import dictionary, unpacked, whole

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
BOUNDS = {"u1": (0, 2**8), "u2": (0, 2**16), "u4": (0, 2**32), "i2": (-(2**15), 2**15)}
ARRAYS = st.sampled_from(sorted(BOUNDS)).flatmap(
    lambda kind: st.lists(st.integers(BOUNDS[kind][0], BOUNDS[kind][1] - 1), max_size=20).map(
        lambda values: np.array(values, kind)
    )
)
CONTENTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(lambda name: name != "$"),
    st.recursive(
        SCALARS | ARRAYS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=10,
    ),
    max_size=6,
)
QUICK = settings(deadline=None, database=None)


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


@QUICK
@given(CONTENTS)
def test_what_goes_in_comes_out(content: dict[str, Any]) -> None:
    data = codec.encoded("rows-0000", content)
    assert unpacked(data) == ("rows-0000", plain(content))
    key, again = codec.decoded(data)
    assert (key, plain(again)) == ("rows-0000", plain(content))
    assert codec.encoded("rows-0000", content) == data


def test_a_file_is_one_line_of_a_script_and_nothing_else() -> None:
    hostile = '");alert(1)//</script>\u2028\n'
    data = codec.encoded("spine", {hostile: [hostile]})
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert b"alert" not in data
    assert b"<" not in data
    assert unpacked(data) == ("spine", {hostile: [hostile]})


def test_the_name_changes_with_the_bytes() -> None:
    one, other = (codec.encoded("col-3", {"values": [n]}) for n in (1, 2))
    assert codec.path_of("col-3", one) != codec.path_of("col-3", other)
    assert codec.path_of("col-3", one).startswith("data/col-3.")
    assert codec.hash8(b"") == "e3b0c442"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b'nstGallery("spine","");',
        b'nstGallery("spine","AAAA");',
        codec.encoded("spine", {"a": np.zeros(9, np.uint8)})[:-20],
        codec.encoded("spine", {"a": 1}) + b"alert(1)",
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a file of the gallery's data"):
        codec.decoded(data)


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": {1, 2}}, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_no_content(content: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        codec.encoded("spine", content)


@pytest.mark.parametrize(
    ("largest", "kind"),
    [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")],
)
def test_codes_take_as_few_bytes_as_they_can(largest: int, kind: str) -> None:
    made = codec.smallest(np.array([0, largest]), largest)
    assert f"{made.dtype.kind}{made.dtype.itemsize}" == kind
    assert made.tolist() == [0, largest]


@given(st.lists(st.integers(0, 6), max_size=30))
def test_a_part_of_a_column_has_its_own_values_alone(codes: list[int]) -> None:
    values = np.array(["a", 1, 2.5, "b", "c", "d"], object)
    part = codec.column_of_some(values, np.array(codes, np.int32))
    expected = [values[code] if code < 6 else None for code in codes]
    plain_part = {"values": part["values"], "codes": part["codes"].tolist()}
    assert dictionary(plain_part) == expected
    assert len(part["values"]) == len({code for code in codes if code < 6})
    # In the order of the whole column's.
    order = [values.tolist().index(value) for value in part["values"]]
    assert order == sorted(order)


LOSSES = st.floats(width=32) | st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e-45, 3.4e38])


@QUICK
@given(st.lists(st.lists(LOSSES, max_size=8), max_size=5))
@example([[3.4e38, 1e-45, 3.4e38]])
@example([[], [], []])
def test_curves_come_back_within_a_seventh_of_a_percent(items: list[list[float]]) -> None:
    offsets = np.cumsum([0, *map(len, items)])
    values = np.array([value for item in items for value in item], np.float32)
    made = codec.curves(offsets, np.arange(len(values)), {"total": values, "tv": values})
    assert made["counts"].tolist() == [len(item) for item in items]
    assert made["evaluations"].tolist() == list(range(len(values)))
    assert ("tv" in made["curves"]) == bool(np.any(values > 0))
    differences = made["curves"]["total"].tolist()
    start = 0
    for item in items:
        found = whole(differences[start : start + len(item)])
        for value, kept in zip(item, found, strict=True):
            single = float(np.float32(value))
            if not (math.isfinite(single) and single > 0):
                assert kept == -32768
            else:
                exact = 256 * math.log2(single)
                assert abs(kept - max(min(exact, 32767), -32767)) <= 0.5 + 1e-3
        start += len(item)

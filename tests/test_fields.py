from nst.gallery.fields import ALWAYS, fields_of
from nst.output import metadata
from tests.galleries import LEFT_OUT

COLUMNS = [
    column.name
    for column in (*metadata.ROW_COLUMNS, *metadata.OUTCOME_COLUMNS, *metadata.PARAM_COLUMNS)
]


def test_every_column_of_the_metadata_is_a_field_or_known_not_to_be() -> None:
    names = [field.name for field in fields_of(COLUMNS, has_runs=False)]
    assert len(set(names)) == len(names)
    assert set(names) == set(COLUMNS) - LEFT_OUT
    assert set(ALWAYS) <= set(names)


def test_fields_come_in_the_order_of_their_roles() -> None:
    fields = fields_of([*COLUMNS, "label_b", "label_a"], has_runs=True)
    roles = list(dict.fromkeys(field.role for field in fields))
    assert roles == [
        "input",
        "backbone",
        "run",
        "label",
        "setting",
        "metric",
        "status",
        "provenance",
        "identity",
    ]
    assert [field.title for field in fields if field.role == "label"] == ["b", "a"]
    assert [field.role for field in fields] == sorted(
        (field.role for field in fields), key=roles.index
    )


def test_titles_are_words_and_which_way_is_better_is_known() -> None:
    fields = {field.name: field for field in fields_of(COLUMNS, has_runs=False)}
    assert fields["style_weight"].title == "style weight"
    assert (fields["ssim"].title, fields["ssim"].better) == ("SSIM", 1)
    assert (fields["lpips"].title, fields["lpips"].better) == ("LPIPS", -1)
    titles = {name: fields[name].title for name in ("lpips_grey", "cfsd", "style_distance")}
    assert titles == {
        "lpips_grey": "LPIPS, grey",
        "cfsd": "CFSD",
        "style_distance": "style distance",
    }
    better = {name for name, field in fields.items() if field.better == -1}
    assert better == {
        "content_loss",
        "style_loss",
        "tv_loss",
        "detail_loss",
        "contrast_loss",
        "noise_loss",
        "chroma_loss",
        "total_loss",
        "loss_ratio",
        "lpips",
        "lpips_grey",
        "cfsd",
        "color_distance",
        "noise",
        "seconds",
    }
    assert all("`" not in field.description for field in fields.values())


def test_labels_that_look_alike_are_told_apart_and_hide_nothing() -> None:
    columns = ["label_a\u202eb", "label_a\\u202eb", "label_/home/me/pics/x", "label_"]
    fields = [f for f in fields_of(columns, has_runs=False) if f.role == "label"]
    assert [f.title for f in fields] == ["a\\u202eb", "a\\u202eb (2)", "…/pics/x", ""]
    assert [f.name for f in fields] == [f"label_{f.title}" for f in fields]
    assert [f.column for f in fields] == columns


def test_other_columns_are_no_fields() -> None:
    assert "other" not in [field.name for field in fields_of(["other"], has_runs=False)]

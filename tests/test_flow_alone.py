"""The flow once, on a temporary Prefect server, and its parts as plain functions."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import runtime
from prefect.logging import disable_run_logger

from nst import pipeline
from nst.errors import ConfigError, ForbiddenError, ImageError, StorageError
from nst.job import PARAM_FIELDS
from nst.manifest.parsing import parse_overrides
from nst.output.metadata import Outcome, record_of
from nst.running import lease, nodes
from nst.running.nodes import RunIdentity
from nst.running.reports import RunReport
from nst.settings import SETTING_FIELDS, RunSettings, settings_of
from nst_flows import stylize, tasks
from nst_flows.local import _check_server
from nst_flows.logs import show_names_as_text
from nst_flows.parameters import PictureOverrides, overrides_of, parameters_of
from nst_flows.stylize import stylize_manifest
from nst_flows.summary import (
    MAX_FAILED_ROWS,
    ended_line,
    failed_table,
    failed_title,
    planned_line,
    summary_markdown,
)
from tests.helpers import job, row, write_project


def test_tasks_are_plain_calls(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    settings = RunSettings(output=str(tmp_path / "out"))
    with disable_run_logger():
        rows = tasks.read_manifest.fn(str(manifest), settings, {})
        plan = tasks.plan_rows.fn(rows, settings)
        with lease.held(settings.output) as held:
            identity = RunIdentity(token=held.token, versions=nodes.versions())
            made = tasks.stylize_portion.fn(tasks.Assignment(plan.groups, settings, identity))
        assert (made.report.num_made, made.report.num_failed) == (1, 0)
        assert tasks.finish.fn(plan, settings, {}).num_ok == 1


def test_parameters_are_described_for_the_ui() -> None:
    properties = stylize_manifest.parameters.properties
    assert list(properties) == [
        "manifest", "output", "overrides", "gallery_base_url", "credentials_block",
        "runner", "runner_address", *SETTING_FIELDS,
    ]  # fmt: skip
    assert all(each.get("description") for each in properties.values())
    picture = stylize_manifest.parameters.definitions["PictureOverrides"]["properties"]
    assert set(picture) == set(PARAM_FIELDS)
    assert all(each["description"] for each in picture.values())
    assert picture["size"]["description"].endswith("From 0 to 8192.")
    assert picture["size"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 8192}
    assert picture["pooling"]["anyOf"][0]["enum"] == ["max", "avg"]
    assert properties["precision"]["enum"] == ["auto", "float32", "bfloat16"]
    assert properties["timeout_s"]["exclusiveMinimum"] == 0
    assert properties["lanes"]["description"].endswith("From 0 to 64.")
    assert properties["schemes"]["anyOf"] == [
        {"type": "array", "items": {"type": "string"}},
        {"type": "null"},
    ]


def test_a_setting_that_a_form_leaves_empty_is_the_default() -> None:
    settings = RunSettings(output="/out", lanes=2, weights={"vgg16": "/w"}, schemes=("file",))
    parameters = json.loads(json.dumps(parameters_of(settings)))
    assert settings_of("/out", parameters) == settings
    empty: dict[str, Any] = {"weights": None, "roots": [], "schemes": []}
    assert settings_of("/out", parameters | {"lanes": 0} | empty) == RunSettings(output="/out")


def test_overrides_are_those_with_a_value_and_mean_what_the_command_line_means() -> None:
    assert PictureOverrides(size=64, tolerance=None).given() == {"size": 64}
    parsed = parse_overrides({"steps": "7", "style_layers": "", "style_blend": "2 1"})
    assert parsed["style_layers"] is None
    assert parse_overrides(overrides_of(parsed).given()) == parsed


def test_only_what_may_pass_next_time_is_tried_again() -> None:
    from prefect.states import Failed

    def tries_again(error: Exception) -> bool:
        return tasks._may_pass_next_time(None, None, Failed(data=error))  # type: ignore[arg-type]

    assert tries_again(StorageError("busy"))
    assert not tries_again(ForbiddenError("forbidden"))
    assert not tries_again(ImageError("broken"))
    assert not tries_again(RuntimeError("bug"))


def report_of(num_failed: int = 0, gallery_url: str = "g", num_kept: int = 1000) -> RunReport:
    records = tuple(
        record_of(
            job(id=f"row-{n}", row=n),
            Outcome(id=f"row-{n}", status="failed", reason="storage", error="a | b\n<script>"),
        )
        for n in range(1, min(num_failed, num_kept) + 1)
    )
    return RunReport(
        num_rows=num_failed + 5,
        num_ok=5,
        num_done_before=1,
        failed_by_reason={"storage": num_failed} if num_failed else {},
        failed=records,
        gallery_url=gallery_url,
        metadata_url="m",
    )


def test_the_table_of_failed_rows_is_cut_and_says_so() -> None:
    report = report_of(num_failed=MAX_FAILED_ROWS + 7)
    table = failed_table(report)
    assert [each["row"] for each in table] == list(range(1, 201))
    assert table[0]["error"] == "a | b\n<script>"
    assert failed_title(report) == "200 of 207 failed rows; all are in m"
    assert failed_title(report_of(num_failed=1)) == "1 of 1 failed rows; all are in m"
    kept = report_of(num_failed=900, num_kept=300)
    assert failed_title(kept) == "200 of 900 failed rows; all are in m"
    assert "900 failed" in ended_line(kept, None)


def test_the_log_tells_of_one_row_in_the_singular(tmp_path: Path) -> None:
    manifest = write_project(tmp_path, [row(id="one")])
    plan = pipeline.make_plan(str(manifest), RunSettings(output=str(tmp_path / "out")))
    assert planned_line(plan) == (
        "1 row: 1 picture to make in 1 group, 0 done before, 0 that cannot run"
    )


def test_a_summary_counts_by_status_and_reason_and_says_how_fast_it_went() -> None:
    text = summary_markdown(report_of(num_failed=2), num_made=4, seconds=8)
    assert text.splitlines()[:7] == [
        "# 5 of 7 rows ok",
        "",
        "| status | reason | rows |",
        "| --- | --- | ---: |",
        "| ok | made by this run | 4 |",
        "| ok | done before | 1 |",
        "| failed | storage | 2 |",
    ]
    assert "- speed: 0.5 images/s, 4 pictures in 8 s" in text


def test_a_relative_path_is_refused_since_a_worker_runs_in_a_folder_of_its_own() -> None:
    settings = RunSettings(output="out")
    with pytest.raises(ConfigError, match="expected an absolute path or a URL, found 'out'"):
        pipeline.check("/m.csv", settings)


def test_a_log_of_a_flow_has_a_message_for_each_record(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("nst"), "handlers", [caplog.handler])
        show_names_as_text()
    try:
        raise ValueError("x\x1b[31m\n6 of 6 rows ok")
    except ValueError:
        logging.getLogger("nst").exception("%s", "y\u202e\n6 of 6 rows ok")
    caplog.handler.filters.clear()
    lines = caplog.text.splitlines()
    assert any("y\\u202e" in line for line in lines)
    assert "  ValueError: x\\u001b[31m" in lines
    assert "  6 of 6 rows ok" in lines
    assert "6 of 6 rows ok" not in lines


def test_a_server_that_does_not_answer_is_named() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ConfigError, match=r"PREFECT_API_URL, http://127\.0\.0\.1:9/api, found none"),
    ):
        _check_server()


def test_a_summary_links_what_a_browser_can_open() -> None:
    def summary(url: str, base_url: str | None = None) -> str:
        return summary_markdown(
            report_of(gallery_url=url), num_made=0, seconds=0, gallery_base_url=base_url
        )

    assert "[https://g/index.html](https://g/index.html)" in summary("https://g/index.html")
    assert "gallery: `s3://b/index.html`" in summary("s3://b/index.html")
    assert "[http://h/x/index.html](http://h/x/index.html)" in summary("s3://b/i", "http://h/x/")


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ("s3://bucket/rows.csv", "rows.csv"),
        ("s3://bucket/night/", "night/"),
        ("/in/night/*.csv", "night/*.csv"),
        ("rows.csv", "rows.csv"),
        ("s3://KEY:se/cret@bucket/", "***@bucket/"),
        ("https://host/rows.csv?token=cret", "host/rows.csv?token=***"),
        ("in/x\n6 of 6 rows ok\x1b.csv", "x\\u000a6 of 6 rows ok\\u001b.csv"),
    ],
)
def test_a_run_is_named_by_its_manifest_and_its_output(
    monkeypatch: pytest.MonkeyPatch, manifest: str, name: str
) -> None:
    parameters = {"manifest": manifest, "output": "s3://b/out"}
    monkeypatch.setattr(runtime, "flow_run", SimpleNamespace(parameters=parameters))
    assert stylize.run_name() == f"{name} to s3://b/out"

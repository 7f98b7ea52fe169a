"""The flow on a real, temporary Prefect server; the tasks as plain functions."""

from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import disable_run_logger

from flows import stylize
from flows.local import _check_server
from flows.stylize import stylize_manifest
from flows.summary import summary_markdown
from flows.watching import current_listener, listening
from nst import pipeline
from nst.errors import ConfigError, ForbiddenError, ImageError, ManifestError, StorageError
from nst.metadata import Outcome, record_of
from nst.plan import Group, Plan
from nst.reports import NoListener, RunReport
from nst.settings import RunSettings
from tests.helpers import job, row, write_project


def run_flow(manifest: Path, output: Path, **parameters: object) -> State[RunReport]:
    state: State[RunReport] = stylize_manifest(  # type: ignore[assignment]
        str(manifest),
        str(output),
        return_state=True,
        **{"isolate": False} | parameters,
    )
    return state


@pytest.mark.usefixtures("prefect_server")
class TestOnAServer:
    def client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def task_runs(self, state: State[RunReport]) -> list[TaskRun]:
        with self.client() as client:
            runs = client.read_task_runs()
        flow_run = state.state_details.flow_run_id
        return [run for run in runs if run.flow_run_id == flow_run]

    def test_one_task_per_group_and_names_that_read_well(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("b.png", id="two"), row(id="three", steps=2)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        report = state.result()
        assert isinstance(report, RunReport)
        assert report.num_ok == 3
        assert state.name == "Completed"
        runs = self.task_runs(state)
        assert sorted(run.name for run in runs if run.name.startswith("vgg16")) == [
            "vgg16 48x64, group 1 of 2",
            "vgg16 48x64, group 2 of 2",
        ]
        assert all("vgg16" in run.tags for run in runs if run.name.startswith("vgg16"))
        with self.client() as client:
            flow_run = client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
        assert flow_run.name == f"manifest.csv to {tmp_path / 'out'}"

    def test_gives_what_a_plain_run_gives(self, tmp_path: Path) -> None:
        manifest = write_project(tmp_path / "in", [row(id="one"), row("b.png", "t.png", id="two")])
        run_flow(manifest, tmp_path / "flow", overrides={"steps": 4})
        settings = RunSettings(output=str(tmp_path / "plain"))
        pipeline.run(pipeline.make_plan(str(manifest), settings, {"steps": "4"}), settings)
        for name in ("images/one.png", "images/two.png", "index.html"):
            if name != "index.html":  # the page shows the seconds
                flow, plain = ((tmp_path / f / name).read_bytes() for f in ("flow", "plain"))
                assert flow == plain

    def test_rows_that_fail_make_a_named_completion_and_are_in_the_artifact(
        self, tmp_path: Path
    ) -> None:
        manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
        state = run_flow(manifest, tmp_path / "out")
        assert (state.is_completed(), state.name) == (True, "PartiallyFailed")
        assert state.message == "1 of 2 rows failed"
        assert state.result().num_ok == 1
        with self.client() as client:
            artifacts = client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["nst-run"]))
            )
        (text,) = [
            str(a.data) for a in artifacts if a.flow_run_id == state.state_details.flow_run_id
        ]
        assert "# 1 of 2 rows ok" in text
        assert (tmp_path / "out/index.html").as_uri() in text
        assert "| 2 | two | input_not_found |" in text

    def test_finishes_even_when_a_group_has_failed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = pipeline.run_group

        def broken(group: Group, *arguments: object) -> object:
            if group.name == "1 of 2":
                raise RuntimeError("the device fell off")
            return make(group, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(pipeline, "run_group", broken)
        manifest = write_project(tmp_path / "in", [row(id="one"), row(id="two", steps=2)])
        report = run_flow(manifest, tmp_path / "out").result()
        assert report.num_ok == 1
        assert "the device fell off" in str(report.failed[0].outcome.error)
        assert (tmp_path / "out/images/two.png").exists()
        assert (tmp_path / "out/index.html").exists()

    def test_a_group_that_a_store_failed_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make, attempts = pipeline.run_group, []

        def flaky(*arguments: object) -> object:
            attempts.append(arguments)
            if len(attempts) == 1:
                raise StorageError("busy")
            return make(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(pipeline, "run_group", flaky)
        manifest = write_project(tmp_path / "in", [row(id="one")])
        assert run_flow(manifest, tmp_path / "out").result().num_ok == 1
        assert len(attempts) == 2

    def test_a_bad_manifest_fails_the_run_with_its_message(self, tmp_path: Path) -> None:
        state = run_flow(write_project(tmp_path / "in", [row(backbone="vgg61")]), tmp_path / "out")
        assert state.is_failed()
        with pytest.raises(ManifestError, match="did you mean"):
            state.result()

    def test_a_listener_hears_of_a_run_in_its_context(self, tmp_path: Path) -> None:
        class Seen(NoListener):
            evaluations: list[int] = []  # noqa: RUF012
            num_groups = 0

            def planned(self, plan: Plan) -> None:
                self.num_groups = len(plan.groups)

            def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
                self.evaluations.append(evaluations)

        seen = Seen()
        with listening(seen):
            run_flow(write_project(tmp_path / "in", [row(id="one")]), tmp_path / "out")
        assert (seen.num_groups, seen.evaluations) == (1, [1, 2, 3, 3])
        assert current_listener() is not seen


def test_tasks_are_plain_calls(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    settings = RunSettings(output=str(tmp_path / "out"))
    with disable_run_logger():
        rows = stylize.read_manifest.fn(str(manifest), settings, {})
        plan = stylize.plan_rows.fn(rows, settings)
        report = stylize.stylize_group.fn(plan.groups[0], settings)
        assert (report.num_made, report.num_failed) == (1, 0)
        assert stylize.finish.fn(plan, settings, {}).num_ok == 1


def test_parameters_are_described_for_the_ui() -> None:
    properties = stylize_manifest.parameters.properties
    assert list(properties) == [
        "manifest", "output", "overrides", "device", "precision", "image_format",
        "max_batch_pixels", "weights", "roots", "schemes", "keep_going", "skip_failed",
        "retry_quarantined", "replace", "timeout_s", "isolate",
    ]  # fmt: skip
    assert all(each.get("description") for each in properties.values())


def test_only_what_may_pass_next_time_is_tried_again() -> None:
    from prefect.states import Failed

    def tries_again(error: Exception) -> bool:
        return stylize._may_pass_next_time(None, None, Failed(data=error))  # type: ignore[arg-type]

    assert tries_again(StorageError("busy"))
    assert not tries_again(ForbiddenError("forbidden"))
    assert not tries_again(ImageError("broken"))
    assert not tries_again(RuntimeError("bug"))


def test_a_summary_keeps_its_table_whole_whatever_an_error_says() -> None:
    record = record_of(
        job(id="one"),
        Outcome(id="one", status="failed", reason="storage", error="a | b\n<script>"),
    )
    text = summary_markdown(
        RunReport(
            num_rows=1,
            num_ok=0,
            num_done_before=0,
            failed_by_reason={"storage": 1},
            failed=(record,),
            gallery_url="g",
            metadata_url="m",
        )
    )
    assert text.splitlines()[-1] == "| 1 | one | storage | a \\| b &lt;script> |"


def test_a_relative_path_is_refused_since_a_worker_runs_in_a_folder_of_its_own() -> None:
    settings = RunSettings(output="out")
    with pytest.raises(ConfigError, match="expected an absolute path or a URL, found 'out'"):
        pipeline.check("/m.csv", settings)


def test_a_server_that_does_not_answer_is_named() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ConfigError, match=r"PREFECT_API_URL, http://127\.0\.0\.1:9/api, found none"),
    ):
        _check_server()


def test_a_summary_links_what_a_browser_can_open() -> None:
    def summary(url: str) -> str:
        return summary_markdown(
            RunReport(
                num_rows=1,
                num_ok=1,
                num_done_before=0,
                failed_by_reason={},
                failed=(),
                gallery_url=url,
                metadata_url="m",
            )
        )

    assert "[https://g/index.html](https://g/index.html)" in summary("https://g/index.html")
    assert "gallery: `s3://b/index.html`" in summary("s3://b/index.html")

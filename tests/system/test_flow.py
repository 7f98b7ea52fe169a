"""The flow on a real, temporary Prefect server."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import tags
from prefect.artifacts import update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, State, TaskRun
from prefect.client.schemas.sorting import LogSort
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.types import StrictVariableValue
from prefect.variables import Variable

from nst import pipeline
from nst.errors import ConfigError, ManifestError, StorageError
from nst.output.metadata import Outcome
from nst.planning.plan import Group, Plan
from nst.running import batch, lease
from nst.running.reports import GroupReport, Listener, NoListener, RunReport
from nst.settings import RunSettings
from nst_flows import fan_out, progress, stylize
from nst_flows.local import run_locally
from nst_flows.watching import current_listener, listening
from tests.flows import flow_run_of, run_flow
from tests.helpers import row, write_project


@pytest.mark.usefixtures("prefect_server")
class TestOnAServer:
    def client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def task_runs(self, state: State[RunReport]) -> list[TaskRun]:
        with self.client() as client:
            runs = client.read_task_runs()
        flow_run = state.state_details.flow_run_id
        return [run for run in runs if run.flow_run_id == flow_run]

    def artifacts(self, state: State[RunReport]) -> dict[str, Artifact]:
        """Those of a run, by their kinds."""
        with self.client() as client:
            found = client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_of(state)])
                )
            )
        kinds = ("progress", "summary", "failed-rows", "gallery", "picture-1", "picture-2")
        by_kind = {
            kind: artifact
            for artifact in found
            for kind in kinds
            if str(artifact.key).startswith(f"stylize-{kind}-")
        }
        assert len(by_kind) == len(found)
        return by_kind

    def logs(self, state: State[RunReport], *, until: str) -> list[str]:
        """What a run has logged at INFO and above, once the line is there that has `until` in it."""
        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_of(state)]))
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            with self.client() as client:
                found = client.read_logs(log_filter=mine, sort=LogSort.TIMESTAMP_ASC)
            lines = [log.message for log in found if log.level >= logging.INFO]
            if any(until in line for line in lines):
                return lines
            time.sleep(0.2)
        raise TimeoutError(f"no line with {until!r} in {lines}")

    def test_one_task_per_group_and_names_that_read_well(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("b.png", id="two"), row(id="three", steps=2)]
        with tags("nst"):
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
        # Those that paint can be held by a limit on their tag; for no other is a slot asked for.
        assert {run.name.split()[0]: run.tags for run in runs} == {
            "read": [], "plan": [], "vgg16": ["gpu"], "metadata": [],
        }  # fmt: skip
        with self.client() as client:
            flow_run = client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
        assert flow_run.name == f"manifest.csv to {tmp_path / 'out'}"
        assert flow_run.tags == ["nst"]

    def test_rows_that_fail_make_a_named_completion_and_are_in_the_artifact(
        self, tmp_path: Path
    ) -> None:
        manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
        state = run_flow(manifest, tmp_path / "out")
        assert (state.is_completed(), state.name) == (True, "PartiallyFailed")
        assert state.message == "1 of 2 rows failed"
        assert state.result().num_ok == 1
        artifacts = self.artifacts(state)
        text = str(artifacts["summary"].data)
        assert "# 1 of 2 rows ok" in text
        assert "| ok | made by this run | 1 |" in text
        assert "| failed | input_not_found | 1 |" in text
        assert (tmp_path / "out/index.html").as_uri() in text
        (failed,) = json.loads(str(artifacts["failed-rows"].data))
        assert (failed["row"], failed["id"], failed["reason"]) == (2, "two", "input_not_found")
        assert "no.png" in failed["error"]

    def test_a_manifest_is_kept_once_the_output_is_the_runs_own(self, tmp_path: Path) -> None:
        draft = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
        kept = tmp_path / "out/manifest.csv"
        kept.parent.mkdir()
        kept.write_text("of the last run")
        chosen = RunSettings(output=str(kept.parent), isolate=False, roots=(str(tmp_path),))
        with (
            lease.held(chosen.output),
            pytest.raises(ConfigError, match="expected to be the only run here"),
        ):
            run_locally(str(kept), chosen, {}, NoListener(), draft=str(draft))
        assert kept.read_text() == "of the last run"
        report = run_locally(str(kept), chosen, {}, NoListener(), draft=str(draft))
        assert (report.num_rows, report.manifests) == (2, ("manifest.csv",))
        assert kept.read_bytes() == draft.read_bytes()

    def test_more_failed_rows_than_are_allowed_fail_the_run(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("no.png", id="two"), row("gone.png", id="three")]
        manifest = write_project(tmp_path / "in", rows)
        state = run_flow(manifest, tmp_path / "out", fail_over="50%")
        assert (state.is_failed(), state.name) == (True, "TooManyFailed")
        assert state.message == "3 of 3 rows failed, more than fail_over=50% allows"
        assert "# 0 of 3 rows ok" in str(self.artifacts(state)["summary"].data)
        assert not (tmp_path / "out/images").exists()
        assert run_flow(manifest, tmp_path / "out", fail_over="2").name == "PartiallyFailed"

    def test_what_stops_the_last_task_is_told_in_our_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[str] = []

        def fail(group: Group, _: RunSettings, listener: Listener) -> GroupReport:
            begun.append(group.name)
            failed = Outcome(id=group.jobs[0].job.id, status="failed")
            listener.recorded(group, failed)
            return GroupReport(name=group.name, num_made=0, num_failed=1)

        monkeypatch.setattr(batch, "run_group", fail)
        # Both groups are of one task.
        monkeypatch.setattr(fan_out, "MAX_TASKS", 1)
        rows = [row(id="one"), row("b.png", id="two", steps=2)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out", fail_over="0")
        assert state.name == "TooManyFailed"
        report = state.result(raise_on_failure=False)
        assert isinstance(report, RunReport)
        assert begun == ["1 of 2"]
        assert report.failed[1].outcome.error == (
            "its group ended early: 1 rows have failed, more than the 0 that --fail-over allows; "
            "the others were not made; correct those rows, or allow more; run it again"
        )

    def test_a_gallery_on_the_web_is_linked_with_a_few_pictures(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("b.png", id="two")]
        manifest = write_project(tmp_path / "in", rows)
        state = run_flow(manifest, tmp_path / "out", gallery_base_url="https://g/out/")
        artifacts = self.artifacts(state)
        assert sorted(artifacts) == ["gallery", "picture-1", "picture-2", "progress", "summary"]
        assert "https://g/out/index.html" in str(artifacts["gallery"].data)
        url = str(artifacts["picture-1"].data)
        assert url.startswith("https://g/out/thumbs/")
        assert (tmp_path / "out" / url.removeprefix("https://g/out/")).exists()

    def test_tasks_that_wait_are_in_the_graph_and_nothing_waits_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make, waiting = batch.run_group, list[str]()

        def watched(group: Group, *arguments: object) -> object:
            give_up = time.monotonic() + 60
            # The server hears of them after a while, and of this one's beginning too.
            while len(waiting) < 2 and time.monotonic() < give_up:
                with self.client() as client:
                    runs = client.read_task_runs()
                waiting[:] = sorted(
                    run.name
                    for run in runs
                    if run.state_name == "Pending" and run.name.startswith("vgg16")
                )
                time.sleep(0.1)
            return make(group, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "run_group", watched)
        rows = [row(id=f"r{steps}", steps=steps) for steps in (3, 2, 1)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        assert state.result().num_ok == 3
        assert waiting == ["vgg16 48x64, group 2 of 3", "vgg16 48x64, group 3 of 3"]
        give_up = time.monotonic() + 60
        while {run.state_name for run in self.task_runs(state)} != {"Completed"}:
            assert time.monotonic() < give_up, self.task_runs(state)
            time.sleep(0.2)

    def test_rows_that_fail_emit_an_event_that_an_automation_can_wait_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        emitted: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(
            stylize, "emit_event", lambda event, **said: emitted.append((event, said))
        )
        manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
        state = run_flow(manifest, tmp_path / "out", gallery_base_url="https://g/out/")
        ((event, said),) = emitted
        assert event == "nst.batch.rows-failed"
        flow_run = state.state_details.flow_run_id
        assert said["resource"]["prefect.resource.id"] == f"nst.batch.{flow_run}"
        assert said["payload"] == {
            "num_failed": 1,
            "num_rows": 2,
            "failed_by_reason": {"input_not_found": 1},
            "output": str(tmp_path / "out"),
            "gallery": "https://g/out/index.html",
        }
        write_project(tmp_path / "in", [row(id="one")])
        assert run_flow(manifest, tmp_path / "out").name == "Completed"
        assert len(emitted) == 1

    def test_the_progress_moves_while_a_run_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[float, str]] = []

        def watched(artifact: UUID, share: float, description: str) -> None:
            seen.append((share, description))
            update_progress_artifact(artifact, share, description=description)

        monkeypatch.setattr(progress, "EVERY_S", 0)
        monkeypatch.setattr(progress, "update_progress_artifact", watched)
        rows = [row(id="one"), row("no.png", id="two"), row(id="three", steps=2)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        shares = [share for share, _ in seen]
        assert shares == sorted(shares)
        assert len({share for share in shares if 0 < share < 100}) > 2
        assert seen[-1][0] == 100
        assert any("1/2 pictures" in words for _, words in seen)
        artifact = self.artifacts(state)["progress"]
        assert artifact.data == 100
        assert str(artifact.description).startswith("2 of 3 rows ok, 1 failed; gallery: ")

    def test_a_server_that_takes_no_progress_costs_the_run_nothing(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def gone(*_: object, **__: object) -> None:
            raise httpx.ConnectError("all connection attempts failed")

        monkeypatch.setattr(progress, "EVERY_S", 0)
        monkeypatch.setattr(progress, "update_progress_artifact", gone)
        manifest = write_project(tmp_path / "in", [row(id="one")])
        assert run_flow(manifest, tmp_path / "out").result().num_ok == 1
        assert "the progress cannot be shown, the Prefect server said: all conn" in caplog.text
        caplog.clear()
        monkeypatch.setattr(progress, "create_progress_artifact", gone)
        write_project(tmp_path / "in", [row(id="one"), row(id="two", steps=2)])
        assert run_flow(manifest, tmp_path / "out").result().num_ok == 2
        assert "the progress cannot be shown" in caplog.text

    def test_groups_that_the_server_does_not_let_begin_are_painted_without_tasks(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        asked: list[str] = []
        submitted: list[object] = []
        is_fourth_on_its_way = Event()
        submit = ThreadPoolTaskRunner.submit

        @contextmanager
        def slots(names: list[str], **_: object) -> Iterator[None]:
            asked.extend(names)
            # The first group has its slot, and then the server goes away, at the worst of times: as
            # a further group is submitted, which is so not yet among those that are called off.
            if names and len(asked) > 1:
                assert is_fourth_on_its_way.wait(60)
                raise httpx.ConnectError("all connection attempts failed")
            yield

        def slowly(*args: Any, **kwargs: Any) -> Any:
            submitted.append(future := submit(*args, **kwargs))
            if len(submitted) == 4:
                is_fourth_on_its_way.set()
                time.sleep(0.5)
            return future

        monkeypatch.setattr("prefect.task_engine._concurrency", slots)
        monkeypatch.setattr(ThreadPoolTaskRunner, "submit", slowly)
        rows = [row(id=f"r{steps}", steps=steps) for steps in (4, 3, 2, 1)]
        rows.append(row("no.png", id="gone"))
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        report = state.result()
        assert (report.num_ok, report.failed_by_reason) == (4, {"input_not_found": 1})
        # Each would be waited for.
        assert len(asked) == 2
        assert caplog.text.count("the other groups are painted without tasks") == 1

    def test_the_log_has_one_line_for_each_group_and_none_for_a_step(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("b.png", id="two"), row(id="three", steps=2)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        lines = self.logs(state, until="rows ok")
        ours = [line for line in lines if "in state Completed" not in line]
        assert [line for line in ours if line.startswith("group ")] == [
            line for line in ours if " made, 0 failed in " in line
        ]
        assert [line.partition(":")[0] for line in ours if line.startswith("group ")] == [
            "group 1 of 2, vgg16 48x64",
            "group 2 of 2, vgg16 48x64",
        ]
        assert "3 rows: 3 pictures to make in 2 groups, 0 done before, 0 that cannot run" in ours
        assert any(line.startswith("3 of 3 rows ok; gallery: file://") for line in ours)
        # Prefect's own first line, the plan, two groups, the end.
        assert len(ours) == 5, ours

    def test_a_later_run_makes_what_is_new_and_what_has_changed(self, tmp_path: Path) -> None:
        rows = [row(id="one"), row("b.png", id="two")]
        manifest = write_project(tmp_path / "in", rows)
        run_flow(manifest, tmp_path / "out")
        images = tmp_path / "out/images"
        before = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
        rows = [row(id="one"), row("b.png", id="two", steps=2), row("b.png", "t.png", id="three")]
        write_project(tmp_path / "in", rows)
        state = run_flow(manifest, tmp_path / "out")
        report = state.result()
        assert (report.num_ok, report.num_done_before) == (3, 1)
        after = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
        assert after["one.png"] == before["one.png"]
        assert after["two.png"] > before["two.png"]
        text = str(self.artifacts(state)["summary"].data)
        assert "| ok | made by this run | 2 |\n| ok | done before | 1 |" in text

    def test_a_parameter_that_cannot_be_fails_before_anything_is_read(self, tmp_path: Path) -> None:
        manifest = tmp_path / "none.csv"
        for name, value in [
            ("overrides", {"stepz": 3}),
            ("overrides", {"steps": 0}),
            ("device", "gpu"),
            ("gallery_base_url", "s3://bucket/run"),
            ("image_format", "gif"),
        ]:
            state = run_flow(manifest, tmp_path / "out", **{name: value})
            assert state.is_failed()
            assert name in str(state.message)

    def test_finishes_even_when_a_group_has_failed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = batch.run_group

        def broken(group: Group, *arguments: object) -> object:
            if group.name == "1 of 2":
                raise RuntimeError("the device fell off")
            return make(group, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "run_group", broken)
        manifest = write_project(tmp_path / "in", [row(id="one"), row(id="two", steps=2)])
        report = run_flow(manifest, tmp_path / "out").result()
        assert report.num_ok == 1
        assert "the device fell off" in str(report.failed[0].outcome.error)
        assert (tmp_path / "out/images/two.png").exists()
        assert (tmp_path / "out/index.html").exists()

    def test_a_group_that_a_store_failed_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make, attempts = batch.run_group, []

        def flaky(*arguments: object) -> object:
            attempts.append(arguments)
            if len(attempts) == 1:
                raise StorageError("busy")
            return make(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "run_group", flaky)
        manifest = write_project(tmp_path / "in", [row(id="one")])
        assert run_flow(manifest, tmp_path / "out").result().num_ok == 1
        assert len(attempts) == 2

    def test_many_groups_are_few_tasks_and_each_fails_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = batch.run_group

        def broken(group: Group, *arguments: object) -> object:
            if group.name == "2 of 5":
                raise RuntimeError("the device fell off")
            return make(group, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "run_group", broken)
        monkeypatch.setattr(fan_out, "MAX_TASKS", 2)
        rows = [row(id=f"r{n}", steps=s) for n, s in enumerate((4, 6, 1, 2, 9), start=1)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        runs = [run for run in self.task_runs(state) if "group" in run.name]
        assert sorted(run.name for run in runs) == [
            "vgg16, groups 1 to 3 of 5",
            "vgg16, groups 4 to 5 of 5",
        ]
        assert sorted(str(run.state_name) for run in runs) == ["Completed", "Failed"]
        report = state.result()
        assert (report.num_ok, report.num_failed) == (4, 1)
        assert report.failed[0].outcome.id == "r2"
        assert "the device fell off" in str(report.failed[0].outcome.error)
        lines = self.logs(state, until="rows ok")
        assert any(line.startswith("groups 1 to 3 of 5, vgg16: 2 made, 0 failed") for line in lines)

    def test_what_a_task_has_made_is_not_made_by_its_next_try(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = batch.run_group
        tried: list[list[str]] = []

        def flaky(group: Group, *arguments: object) -> object:
            tried.append([one.job.id for one in group.jobs])
            if tried.count(["two"]) == 1 and tried[-1] == ["two"]:
                raise StorageError("busy")
            return make(group, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch, "run_group", flaky)
        monkeypatch.setattr(fan_out, "MAX_TASKS", 1)
        rows = [row(id="one"), row(id="two", steps=2), row(id="three", steps=1)]
        state = run_flow(write_project(tmp_path / "in", rows), tmp_path / "out")
        assert state.result().num_ok == 3
        assert tried == [["one"], ["two"], ["two"], ["three"]]

    def test_a_bad_manifest_fails_the_run_with_its_message(self, tmp_path: Path) -> None:
        state = run_flow(write_project(tmp_path / "in", [row(backbone="vgg61")]), tmp_path / "out")
        assert state.is_failed()
        with pytest.raises(ManifestError, match="did you mean"):
            state.result()

    def test_a_variable_means_what_it_holds_when_the_run_begins(self, tmp_path: Path) -> None:
        for name in ("before", "after"):
            manifest = write_project(tmp_path / name, [row(id=name)])
            Variable.set("nst_test_manifest", str(manifest), overwrite=True)
            Variable.set("nst_test_output", str(tmp_path / f"out-{name}"), overwrite=True)
            state = run_flow(Path("variable:nst_test_manifest"), Path("variable:nst_test_output"))
            assert state.name == "Completed"
            assert (tmp_path / f"out-{name}/images/{name}.png").exists()
            with self.client() as client:
                flow_run = client.read_flow_run(flow_run_of(state))
            assert flow_run.name == f"manifest.csv to {tmp_path / f'out-{name}'}"

    @pytest.mark.parametrize("value", [None, 5, ""])
    def test_a_variable_that_names_nothing_fails_the_run_with_what_to_do(
        self, tmp_path: Path, value: StrictVariableValue
    ) -> None:
        if value is None:
            Variable.unset("nst_test_missing")
        else:
            Variable.set("nst_test_missing", value, overwrite=True)
        state = run_flow(Path("variable:nst_test_missing"), tmp_path)
        assert state.is_failed()
        with pytest.raises(ConfigError, match=r"prefect variable set nst_test_missing VALUE"):
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


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_gives_what_a_plain_run_gives(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row("b.png", "t.png", id="two")])
    run_flow(manifest, tmp_path / "flow", overrides={"steps": 4})
    settings = RunSettings(output=str(tmp_path / "plain"))
    pipeline.run(pipeline.make_plan(str(manifest), settings, {"steps": "4"}), settings)
    for name in ("images/one.png", "images/two.png", "index.html"):
        if name != "index.html":  # the page shows the seconds
            flow, plain = ((tmp_path / f / name).read_bytes() for f in ("flow", "plain"))
            assert flow == plain

"""A flow on a runner of its user's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateDetails
from prefect.states import Completed

from nst.errors import RunEndedError, RunnerError
from nst.running import portions
from nst_flows import fan_out, runners
from nst_flows.fan_out import Backend
from nst_flows.stylize import stylize_manifest
from tests.helpers import row, write_project
from tests.servers import free_ports
from tests.test_runners import planned, run_of, runner_of, written

# A cluster of Dask in threads of this process, which know as little of a run as another process would.
# Its pages have whatever port is free, and not the one of another cluster of this machine.
IN_THREADS = {"n_workers": 1, "processes": False, "dashboard_address": ":0"}


@pytest.mark.parametrize(
    ("name", "address"),
    [("dask", "tcp://127.0.0.1:{}"), ("ray", "127.0.0.1:{}"), ("ray", "ray://127.0.0.1:{}")],
)
def test_an_address_where_nobody_answers(name: Any, address: str) -> None:
    (port,) = free_ports(1)
    with (
        pytest.raises(RunnerError, match=rf"{name} at .*{port}, found nobody who answers"),
        runners.elsewhere(name, address.format(port), 0),
    ):
        pass


@pytest.mark.usefixtures("prefect_server")
def test_a_task_runner_of_the_users_own_is_what_the_tasks_run_on(tmp_path: Path) -> None:
    from prefect_dask.task_runners import DaskTaskRunner

    rows = [row(id=f"r{n}", steps=n) for n in (1, 2, 3)]
    rows.append(row("no.png", id="gone"))
    manifest = write_project(tmp_path / "in", rows)
    tasks: Any = DaskTaskRunner(cluster_kwargs=IN_THREADS)
    state: State[Any] = stylize_manifest.with_options(task_runner=tasks)(  # type: ignore[assignment]
        str(manifest), str(tmp_path / "out"), isolate=False, return_state=True
    )
    assert state.name == "PartiallyFailed"
    assert (state.result().num_ok, state.result().num_failed) == (3, 1)
    with get_client(sync_client=True) as client:
        flow_run = state.state_details.flow_run_id
        runs = [run for run in client.read_task_runs() if run.flow_run_id == flow_run]
    painting = [run for run in runs if run.tags == ["gpu"]]
    assert [run.state_name for run in painting] == ["Completed"] * 3
    assert not (tmp_path / "out/attempts").exists() or not list(
        (tmp_path / "out/attempts").iterdir()
    )


def test_a_runner_is_known_by_what_it_is_and_no_device_of_this_machine_is_looked_for() -> None:
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect_dask.task_runners import DaskTaskRunner

    class Ours(DaskTaskRunner):
        pass

    def found() -> tuple[str | None, bool, bool]:
        runner = runners.of_the_flow(0)
        name = None if runner is None else runner.name
        return name, runners.is_in_threads("threads"), runners.is_in_threads("ray")

    given: list[Any] = [Ours(cluster_kwargs=IN_THREADS), ThreadPoolTaskRunner(2)]
    told = [flow(found).with_options(task_runner=each)() for each in given]
    assert told == [("dask", False, False), (None, True, False)]
    assert found() == (None, True, False)


@pytest.mark.usefixtures("prefect_server")
def test_tasks_that_do_not_end_in_time_stay_called_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "_GRACE_S", 0)
    plan, settings = planned(tmp_path)
    asked = iter([None, RunEndedError("enough")])

    def check() -> None:
        if error := next(asked):
            raise error

    class Stuck:
        """Takes tasks and never runs them."""

        def submit(self, *_: object, **__: object) -> SimpleNamespace:
            return SimpleNamespace(task_run_id=uuid4(), add_done_callback=lambda _: None)

    backend = Backend(
        painter=None, runner=runner_of(tasks=Stuck(), num_slots=lambda: len(plan.groups))
    )
    done: State[Any] = Completed(state_details=StateDetails(task_run_id=uuid4()))
    with run_of(settings) as identity:
        under: Any = SimpleNamespace(token=identity.token, check=check)
        with pytest.raises(RunEndedError, match="enough"):
            fan_out.fan_out(plan, settings, under, backend, done)
        with pytest.raises(RunEndedError):
            portions.make_portion(plan.groups, settings, identity)
    assert written(settings) == {}

"""Where tasks run: what is refused before anything is read, and what becomes of a portion."""

import logging
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nst import pipeline, storage
from nst.errors import ConfigError, RunEndedError, RunnerError
from nst.planning.plan import Plan
from nst.running import attempts, batch, lease, nodes, portions
from nst.running.lookout import Lookout
from nst.running.nodes import Node, RunIdentity
from nst.running.reports import NoListener, PortionReport
from nst.running.session import Session
from nst.running.silence import Silence
from nst.settings import RunSettings
from nst_flows import fan_out, local, runners
from nst_flows.runners import Runner
from nst_flows.tasks import GroupsEndedError
from tests.helpers import row, write_project
from tests.servers import free_ports


def planned(tmp_path: Path, *, steps: tuple[int, ...] = (3, 2)) -> tuple[Plan, RunSettings]:
    """A plan of a group for each number of steps, of one picture each."""
    rows = [row(id=f"r{n}", steps=each) for n, each in enumerate(steps, start=1)]
    manifest = write_project(tmp_path / "in", rows)
    settings = RunSettings(output=str(tmp_path / "out"), isolate=False, precision="float32")
    return pipeline.make_plan(str(manifest), settings), settings


@contextmanager
def run_of(settings: RunSettings) -> Iterator[RunIdentity]:
    storage.check_writable(settings.output)
    with lease.held(settings.output) as held:
        yield RunIdentity(token=held.token, versions=nodes.versions())


def written(settings: RunSettings) -> dict[str, int]:
    images = Path(settings.output) / "images"
    return {path.name: path.stat().st_mtime_ns for path in sorted(images.glob("*"))}


def test_what_a_task_is_given_and_gives_can_be_sent_anywhere(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        arguments = pickle.loads(pickle.dumps((plan.groups, settings, identity)))
        assert arguments == (plan.groups, settings, identity)
        made = portions.make_portion(*arguments)
    assert pickle.loads(pickle.dumps(made)) == made
    error = GroupsEndedError(made)
    assert pickle.loads(pickle.dumps(error)).made == made


def test_a_portion_whose_result_was_lost_is_not_made_again(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        made = portions.make_portion(plan.groups, settings, identity)
        before = written(settings)
        assert portions.make_portion(plan.groups, settings, identity) == made
        assert made.report.num_made == 2
        assert written(settings) == before


def test_a_portion_whose_node_was_lost_goes_on_from_what_is_recorded(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        url = attempts.url_of(plan.groups, settings, identity.token)
        batch.run_group(plan.groups[0], settings, NoListener())
        attempts.write(url, attempts.Attempts(num_begun=1))
        before = written(settings)
        made = portions.make_portion(plan.groups, settings, identity)
    assert (made.report.num_made, made.failed) == (2, ())
    after = written(settings)
    assert sorted(after) == ["r1.png", "r2.png"]
    assert after["r1.png"] == before["r1.png"]


def test_a_portion_that_takes_two_nodes_along_is_given_up(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        url = attempts.url_of(plan.groups, settings, identity.token)
        batch.run_group(plan.groups[0], settings, NoListener())
        attempts.write(url, attempts.Attempts(num_begun=portions.MAX_BEGUN))
        made = portions.make_portion(plan.groups, settings, identity)
    assert (made.report.num_made, made.report.num_failed, made.failed) == (1, 1, ("r2",))
    report = pipeline.finish(plan, settings)
    (failed,) = report.failed
    assert (failed.outcome.id, failed.outcome.reason) == ("r2", "worker_died")
    assert "was lost 2 times" in str(failed.outcome.error)


@pytest.mark.parametrize(
    "mark",
    [
        b"",
        b'{"num_be',
        b"[]",
        b"\xff\xfe\x00",
        b'{"num_begun": "x", "made": null}',
        b'{"num_begun": 1, "made": {"report": {"num_seen": 1}, "failed": []}}',
    ],
)
def test_a_portion_whose_mark_cannot_be_read_is_made(
    tmp_path: Path, mark: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        url = attempts.url_of(plan.groups, settings, identity.token)
        batch.run_group(plan.groups[0], settings, NoListener())
        before = written(settings)
        storage.write_bytes(url, mark)
        made = portions.make_portion(plan.groups, settings, identity)
        assert portions.make_portion(plan.groups, settings, identity) == made
    assert (made.report.num_made, made.report.errors) == (2, {})
    assert written(settings)["r1.png"] == before["r1.png"]
    assert f"{url}: expected how often groups were begun" in caplog.text


def test_an_error_says_nothing_against_a_portion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, settings = planned(tmp_path)

    def gone(*_: object, **__: object) -> None:
        raise MemoryError

    with run_of(settings) as identity, monkeypatch.context() as patched:
        patched.setattr(portions, "run_in_order", gone)
        for _ in range(portions.MAX_BEGUN + 1):
            with pytest.raises(MemoryError):
                portions.make_portion(plan.groups, settings, identity)


def test_nobody_paints_for_a_run_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "HEARTBEAT_S", 0.05)
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        attempts.call_off(settings, identity.token)
        with pytest.raises(RunEndedError):
            portions.make_portion(plan.groups, settings, identity)
        attempts.forget(settings, identity.token)
        assert storage.list_sizes(f"{settings.output}/attempts") == {}
    with pytest.raises(RunEndedError):
        portions.make_portion(plan.groups, settings, identity)
    assert written(settings) == {}


@pytest.mark.parametrize("is_through", [False, True])
def test_a_portion_that_outlasts_its_run_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_through: bool
) -> None:
    monkeypatch.setattr(portions, "HEARTBEAT_S", 0.05)
    plan, settings = planned(tmp_path)

    def outlasts(_: object, session: Session) -> PortionReport:
        attempts.call_off(settings, identity.token)
        with suppress(RunEndedError):
            while True:
                session.check()
                time.sleep(0.01)
        attempts.forget(settings, identity.token)
        if not is_through:
            raise RunEndedError("the run has ended the process that paints")
        return PortionReport(num_made=2, num_failed=0, errors={})

    monkeypatch.setattr(portions, "run_in_order", outlasts)
    with run_of(settings) as identity, pytest.raises(RunEndedError):
        portions.make_portion(plan.groups, settings, identity)
    assert storage.list_tree(settings.output) == {}


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path)
    with run_of(settings) as identity:
        other = RunIdentity(token=identity.token, versions={**identity.versions, "torch": "1.0"})
        with pytest.raises(ConfigError, match=r"torch \S+ instead of 1\.0; install the same"):
            portions.make_portion(plan.groups, settings, other)
    found = Node(host="gpu7", versions={"nst": "0.0.1"})
    with pytest.raises(ConfigError, match=r"gpu7: .* nst 0\.0\.1 instead of .*torch none instead"):
        nodes.check_versions(nodes.versions(), found)


def test_the_lookout_tells_of_each_picture_once_and_only_of_those_it_waits_for(
    tmp_path: Path,
) -> None:
    plan, settings = planned(tmp_path, steps=(3, 2, 4))
    told: list[Any] = []

    class Heard(NoListener):
        def recorded(self, group: Any, outcome: Any) -> None:
            told.append((group.name, outcome.id, outcome.status))

        def advanced(self, group: Any, evaluations: int, pictures: int) -> None:
            told.append((group.name, evaluations, pictures))

    with run_of(settings) as identity:
        lookout = Lookout(settings, Heard(), every_s=0)
        lookout.begun(plan.groups[:2])
        batch.run_group(plan.groups[0], settings, NoListener())
        batch.run_group(plan.groups[2], settings, NoListener())
        lookout.look()
        lookout.look()
        assert told == [("1 of 3", "r1", "ok"), ("1 of 3", 3, 1)]
        made = portions.make_portion(plan.groups[:2], settings, identity)
        lookout.ended(plan.groups[:2], made)
    assert told[2:] == [
        ("1 of 3", 3, 1),
        ("2 of 3", "r2", "ok"),
        ("2 of 3", 2, 1),
        ("2 of 3", 2, 1),
    ]


def test_what_failed_beside_a_group_that_ended_early_counts(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, steps=(3, 2, 4, 5))
    told: list[Any] = []

    class Heard(NoListener):
        def recorded(self, group: Any, outcome: Any) -> None:
            told.append((outcome.id, outcome.status))

    lookout = Lookout(settings, Heard())
    lookout.begun(plan.groups)
    # The second group has one that failed by itself; of the third nothing is known.
    report = PortionReport(num_made=2, num_failed=1, errors={"3 of 4": "no weights"})
    lookout.ended(plan.groups, attempts.PortionResult(report=report, failed=("r2",)))
    assert told == [("r1", "ok"), ("r2", "failed"), ("r4", "ok")]


def test_an_engine_that_is_not_installed_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with (
        pytest.raises(ConfigError, match=r"pip install 'nst\[ray\]'"),
        runners.elsewhere("ray", None, 0),
    ):
        pass


def test_a_ray_cluster_that_lets_nobody_in_is_told_of_with_what_ray_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(address: str | None) -> object:
        try:
            raise RuntimeError("no GCS: Traceback\n  File\nAuthentication token is missing\n")
        except RuntimeError as exc:
            raise ConnectionError(f"Failed to connect to Ray cluster at {address}") from exc

    module = SimpleNamespace(RayTaskRunner=refused)
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    with (
        pytest.raises(RunnerError, match=r"at auto that lets .* in, found: Authentication token"),
        runners.elsewhere("ray", "auto", 0),
    ):
        pass


def runner_of(**chosen: Any) -> Runner:
    return Runner(**{"name": "slurm", "tasks": None, "num_slots": lambda: 1} | chosen)


def test_nodes_of_another_release_or_without_any_are_refused() -> None:
    def unknown(_: object) -> Any:
        raise ModuleNotFoundError("No module named 'nst.running.portions'")

    with pytest.raises(
        ConfigError, match=r"expected nst \S+ and torch \S+ .*'nst.running.portions'"
    ):
        fan_out._check_nodes(runner_of(ask=unknown))
    old = Node(host="gpu7", versions={**nodes.versions(), "nst": "0.0.1"})
    with pytest.raises(ConfigError, match=r"gpu7: .*nst 0\.0\.1 instead of"):
        fan_out._check_nodes(runner_of(ask=lambda _: [old]))
    fan_out._check_nodes(runner_of())


def test_a_cluster_without_nodes_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "_NODES_S", 0)
    monkeypatch.setattr(fan_out, "_POLL_S", 0)
    with pytest.raises(RunnerError, match="slurm with a node that paints, found none in 0 s"):
        fan_out._check_nodes(runner_of(num_slots=lambda: 0))


def test_a_cluster_that_shrank_to_nothing_while_a_plan_was_made_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fan_out, "_POLL_S", 0)
    settings = RunSettings(output="/out")
    nodes: list[list[str]] = [["bfloat16", "float32"], []]
    backend = fan_out.Backend(painter=None, runner=runner_of(ask=lambda _: nodes.pop()))
    assert backend.precision(settings) == "float32"
    monkeypatch.setattr(fan_out, "_NODES_S", 0)
    backend = fan_out.Backend(painter=None, runner=runner_of(ask=lambda _: []))
    with pytest.raises(RunnerError, match="a node that paints, found none"):
        backend.precision(settings)


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_cluster_that_lost_all_nodes_is_told_of_each_minute_and_waited_for_half_an_hour(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_silent: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr(fan_out, "get_run_logger", lambda: logging.getLogger("nst"))
    monkeypatch.setattr(fan_out, "Silence", lambda every_s: Silence(every_s, lambda: now[0]))

    def none() -> int:
        if is_silent:
            raise OSError("connection refused")
        return 0

    slots: list[Callable[[], int]] = [lambda: 2]
    absence = fan_out._Absence(runner_of(num_slots=lambda: slots[-1]()))
    assert absence.num_slots() == 2
    slots.append(none)
    for _ in range(125):
        now[0] += 1
        assert absence.num_slots() == 0
    what = "not answered (OSError: connection refused)" if is_silent else "had no node that paints"
    said = f"the cluster of slurm has {what} for"
    assert [record.getMessage() for record in caplog.records] == [
        f"{said} 60 s; the run waits for a node, for 30 min at most",
        f"{said} 2 min; the run waits for a node, for 30 min at most",
    ]
    # A node that comes back begins the wait anew.
    slots.pop()
    assert absence.num_slots() == 2
    slots.append(none)
    for _ in range(1799):
        now[0] += 1
        assert absence.num_slots() == 0
    now[0] += 1
    with pytest.raises(RunnerError, match="for 30 min; what is finished is kept"):
        absence.num_slots()


def test_of_a_dask_cluster_with_gpus_only_workers_that_have_one_are_asked() -> None:
    workers: dict[str, dict[str, Any]] = {
        "tcp://head": {"nthreads": 8, "resources": {}},
        "tcp://gpu1": {"nthreads": 8, "resources": {"GPU": 2}},
        "tcp://gpu2": {"nthreads": 4, "resources": {"GPU": 1}},
    }

    class Client:
        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"workers": workers}

        def run(self, function: Callable[[], Any], workers: list[str]) -> dict[str, Any]:
            return {address: (address, function()) for address in workers}

    runner = runners._dask_runner(SimpleNamespace(client=Client()))
    assert runner.num_slots() == 3
    assert runner.ask(lambda: "yes") == [("tcp://gpu1", "yes"), ("tcp://gpu2", "yes")]
    for name in ("tcp://gpu1", "tcp://gpu2"):
        del workers[name]
    assert runner.num_slots() == 8
    assert runner.ask(lambda: "yes") == [("tcp://head", "yes")]


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_cluster_that_cannot_be_had_is_told_of_before_a_server_is_started(
    is_installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("the flow was begun")

    monkeypatch.setattr(local, "stylize_manifest", started)
    if not is_installed:
        monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    (port,) = free_ports(1)
    with pytest.raises(
        RunnerError if is_installed else ConfigError,
        match="found nobody" if is_installed else r"nst\[dask\]",
    ):
        local.run_locally(
            str(tmp_path / "manifest.csv"),
            RunSettings(output=str(tmp_path / "out")),
            {},
            NoListener(),
            runner="dask",
            runner_address=f"127.0.0.1:{port}",
        )

"""The groups of a plan as tasks: a bounded number at a time, wherever the tasks of the flow run."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import RLock
from time import monotonic, sleep
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import (
    State,
    StateDetails,
    StateType,
    TaskRun,
    TaskRunResult,
)
from prefect.exceptions import CancelledRun, PrefectException
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed, Pending
from prefect.types._datetime import DateTime
from prefect.utilities.engine import emit_task_run_state_change_event

from nst.errors import (
    ConfigError,
    NSTError,
    RunnerError,
    TooManyFailedError,
    ends_the_run,
)
from nst.planning import Group, Plan, Portion, in_portions
from nst.running import (
    Lease,
    Listeners,
    Lookout,
    Painter,
    PortionReport,
    PortionResult,
    RunIdentity,
    Session,
    Silence,
    Stopping,
    attempts,
    counting_failures,
    nodes,
    num_lanes_for,
    open_painter,
    run_in_lanes,
    why_it_ended,
)
from nst.settings import Precision, RunnerName, RunSettings
from nst.wording import shown_duration
from nst_flows import summary
from nst_flows.runners import Runner, elsewhere, of_the_flow, threads
from nst_flows.tasks import TAG, Assignment, GroupsEndedError, stylize_portion
from nst_flows.watching import current_listener, painting

# However many rows there are: each task costs 20 KB of the server's database, 40 KB of this process and
# 0.4 s between two groups. The time is spent by waiting for a slot of the tag: a server with SQLite
# answers one of seven such requests with 503, "database is locked", and Prefect's client then waits 2 s.
# A cluster gets more tasks.
MAX_TASKS = 40
_TASKS_PER_SLOT = 4
# The number of tasks submitted beyond those that run, so that no node waits for this process.
_WAITING = 2
_POLL_S = 1.0
# How long tasks may take to end once they are called off.
_GRACE_S = 20.0
# How long a cluster that grows with its load may take to get its first node.
_NODES_S = 15.0
# How long a run waits for a cluster that has lost all of its nodes, and how often it says so.
_ABSENCE_S = 1800
_SAID_EVERY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where groups are painted: `painter` in this process, or by whoever runs the tasks of `runner`."""

    painter: Painter | None
    runner: Runner | None

    def precision(self, settings: RunSettings) -> Precision:
        """What all devices take for `auto`: bfloat16 where each of them has units for it."""
        if self.painter is not None:
            return self.painter.precision(settings.device)
        assert self.runner is not None
        found = set(_ask(self.runner, partial(nodes.precision, settings)))
        return "float32" if "float32" in found else found.pop()


@contextmanager
def open_backend(settings: RunSettings, name: RunnerName, address: str | None) -> Iterator[Backend]:
    """Raises ConfigError for a cluster of other versions, and what `runners.elsewhere` raises."""
    with ExitStack() as stack:
        runner = of_the_flow(settings.lanes)
        if name != "threads":
            runner = stack.enter_context(elsewhere(name, address, settings.lanes))
        if runner is None:
            yield Backend(painter=stack.enter_context(open_painter(settings)), runner=None)
            return
        _check_nodes(runner)
        yield Backend(painter=None, runner=runner)


def _ask(runner: Runner, function: Callable[[], Any]) -> Sequence[Any]:
    """What the nodes that paint answer. Raises RunnerError where there is none for some seconds.

    There may be none now and one later: a cluster that follows its load may shrink to nothing while
    a plan is made.
    """
    until = monotonic() + _NODES_S
    while not (runner.num_slots() and (found := runner.ask(function))):
        if monotonic() > until:
            raise RunnerError(
                f"expected a cluster of {runner.name} with a node that paints, found none in "
                f"{_NODES_S:.0f} s; start one, with a GPU or a processor that it may use"
            )
        sleep(_POLL_S)
    return found


def _check_nodes(runner: Runner) -> None:
    """Raises RunnerError for a cluster without nodes, ConfigError for nodes of other versions."""
    expected = nodes.versions()
    try:
        found = _ask(runner, nodes.node)
    except RunnerError:
        raise
    except Exception as exc:
        # Where the package is not installed, or is of a release that knows nothing of this.
        wanted = " and ".join(f"{name} {version}" for name, version in expected.items())
        raise ConfigError(
            f"expected {wanted} on all nodes of {runner.name}, found one that could not tell what it "
            f"has: {type(exc).__name__}: {exc}"
        ) from exc
    for node in found:
        nodes.check_versions(expected, node)


def edge(state: State[Any]) -> State[Any]:
    """A state to wait for, which is an arrow in the graph of the run, without what it holds.

    It counts as completed whatever came of the task: what comes after it is to be done in any case.
    """
    return State(
        type=StateType.COMPLETED,
        # Anything: without, it would be looked for in a store of results.
        data=True,
        state_details=StateDetails(
            flow_run_id=state.state_details.flow_run_id,
            task_run_id=state.state_details.task_run_id,
        ),
    )


@dataclass(frozen=True, slots=True)
class FannedOut:
    """What ended groups early, by their names, and what a task waits for that comes after all of them.

    `is_stopped` is as of a PortionReport.
    """

    errors: dict[str, str]
    edges: list[Any]
    is_stopped: bool = False


def fan_out(
    plan: Plan, settings: RunSettings, lease: Lease, backend: Backend, planned: State[Any]
) -> FannedOut:
    """A task for each group, or for some where there are many.

    Raises StorageError where a store is out of order. Whatever ends this ends all of its tasks.
    """
    told, check = counting_failures(plan, settings, current_listener(), lease.check)
    with ExitStack() as stack:
        runner = backend.runner
        if backend.painter is not None:
            stopping = Stopping(lease.stop_asked_by)
            session = Session(
                painter=backend.painter,
                settings=settings,
                listener=Listeners(told, stopping),
                check=stopping.beside(check),
            )
            stack.enter_context(painting(session))
            runner = stack.enter_context(threads(num_lanes_for(plan.groups, backend.painter)))
        assert runner is not None
        max_tasks = MAX_TASKS
        if backend.painter is None:
            max_tasks = max(max_tasks, _TASKS_PER_SLOT * runner.num_slots())
        identity = RunIdentity(token=lease.token, versions=nodes.versions())
        portions = in_portions(plan.groups, max_tasks)
        tasks = _Tasks(runner, settings, identity, planned, backend.painter)
        lookout = Lookout(settings, told) if backend.painter is None else None
        try:
            tasks.run(portions, check, lookout)
            if tasks.not_begun:
                tasks.put(run_in_lanes(tasks.not_begun, session))
        except TooManyFailedError as exc:
            tasks.end()
            return FannedOut({group.name: str(exc) for group in plan.groups}, tasks.edges)
        except BaseException:
            tasks.end()
            raise
        if backend.painter is None:
            attempts.forget(settings, lease.token)
    return FannedOut(tasks.errors, tasks.edges, tasks.is_stopped)


class _Absence:
    """Looks whether a runner has nodes that paint, and says each minute that it has none."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._silence = Silence(_POLL_S)
        self._said_s = 0.0

    def num_slots(self) -> int:
        """As of the runner; 0 also if it does not answer. Raises RunnerError after half an hour."""
        try:
            found = self._runner.num_slots()
        except Exception as exc:
            # What an engine raises of a cluster that is gone is its own affair.
            found, said = 0, f"not answered ({type(exc).__name__}: {exc})"
        else:
            said = "had no node that paints"
        if found:
            self._silence.heard()
            self._said_s = 0.0
        else:
            self._say(said, self._silence.seconds())
        return found

    def _say(self, said: str, seconds: float) -> None:
        if seconds >= _ABSENCE_S:
            raise RunnerError(
                f"expected a cluster of {self._runner.name} with a node that paints, found that it has "
                f"{said} for {shown_duration(seconds)}; what is finished is kept, start a node and run it again"
            )
        if seconds >= self._said_s + _SAID_EVERY_S:
            self._said_s = seconds
            get_run_logger().warning(
                "the cluster of %s has %s for %s; the run waits for a node, for %s at most",
                self._runner.name,
                said,
                shown_duration(seconds),
                shown_duration(_ABSENCE_S),
            )


@dataclass(slots=True)
class _Tasks:
    """The tasks of a run: those under way, and what became of the others."""

    runner: Runner
    settings: RunSettings
    identity: RunIdentity
    planned: State[Any]
    painter: Painter | None
    errors: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False
    # Groups that could not be made as tasks, since the server does not answer.
    not_begun: list[Group] = field(default_factory=list)
    edges: list[Any] = field(default_factory=list)
    _under_way: dict[UUID, tuple[PrefectFuture[Any], Portion]] = field(default_factory=dict)
    _is_refused: bool = False
    # Held while a task is submitted and while those that wait are called off, so that each of them
    # is called off or never submitted. The same thread takes it again where a task is called off.
    _submitting: Any = field(default_factory=RLock)
    _through: "SimpleQueue[UUID]" = field(default_factory=SimpleQueue)

    def run(
        self, portions: Sequence[Portion], check: Callable[[], None], lookout: Lookout | None
    ) -> None:
        waiting = deque(portions)
        absence = _Absence(self.runner)
        while (waiting and not self._is_refused) or self._under_way:
            check()
            # Nodes come and go.
            num_slots = absence.num_slots()
            while self._may_submit(waiting, num_slots):
                if lookout is not None:
                    lookout.begun(waiting[0])
                self._submit(waiting, has_to_wait=len(self._under_way) >= num_slots)
            try:
                ended = self._through.get(timeout=_POLL_S)
            except Empty:
                if lookout is not None:
                    lookout.look()
                continue
            self._end_of(ended, lookout)
        # What had the last of them end early may be what ends the run.
        check()
        self.not_begun += [group for portion in waiting for group in portion]

    def _may_submit(self, waiting: Collection[Portion], num_slots: int) -> bool:
        is_free = len(self._under_way) < num_slots + _WAITING
        return bool(waiting) and is_free and not self._is_refused

    def _submit(self, waiting: deque[Portion], *, has_to_wait: bool) -> None:
        with self._submitting:
            if self._is_refused:
                return
            portion = waiting.popleft()
            parameters = {"assignment": Assignment(portion, self.settings, self.identity)}
            with self.runner.needs():
                future = self.runner.tasks.submit(
                    stylize_portion, parameters, dependencies=self._after_plan()
                )
            self._under_way[future.task_run_id] = (future, portion)
            future.add_done_callback(self._is_through)
        if has_to_wait:
            self._show_waiting(future, portion)

    def _is_through(self, future: PrefectFuture[Any]) -> None:
        """Called by the thread of a task, before it begins with another one."""
        if self._was_refused(future):
            with self._submitting:
                self._is_refused = True
                # Each of those that wait would ask the server for as long.
                for other, _ in [*self._under_way.values()]:
                    other.wrapped_future.cancel()  # type: ignore[attr-defined]
        self._through.put(future.task_run_id)

    def _was_refused(self, future: PrefectFuture[Any]) -> bool:
        return self.painter is not None and _was_not_begun(future)

    def _end_of(self, task_run: UUID, lookout: Lookout | None) -> None:
        future, portion = self._under_way.pop(task_run)
        if self._was_refused(future):
            if not self.not_begun:
                get_run_logger().warning(
                    "the Prefect server does not let tasks begin; the other groups are painted "
                    "without tasks"
                )
            self.not_begun += portion
            return
        made, errors = _outcome(future, portion)
        if lookout is not None and made is not None:
            lookout.ended(portion, made)
        for name, why in errors.items():
            get_run_logger().error("group %s ended: %s", name, why)
        self.errors |= errors
        self.is_stopped |= made is not None and made.report.is_stopped
        self.edges.append(edge(_final(future)))

    def put(self, made: PortionReport) -> None:
        """What came of groups that were made without tasks."""
        self.errors |= made.errors
        self.is_stopped |= made.is_stopped

    def end(self) -> None:
        """Have all tasks end, and leave none that seems to go on.

        Where some do not end in time, what calls them off stays in the output, for those that begin
        after this: the run may go on to its metadata, with its lease held.
        """
        if self.painter is not None:
            self.painter.close()
        else:
            with suppress(NSTError):
                attempts.call_off(self.settings, self.identity.token)
        until = monotonic() + _GRACE_S
        while self._under_way and monotonic() < until:
            with suppress(Empty):
                self._under_way.pop(self._through.get(timeout=_POLL_S), None)
        for future, _ in self._under_way.values():
            _set(future, Cancelled(message="the run was stopped"))
        if self.painter is None and not self._under_way:
            with suppress(NSTError):
                attempts.forget(self.settings, self.identity.token)

    def _show_waiting(self, future: PrefectFuture[Any], portion: Portion) -> None:
        """Tell the server of a task that waits; its engine tells it only when the task begins."""
        state: State[Any] = Pending()
        waiting = TaskRun(
            id=future.task_run_id,
            name=summary.portion_name(portion),
            flow_run_id=self.planned.state_details.flow_run_id,
            task_key=stylize_portion.task_key,
            dynamic_key=str(future.task_run_id),
            tags=[TAG],
            task_inputs={name: [*each] for name, each in self._after_plan().items()},
            expected_start_time=cast(DateTime, state.timestamp),
            state=state,
        )
        emit_task_run_state_change_event(waiting, initial_state=None, validated_state=state)

    def _after_plan(self) -> dict[str, set[TaskRunResult]]:
        """What makes the arrow from the plan to a task; to wait for it would take a thread more."""
        task_run = self.planned.state_details.task_run_id
        assert task_run is not None
        return {"assignment": {TaskRunResult(id=task_run)}}


def _was_not_begun(future: PrefectFuture[Any]) -> bool:
    """Whether a task in a thread of this process was ended before it began."""
    if future.wrapped_future.cancelled():  # type: ignore[attr-defined]
        return True
    error = future.wrapped_future.exception()  # type: ignore[attr-defined]
    return isinstance(error, Exception) and not isinstance(error, NSTError)


def _outcome(
    future: PrefectFuture[Any], portion: Portion
) -> tuple[PortionResult | None, Mapping[str, str]]:
    """What came of a task, as far as it says, and what ended groups of it early.

    Raises what ends the run.
    """
    try:
        made = future.result()
    except GroupsEndedError as exc:
        return exc.made, exc.made.report.errors
    except CancelledRun as exc:
        # What a task makes of a run that is over; whether this one is, is asked next.
        return None, {group.name: str(exc) for group in portion}
    except Exception as exc:
        if isinstance(exc, ConfigError) or ends_the_run(exc):
            raise
        return None, {group.name: why_it_ended(group, exc) for group in portion}
    return made, made.report.errors


def _final(future: PrefectFuture[Any]) -> State[Any]:
    """The state of a task that is over; one whose node took it along is told to have crashed."""
    with suppress(httpx.HTTPError):
        state = future.state
        if state.is_final():
            return state
    crashed: State[Any] = Crashed(message="its node was lost")
    _set(future, crashed)
    crashed.state_details.task_run_id = future.task_run_id
    return crashed


def _set(future: PrefectFuture[Any], state: State[Any]) -> None:
    with (
        suppress(httpx.HTTPError, PrefectException),
        # A server that is gone would be asked for a minute.
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        client.set_task_run_state(future.task_run_id, state, force=True)

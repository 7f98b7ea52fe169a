"""Where the tasks of a flow run: in threads of this process, or on a cluster of Ray or Dask.

The engines differ in how they are reached, in how one task is kept from sharing a GPU with another,
and in how each node is asked something; all else is Prefect's task runner.
"""

import importlib
import math
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from nst.errors import ConfigError, RunnerError
from nst.settings import RunnerName

# A cluster that has not answered by then will not answer.
_CONNECT_S = 10
_DEFAULT_PORTS = {"ray": 6379, "dask": 8786}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A task runner that has been started, and what its engine has ways of its own for.

    `num_slots` says how many tasks run at a time. What is submitted within `needs()` asks the engine
    for what a task needs. `ask` calls a function once on each node.
    """

    name: str
    # A TaskRunner, of futures of its engine's own.
    tasks: Any
    num_slots: Callable[[], int]
    needs: Callable[[], AbstractContextManager[object]] = nullcontext
    ask: Callable[[Callable[[], Any]], Sequence[Any]] = lambda function: [function()]


@contextmanager
def threads(number: int) -> Iterator[Runner]:
    """So many threads of this process."""
    made: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=number)
    with made as tasks:
        yield Runner(name="threads", tasks=tasks, num_slots=lambda: number)


@contextmanager
def elsewhere(name: RunnerName, address: str | None, lanes: int) -> Iterator[Runner]:
    """The cluster at an address, or one of this machine alone where there is none.

    A node without a GPU runs `lanes` tasks at a time. Raises ConfigError where the engine is not
    installed, and RunnerError within 20 s where nobody answers.
    """
    module = check(name, address)
    with _STARTED[name](module, address, lanes) as runner:
        yield runner


def check(name: RunnerName, address: str | None) -> Any:
    """Prefect's module for an engine, whose cluster answers at its address if it has one.

    Raises ConfigError where the engine is not installed, and RunnerError where nobody answers.
    """
    try:
        module = importlib.import_module(f"prefect_{name}.task_runners")
    except ImportError as exc:
        raise ConfigError(
            f"--runner {name}: expected prefect-{name} in this environment, found none ({exc}); "
            f"pip install 'nst[{name}]'"
        ) from exc
    if address is not None:
        _check_somebody_answers(name, address)
    return module


def is_in_threads(name: RunnerName) -> bool:
    """Whether groups are painted by threads of this process, not by a cluster or the flow's own runner."""
    return name == "threads" and _given() is None


def of_the_flow(lanes: int) -> Runner | None:
    """The task runner that the flow was given in place of threads, if it was given one."""
    tasks = _given()
    if tasks is None:
        return None
    if _is_a(tasks, "prefect_dask.task_runners", "DaskTaskRunner"):
        return _dask_runner(tasks)
    if _is_a(tasks, "prefect_ray.task_runners", "RayTaskRunner"):
        return _ray_runner(tasks, lanes)
    return Runner(name=type(tasks).__name__, tasks=tasks, num_slots=lambda: max(1, lanes))


def _given() -> Any:
    context = FlowRunContext.get()
    tasks: Any = context.task_runner if context is not None else None
    return None if isinstance(tasks, ThreadPoolTaskRunner) else tasks


def _is_a(tasks: Any, module: str, name: str) -> bool:
    """Whether it is an instance of a class, without importing the class's module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(tasks, getattr(loaded, name))


def _check_somebody_answers(name: str, address: str) -> None:
    """Raises RunnerError where no connection is to be had, which an engine may take minutes to say."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS[name]
    except ValueError as exc:
        raise ConfigError(
            f"--runner-address: expected HOST:PORT, found {address!r}: {exc}"
        ) from exc
    if address == "auto" or not host:
        return
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            pass
    except OSError as exc:
        raise RunnerError(
            f"--runner-address: expected {name} at {address}, found nobody who answers ({exc}); "
            "start the cluster, or correct the address"
        ) from exc


@contextmanager
def _dask(module: Any, address: str | None, lanes: int) -> Iterator[Runner]:
    import dask

    # A thread more would be a group more on one device.
    local = {"n_workers": 1, "threads_per_worker": max(1, lanes)}
    options = {"address": address} if address else {"cluster_kwargs": local}
    with module.DaskTaskRunner(**options) as tasks:
        try:
            with dask.config.set({"distributed.comm.timeouts.connect": f"{_CONNECT_S}s"}):
                runner = _dask_runner(tasks)
        except (OSError, TimeoutError) as exc:
            raise RunnerError(
                f"--runner-address: expected a Dask scheduler at {address}, found none: {exc}"
            ) from exc
        yield runner


def _dask_runner(tasks: Any) -> Runner:
    import dask

    client = tasks.client

    def painters() -> tuple[bool, dict[str, dict[str, Any]]]:
        """Whether any worker has a GPU, and by their addresses those that have, or else all."""
        found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        with_gpu = {
            address: worker
            for address, worker in found.items()
            if worker.get("resources", {}).get("GPU")
        }
        return (True, with_gpu) if with_gpu else (False, found)

    def num_slots() -> int:
        has_gpus, workers = painters()
        if has_gpus:
            return int(sum(each["resources"]["GPU"] for each in workers.values()))
        return sum(each["nthreads"] for each in workers.values())

    def needs() -> AbstractContextManager[object]:
        found: AbstractContextManager[object] = (
            dask.annotate(resources={"GPU": 1}) if painters()[0] else nullcontext()
        )
        return found

    def ask(function: Callable[[], Any]) -> Sequence[Any]:
        return list(client.run(function, workers=list(painters()[1])).values())

    return Runner(
        name="dask",
        tasks=tasks,
        num_slots=num_slots,
        needs=needs,
        ask=ask,
    )


@contextmanager
def _ray(module: Any, address: str | None, lanes: int) -> Iterator[Runner]:
    with ExitStack() as stack:
        try:
            tasks = stack.enter_context(module.RayTaskRunner(address=address))
        except (OSError, RuntimeError) as exc:
            raise RunnerError(
                f"--runner-address: expected a Ray cluster at {address or 'this machine'} that lets "
                f"this process in, found: {_said_first(exc)}"
            ) from exc
        yield _ray_runner(tasks, lanes)


def _said_first(exc: BaseException) -> str:
    """What began it, where Ray says what to do; before it, a message may hold a whole traceback."""
    while (cause := exc.__cause__ or exc.__context__) is not None:
        exc = cause
    lines = str(exc).strip().splitlines()
    return lines[-1] if lines else type(exc).__name__


def _ray_runner(tasks: Any, lanes: int) -> Runner:
    import ray
    from prefect_ray.context import remote_options
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def painters() -> tuple[str, list[dict[str, Any]]]:
        """The resource that a task takes, and the nodes that have some: those with GPUs, if any has."""
        found: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
        with_gpu = [node for node in found if node["Resources"].get("GPU")]
        with_cpu = [node for node in found if node["Resources"].get("CPU")]
        return ("GPU", with_gpu) if with_gpu else ("CPU", with_cpu)

    def need() -> tuple[str, int, list[dict[str, Any]]]:
        resource, nodes = painters()
        if resource == "GPU" or not nodes:
            return resource, 1, nodes
        least = min(node["Resources"]["CPU"] for node in nodes)
        return resource, max(1, math.floor(least / max(1, lanes))), nodes

    def options() -> dict[str, Any]:
        resource, number, _ = need()
        # With max_calls=0 a process is used again, and with it the weights that it has loaded.
        return {f"num_{resource.lower()}s": number, "max_calls": 0}

    def num_slots() -> int:
        resource, number, nodes = need()
        return sum(int(node["Resources"][resource] // number) for node in nodes)

    def ask(function: Callable[[], Any]) -> Sequence[Any]:
        # Ray takes only functions, no other callables.
        remote = ray.remote(**options() | {"max_calls": 1})(lambda: function())
        return list(
            ray.get(
                [
                    remote.options(
                        scheduling_strategy=NodeAffinitySchedulingStrategy(
                            node_id=node["NodeID"], soft=False
                        )
                    ).remote()
                    for node in need()[2]
                ]
            )
        )

    return Runner(
        name="ray",
        tasks=tasks,
        num_slots=num_slots,
        needs=lambda: remote_options(**options()),
        ask=ask,
    )


_STARTED: Mapping[str, Callable[[Any, str | None, int], AbstractContextManager[Runner]]] = {
    "ray": _ray,
    "dask": _dask,
}

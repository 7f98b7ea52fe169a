"""What a driver asks of a real, temporary Prefect server; the whole is in long/test_two_workers.py."""

from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from nst.errors import ConfigError
from nst.pipeline import Ticket
from nst_flows import driver
from nst_flows.driver import Deployment, stylize_shards
from nst_flows.shard import stylize_shard
from nst_flows.stylize import stylize_manifest
from tests.helpers import row, write_project

TICKET = Ticket(number=3, url="/out/shards/00003.json", digest="0" * 64)


@pytest.mark.usefixtures("prefect_server")
class TestOnAServer:
    @pytest.fixture(autouse=True)
    def _deployed(self) -> None:
        made = cast(RunnerDeployment, stylize_shard.to_deployment("shard"))
        made.apply()

    def test_an_attempt_is_one_run_however_often_it_is_asked_for(self) -> None:
        pool = Deployment("stylize-shard/shard", "lease-one", "a-block")
        first = pool.start(TICKET, 1)
        assert first is not None
        assert pool.start(TICKET, 1) == first
        others = [pool.start(TICKET, 2), Deployment(pool.name, "lease-two", None).start(TICKET, 1)]
        assert len({first, *others}) == 3
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(first))
        assert run.parameters == {
            "shard": TICKET.url,
            "digest": TICKET.digest,
            "number": 3,
            "attempt": 1,
            "credentials_block": "a-block",
        }

    def test_a_run_that_waits_is_cancelled_at_once_and_a_running_one_in_the_end(self) -> None:
        pool = Deployment("stylize-shard/shard", "lease-three", None)
        waiting, running = pool.start(TICKET, 1), pool.start(TICKET, 2)
        assert waiting is not None
        assert running is not None
        assert pool.phases([waiting, running]) == {waiting: "waiting", running: "waiting"}
        with get_client(sync_client=True) as client:
            for kind in (StateType.PENDING, StateType.RUNNING):
                client.set_flow_run_state(UUID(running), State(type=kind))
        assert pool.phases([waiting, running]) == {waiting: "waiting", running: "running"}
        for run in (waiting, running):
            pool.cancel(run)
        pool.discard(running)
        assert pool.phases([waiting, running]) == {waiting: "lost", running: "lost"}

    def test_a_deployment_that_is_not_there_is_named_before_anything_runs(
        self, tmp_path: Path
    ) -> None:
        manifest = write_project(tmp_path / "in", [row(id="one")])
        state = stylize_shards(
            str(manifest), str(tmp_path / "out"), deployment="stylize-shard/no", return_state=True
        )
        with pytest.raises(ConfigError, match="found none of the name 'stylize-shard/no'"):
            state.result()  # type: ignore[attr-defined]
        assert not (tmp_path / "out").exists()


def test_a_server_that_is_away_is_asked_again() -> None:
    pool = Deployment("stylize-shard/shard", "lease", None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert pool.start(TICKET, 1) is None
        assert pool.phases(["00000000-0000-0000-0000-000000000000"]) == {}
        pool.cancel("00000000-0000-0000-0000-000000000000")


def test_every_state_of_prefect_is_a_phase() -> None:
    assert set(driver._PHASES) == set(StateType)


def test_a_driver_takes_what_the_plain_flow_takes_but_what_is_the_workers_own() -> None:
    own = {"shard_rows", "in_flight", "deployment", "shard_timeout_s"}
    found, plain = (each.parameters.properties for each in (stylize_shards, stylize_manifest))
    assert set(found) == set(plain) - {"isolate"} | own
    for each in (stylize_shards, stylize_shard):
        assert all(one.get("description") for one in each.parameters.properties.values())

"""Shards: how they are cut, what becomes of the lost ones, and what they and their driver say."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nst import lease, pipeline, records, runs, shards
from nst.errors import ConfigError, NSTError, StorageError, WeightsError
from nst.job import PictureParams
from nst.lease import HEARTBEAT_S
from nst.metadata import Outcome
from nst.plan import Group, Input, PlannedJob
from nst.reports import NoListener, RunReport
from nst.settings import Precision, RunSettings
from nst.shards import Attempt, Beat, Phase, Shard, Step, Ticket, cut, next_steps, seen
from nst.silence import Silence
from nst.weights import WeightsFile
from tests.helpers import job, row, write_project

WEIGHTS = WeightsFile(backbone="vgg16", origin="embedded", uri="/w", digest="d" * 64)
# With this the next attempt that is due is not.
LONG = 1e6


def group(name: str, ids: Sequence[str]) -> Group:
    there = Input(uri="/in/a.png", digest="c" * 64, height=48, width=64)
    jobs = tuple(
        PlannedJob(
            job=job(id=each),
            key=f"key of {each}",
            content=there,
            styles=(there,),
            mask=None,
            start=None,
            height=48,
            width=64,
        )
        for each in ids
    )
    return Group(name=name, backbone="vgg16", weights=WEIGHTS, height=48, width=64, jobs=jobs)


def groups_of(*sizes: int) -> list[Group]:
    return [group(f"{n}", [f"{n}-{each}" for each in range(size)]) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "shard_rows", "expected"),
    [
        ([4, 4, 4, 4], 8, [[4, 4], [4, 4]]),
        ([4, 4, 4], 7, [[4], [4], [4]]),
        ([9, 1, 1], 4, [[9], [1, 1]]),
        ([1, 9, 1], 4, [[1], [9], [1]]),
        ([3], 100, [[3]]),
        ([], 4, []),
    ],
)
def test_groups_stay_whole_and_in_order_in_shards_of_a_bounded_size(
    sizes: list[int], shard_rows: int, expected: list[list[int]]
) -> None:
    groups = groups_of(*sizes)
    made = cut(groups, shard_rows)
    assert [[len(each.jobs) for each in shard.groups] for shard in made] == expected
    assert [each for shard in made for each in shard.groups] == groups
    assert [shard.number for shard in made] == list(range(1, len(expected) + 1))


def attempt(shard: int, phase: Phase, number: int = 1, sign_at: float = 0.0) -> Attempt:
    return Attempt(shard=shard, number=number, phase=phase, sign_at=sign_at)


def steps(
    attempts: Sequence[Attempt], num_shards: int = 4, *, now: float = 0.0, in_flight: int = 2
) -> list[tuple[str, int, int]]:
    found = next_steps(
        {each.shard: each for each in attempts},
        num_shards,
        now=now,
        in_flight=in_flight,
        timeout_s=10,
    )
    return [(step.do, step.shard, step.attempt) for step in found]


def test_as_many_shards_are_started_as_may_be_under_way() -> None:
    assert steps([]) == [("start", 1, 1), ("start", 2, 1)]
    assert steps([attempt(1, "waiting"), attempt(2, "running")]) == []
    assert steps([attempt(1, "through"), attempt(2, "running")]) == [("start", 3, 1)]
    assert steps([attempt(n, "through") for n in (1, 2, 3, 4)]) == []


def test_a_lost_shard_is_started_once_more_before_new_ones_and_then_given_up() -> None:
    running = attempt(2, "running")
    assert steps([attempt(1, "lost"), running]) == [("start", 1, 2)]
    assert steps([attempt(1, "lost", number=2), running]) == [("give_up", 1, 2), ("start", 3, 1)]
    assert steps([attempt(1, "given_up", number=2), running]) == [("start", 3, 1)]


def test_a_shard_is_lost_when_it_runs_in_silence_and_not_when_nobody_has_taken_it() -> None:
    one = [attempt(1, "running", sign_at=5), attempt(2, "waiting", sign_at=5)]
    assert steps(one, now=15) == []
    assert steps(one, now=15.1) == [("end", 1, 1), ("start", 1, 2)]
    late = [attempt(1, "running", number=2, sign_at=5), attempt(2, "waiting", sign_at=5)]
    assert steps(late, now=16) == [("end", 1, 2), ("give_up", 1, 2), ("start", 3, 1)]


def test_a_sign_of_life_is_another_phase_or_another_beat() -> None:
    before = Attempt(shard=1, number=1, phase="running", sign_at=1.0, beat=Beat(number=3))
    assert seen(before, "running", Beat(number=3), 9.0).sign_at == 1.0
    assert seen(before, None, None, 9.0) == before
    assert seen(before, "running", Beat(number=4), 9.0).sign_at == 9.0
    waiting = replace(before, phase="waiting")
    assert seen(waiting, "running", None, 9.0).sign_at == 9.0


@pytest.mark.parametrize(
    ("phase", "beat", "expected"),
    [
        ("running", Beat(number=4), "running"),
        ("running", Beat(number=4, end="through"), "through"),
        # Its process died between its last word and its end.
        ("lost", Beat(number=4, end="through"), "through"),
        ("lost", Beat(number=4), "lost"),
        ("running", Beat(number=4, end="failed"), "lost"),
        ("running", Beat(number=4, end="stopped"), "stopped"),
        # It ended well, as if, and did not say so: its records may lack some.
        ("through", Beat(number=4), "lost"),
        (None, Beat(number=4, end="through"), "through"),
    ],
)
def test_what_a_shard_says_of_itself_stands_over_what_is_said_of_it(
    phase: Phase | None, beat: Beat, expected: Phase
) -> None:
    before = Attempt(shard=1, number=1, phase="running", sign_at=1.0, beat=Beat(number=3))
    assert seen(before, phase, beat, 9.0).phase == expected


def project(folder: Path, num_rows: int = 4, **settings: object) -> tuple[str, RunSettings]:
    """A group for each row."""
    rows = [row(id=f"n{n}", seed=n, steps=1) for n in range(num_rows)]
    manifest = write_project(folder / "in", rows)
    chosen = {
        "output": str(folder / "out"),
        "max_batch_pixels": 1,
        "isolate": False,
        "precision": "float32",
    }
    chosen |= settings
    return str(manifest), RunSettings(**chosen)  # type: ignore[arg-type]


def test_a_shard_goes_through_its_file_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    manifest, settings = project(tmp_path, weights={"vgg16": str(tmp_path / "w")})
    settings = replace(settings, weights={})
    plan = pipeline.make_plan(manifest, settings)
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    first = plan.groups[0]
    odd = PictureParams(seed=2**63 - 1, style_weight=0.1, style_layers=("relu1_1",), pooling="avg")
    jobs = [
        replace(first.jobs[0], outdated=at, attempts=1),
        replace(first.jobs[0], job=replace(first.jobs[0].job, params=odd, labels={"a": "é"})),
    ]
    shard = Shard(number=7, groups=(replace(first, jobs=tuple(jobs)), *plan.groups[1:]))
    ticket = shards.assign(shard, settings, "token")
    assert ticket.url == f"{settings.output}/shards/00007.json"
    read = shards.read_assignment(ticket.url, ticket.digest)
    assert (read.number, read.lease, read.settings) == (7, "token", settings)
    assert read.groups == shard.groups
    path = Path(ticket.url)
    path.write_bytes(path.read_bytes().replace(b"a.png", b"b.png"))
    with pytest.raises(ConfigError, match="expected the shard of sha256"):
        shards.read_assignment(ticket.url, ticket.digest)


def test_credentials_are_not_put_down_for_another_machine(tmp_path: Path) -> None:
    settings = RunSettings(output=str(tmp_path))
    told = group("1", ["one"])
    secret = "https://h/a.png?token=hush-hush"
    jobs = (replace(told.jobs[0], job=job(content=secret)),)
    shard = Shard(number=1, groups=(replace(told, jobs=jobs),))
    with pytest.raises(ConfigError, match="a token or a password") as caught:
        shards.assign(shard, settings, "token")
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_those_of_this_machine_and_the_same_as_the_drivers(tmp_path: Path) -> None:
    manifest, settings = project(tmp_path)
    (here,) = {each.weights for each in pipeline.make_plan(manifest, settings).groups}
    there = replace(group("1", ["one"]), weights=replace(here, uri="/another/machine"))
    (found,) = shards.with_local_weights([there], settings)
    assert found.weights == here
    with pytest.raises(WeightsError, match=f"expected the sha256 of the driver's, {'d' * 64}"):
        shards.with_local_weights([group("1", ["one"])], settings)
    there = replace(there, weights=replace(here, topology="caffe"))
    with pytest.raises(WeightsError, match="the topology of the driver's, caffe, found None"):
        shards.with_local_weights([there], settings)


def test_what_a_lost_attempt_has_recorded_is_left_out_and_the_rest_is_given_up(
    tmp_path: Path,
) -> None:
    manifest, settings = project(tmp_path)
    plan = pipeline.make_plan(manifest, settings)
    pipeline.run_group(plan.groups[0], settings)
    pipeline.run_group(plan.groups[2], settings)
    left = shards.remaining(plan.groups, settings)
    assert [each.jobs[0].job.id for each in left] == ["n1", "n3"]
    assert shards.give_up(plan.groups, settings, "worker_died", "shard 1 was lost") == 2
    assert shards.give_up(plan.groups, settings, "worker_died", "again") == 0
    report = pipeline.finish(plan, settings)
    assert report.num_ok == 2
    assert dict(report.failed_by_reason) == {"worker_died": 2}
    assert "shard 1 was lost; run it again" in str(report.failed[0].outcome.error)
    # They are as good as any other, and no machine's end puts them in quarantine.
    assert pipeline.make_plan(manifest, settings).num_pictures_to_make == 2


class FakePool:
    """Shards that are made in this thread as soon as anybody asks how they get on."""

    def __init__(self, settings: RunSettings, fates: Mapping[tuple[int, int], str]) -> None:
        self.settings = settings
        self.fates = fates
        self.started: list[tuple[int, int]] = []
        self.cancelled: list[str] = []
        self.discarded: list[str] = []
        self.chosen: list[str] = []
        self._tickets: dict[str, tuple[Ticket, int]] = {}
        self._phases: dict[str, Phase] = {}

    def start(self, ticket: Ticket, attempt: int) -> str | None:
        if self.fates.get((ticket.number, attempt)) == "busy" and not self.started.count(
            (ticket.number, 0)
        ):
            self.started.append((ticket.number, 0))
            return None
        self.started.append((ticket.number, attempt))
        name = f"{ticket.number}/{attempt}"
        self._tickets[name] = (ticket, attempt)
        return name

    def phases(self, runs: Sequence[str]) -> Mapping[str, Phase]:
        for name in runs:
            if name not in self._phases:
                ticket, attempt = self._tickets[name]
                self._phases[name] = self._make(ticket, attempt)
        return {name: self._phases[name] for name in runs}

    def cancel(self, run: str) -> None:
        self.cancelled.append(run)

    def discard(self, run: str) -> None:
        self.discarded.append(run)

    def _make(self, ticket: Ticket, attempt: int) -> Phase:
        fate = self.fates.get((ticket.number, attempt), "")
        this = pipeline.read_assignment(ticket.url, ticket.digest)
        if fate == "hangs":
            return "running"
        if fate == "dies":
            pipeline.run_group(this.groups[0], self.settings)
            return "lost"
        if fate == "store":
            with pytest.raises(StorageError), pipeline.beating(this, attempt):
                raise StorageError("no room left")
            return "lost"
        with pipeline.beating(this, attempt) as heart:
            plan = pipeline.plan_of_shard(this, this.settings, attempt)
            settings = pipeline.settled(this.settings, self.choose, heart)
            if fate == "dies later":
                pipeline.run_group(plan.groups[0], settings)
                heart.end = lambda *_: None  # type: ignore[method-assign]
                return "lost"
            pipeline.run_groups(plan.groups, settings, heart, check=heart.check)
        return "through"

    def choose(self, device: str) -> Precision:
        """As the machine of each shard but the first has it."""
        self.chosen.append(device)
        return "bfloat16" if len(self.chosen) == 1 else "float32"


def drive(
    manifest: str, settings: RunSettings, pool: FakePool, *, timeout_s: float = LONG
) -> RunReport:
    with runs.opened(manifest, settings, {}) as this:
        this.plan = pipeline.make_plan(manifest, this.settings)
        pipeline.drive(
            cut(this.plan.groups, 2),
            this.settings,
            this.lease,
            pool,
            NoListener(),
            in_flight=2,
            timeout_s=timeout_s,
            settle=lambda precision: this.settled(lambda: precision),
        )
        this.report = report = pipeline.finish(this.plan, settings)
    return report


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "POLL_S", 0.01)


def test_a_shard_that_is_lost_with_its_machine_is_made_again(tmp_path: Path) -> None:
    manifest, settings = project(tmp_path)
    painted = []

    class Counted(FakePool):
        def _make(self, ticket: Ticket, attempt: int) -> Phase:
            before = set(records.read(settings.output).made)
            phase = super()._make(ticket, attempt)
            painted.extend(sorted(set(records.read(settings.output).made) - before))
            return phase

    pool = Counted(settings, {(1, 1): "dies", (2, 1): "busy"})
    report = drive(manifest, settings, pool)
    assert report.num_ok == 4
    # One that the server would not start is asked for again.
    assert pool.started == [(1, 1), (2, 0), (1, 2), (2, 1)]
    assert painted == ["n0", "n1", "n2", "n3"]
    assert (pool.cancelled, pool.discarded) == ([], [])
    assert not list((tmp_path / "out/shards").iterdir())


def test_a_shard_that_is_lost_twice_is_given_up_and_the_others_are_made(tmp_path: Path) -> None:
    manifest, settings = project(tmp_path, 6)
    pool = FakePool(settings, {(2, 1): "dies", (2, 2): "dies"})
    report = drive(manifest, settings, pool)
    assert sorted(set(pool.started)) == [(1, 1), (2, 1), (2, 2), (3, 1)]
    # The first of its rows was made before it was lost.
    assert [record.outcome.id for record in report.failed] == ["n3"]
    assert report.failed[0].outcome.reason == "worker_died"


@pytest.mark.parametrize("fate", ["", "dies later"])
def test_the_first_shard_chooses_the_precision_of_all_and_waits_for_nobody(
    tmp_path: Path, fate: str
) -> None:
    manifest, settings = project(tmp_path, 6, precision="auto", device="auto")
    pool = FakePool(settings, {(1, 1): fate})
    assert drive(manifest, settings, pool).num_ok == 6
    # No other is started before it has told, and none is asked after that, not its next attempt either.
    again = [(1, 2)] if fate else []
    assert pool.started == [(1, 1), *again, (2, 1), (3, 1)]
    assert pool.chosen == ["auto"]
    made = records.read(settings.output).made.values()
    assert {each.precision for each in made} == {"bfloat16"}
    told = runs.read_account(settings.output)
    assert told is not None
    assert told["precision"] == "bfloat16"
    # A run that goes on knows it from the beginning.
    more = write_project(tmp_path / "in", [row(id=f"n{n}", seed=n, steps=1) for n in range(8)])
    later = FakePool(settings, {})
    assert drive(str(more), settings, later).num_ok == 8
    assert later.chosen == []
    made = records.read(settings.output).made.values()
    assert {each.precision for each in made} == {"bfloat16"}


def test_a_silent_shard_is_cancelled_marked_and_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_GRACE_S", 0.0)
    manifest, settings = project(tmp_path)
    pool = FakePool(settings, {(1, 1): "hangs"})
    assert drive(manifest, settings, pool, timeout_s=0.05).num_ok == 4
    assert pool.started == [(1, 1), (2, 1), (1, 2)]
    assert (pool.cancelled, pool.discarded) == (["1/1"], ["1/1"])


def test_a_store_out_of_order_ends_the_run_and_all_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_BRIEF_GRACE_S", 0.0)
    manifest, settings = project(tmp_path)
    pool = FakePool(settings, {(1, 1): "store", (2, 1): "hangs"})
    with pytest.raises(StorageError, match="shard 1: no room left"):
        drive(manifest, settings, pool)
    assert (pool.cancelled, pool.discarded) == (["2/1"], ["2/1"])
    assert dict(records.read(settings.output).failed) == {}


def assignment(folder: Path, token: str) -> pipeline.Assignment:
    settings = RunSettings(output=str(folder))
    return pipeline.Assignment(
        number=1, lease=token, settings=settings, groups=(group("1", ["one"]),)
    )


def test_without_a_driver_that_lives_a_shard_does_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(NSTError, match="expected a driver that renews its lease, found none"),
        pipeline.beating(assignment(tmp_path, "nobody"), 1),
    ):
        raise AssertionError("it went on")


def test_a_shard_hears_that_its_driver_is_gone_or_has_given_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(lease, "Silence", lambda every_s: Silence(every_s, lambda: now[0]))
    with lease.held(str(tmp_path)) as held:
        followed = lease.Followed(str(tmp_path), held.token)
        assert followed.is_held()
        heart = shards.Heart(assignment(tmp_path, held.token), 1)
        other = shards.Heart(assignment(tmp_path, held.token), 2)
        assert heart._objection() == other._objection() == ""
        (tmp_path / "shards").mkdir()
        (tmp_path / "shards/00001-1.ended").write_bytes(b"")
        assert "attempt 1 was given up" in heart._objection()
        assert other._objection() == ""
        # It asks for so long whether anything has changed, whatever any clock says.
        held._ends.set()
        held._thread.join(HEARTBEAT_S)
        assert followed.is_held()
        now[0] += lease.PATIENCE_S
        assert followed.is_held()
        for _ in range(3):
            now[0] += HEARTBEAT_S
            followed.is_held()
        assert not followed.is_held()
    assert not lease.Followed(str(tmp_path), held.token).is_held()


def test_a_shard_tells_how_far_it_is_and_how_it_ended(tmp_path: Path) -> None:
    with lease.held(str(tmp_path)) as held:
        this = assignment(tmp_path, held.token)
        with pipeline.beating(this, 1) as heart:
            heart.advanced(this.groups[0], 30, 0)
            heart.recorded(this.groups[0], Outcome(id="one", status="ok"))
            heart.recorded(this.groups[0], Outcome(id="two", status="failed"))
        beat = shards.read_beat(str(tmp_path), 1, 1)
        assert beat is not None
        assert beat.advanced == {"1": [30, 0]}
        assert (beat.num_made, beat.num_failed, beat.end) == (1, 1, "through")
        for error, end in ((NSTError("no"), "failed"), (StorageError("full"), "stopped")):
            with pytest.raises(NSTError), pipeline.beating(this, 2):
                raise error
            said = shards.read_beat(str(tmp_path), 1, 2)
            assert said is not None
            assert (said.end, said.error) == (end, str(error))
    assert shards.read_beat(str(tmp_path), 1, 3) is None


def test_a_step_names_what_it_is_about() -> None:
    assert next_steps({}, 1, now=0, in_flight=1, timeout_s=1) == (
        Step(do="start", shard=1, attempt=1),
    )

"""The gallery of a run that goes on."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nst import audit, pipeline, storage
from nst.errors import RunEndedError, StorageError
from nst.gallery.publishing import LiveGallery
from nst.gallery.votes import Vote, Voter
from nst.output import records
from nst.output.metadata import Outcome
from nst.output.recorded import told_by
from nst.pictures import images
from nst.planning.plan import Group, Plan
from nst.running import lease
from nst.running.live import Growing, growing
from nst.running.standing import Standings
from nst.settings import RunSettings
from tests.galleries import files_in, read_gallery
from tests.helpers import Page, picture_tensor, row, write_project

SIZE = 48
ANN = Voter(voter="a", name="Ann", opinions={}, votes=(Vote(a="one", b="two", better="a", at=1),))


class Project:
    """Three rows, one of which cannot be made, and what makes the others without painting."""

    def __init__(self, folder: Path) -> None:
        rows = [
            row(id="one", size=SIZE, steps=1),
            row("b.png", id="two", size=SIZE, steps=1),
            row("no.png", id="three"),
        ]
        self.manifest = str(write_project(folder / "in", rows))
        self.url = str(folder / "out")
        self.settings = RunSettings(output=self.url, isolate=False, precision="float32")
        read = pipeline.read_manifest(self.manifest, self.settings)
        self.plan: Plan = pipeline.plan_rows(read, self.settings)
        self.standings = Standings()
        self.standings.planned(self.plan)
        self.gallery = LiveGallery(self.url)

    def grower(self, check: Callable[[], None] = lambda: None) -> Growing:
        return Growing(self.gallery, self.plan, self.settings, self.standings, check)

    def make(self, job_id: str, *listeners: Any, bare: bool = False) -> None:
        """A picture with its record, of which the listeners are told."""
        (group,) = (g for g in self.plan.groups if job_id in [one.job.id for one in g.jobs])
        said: dict[str, Any] = {
            "software": "nst 0",
            "id": job_id,
            "content": f"{job_id}.png",
            "style": "s.png",
        }
        said |= {"backbone": "vgg19", "size": SIZE}
        picture = images.Picture(pixels=picture_tensor(36, SIZE).numpy(), alpha=None)
        data = images.encode(picture, "png", said)
        path = f"images/{job_id}.png"
        storage.write_bytes(f"{self.url}/{path}", data)
        outcome = Outcome(
            id=job_id,
            key="k",
            status="ok",
            picture=path,
            picture_digest=hashlib.sha256(data).hexdigest(),
            picture_bytes=len(data),
            height=36,
            width=SIZE,
            finished_at=datetime.now(UTC),
        )
        records.write(self.url, outcome)
        told = Outcome(id=job_id, status="ok") if bare else outcome
        for each in (self.standings, *listeners):
            each.recorded(group, told)

    def told(self) -> dict[str, Any]:
        text = Path(self.url, "data/live.js").read_text()
        found: dict[str, Any] = json.loads(text.removeprefix("nstLive(").removesuffix(");\n"))
        return found

    def page(self) -> Page:
        return Page(Path(self.url, "index.html").read_text())

    def items(self) -> tuple[dict[str, Any], ...]:
        """What the page shows, of whose earlier builds there may be files too."""
        (spine,) = (each["data-spine"] for each in self.page().all("html"))
        files = files_in(Path(self.url))
        assert spine in files
        others = {path for path in files if path.startswith("data/spine.")} - {spine}
        return read_gallery({p: data for p, data in files.items() if p not in others}).items

    def statuses(self) -> dict[str, str]:
        return {str(item["id"]): str(item["status"]) for item in self.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_page_is_there_before_the_first_picture(project: Project) -> None:
    with growing(project.gallery, project.plan, project.settings, project.standings, lambda: None):
        assert project.statuses() == {"one": "waiting", "two": "waiting", "three": "failed"}
        assert "Under way: 0 of 3 rows done, 1 failed" in project.page().text
        told = project.told()
        assert (told["state"], told["num_rows"], told["num_ok"]) == ("running", 3, 0)
        assert Path(project.url, told["spine"]).exists()


def test_it_grows_by_what_is_recorded_with_its_rows_where_they_were(project: Project) -> None:
    grower = project.grower()
    grower._build("running")
    before = [item["id"] for item in project.items()]
    project.make("two", grower)
    grower._build("running")
    assert project.statuses() == {"one": "waiting", "two": "ok", "three": "failed"}
    assert [item["id"] for item in project.items()] == before
    assert audit.shown_pictures(project.url) == {"images/two.png"}
    assert project.told()["num_ok"] == 1


def test_what_another_machine_has_recorded_is_read(project: Project) -> None:
    grower = project.grower()
    project.make("one", grower, bare=True)
    grower._build("running")
    assert audit.shown_pictures(project.url) == {"images/one.png"}


def ended_by(project: Project, error: BaseException, *, made: str = "") -> None:
    with growing(
        project.gallery, project.plan, project.settings, project.standings, lambda: None
    ) as grower:
        if made:
            project.make(made, grower)
        raise error


def test_after_an_interrupt_it_has_all_that_is_recorded_and_says_so(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        ended_by(project, KeyboardInterrupt(), made="one")
    assert project.statuses()["one"] == "ok"
    assert project.told()["state"] == "stopped"
    assert "Stopped: 1 of 3 rows done" in project.page().text


@pytest.mark.parametrize("error", [StorageError("the disk is full"), RunEndedError("taken over")])
def test_nothing_is_written_where_the_run_has_lost_its_output(
    project: Project, error: Exception
) -> None:
    with pytest.raises(type(error)):
        ended_by(project, error, made="one")
    assert project.statuses()["one"] == "waiting"
    assert project.told()["state"] == "running"


@pytest.mark.parametrize("number", range(1, 8))
def test_a_build_that_is_cut_short_leaves_a_whole_page(project: Project, number: int) -> None:
    """Each file that a page names is there, whatever write was the last."""
    left = [10**6]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageError("killed")

    grower = project.grower(check)
    grower._build("running")
    project.make("one", grower)
    left[0] = number
    with pytest.raises(StorageError, match="killed"):
        grower._build("running")
    assert audit.shown_pictures(project.url) <= {"images/one.png"}
    assert len(project.items()) == 3


def test_the_data_of_a_page_that_is_open_stays_for_a_while(project: Project) -> None:
    grower = project.grower()
    spines = []
    for _ in range(5):
        grower._build("running")
        spines.append(project.told()["spine"])
        project.make("one", grower)
    there = [Path(project.url, spine).exists() for spine in dict.fromkeys(spines)]
    assert all(there[-2:])
    project.make("two", grower)
    pipeline.finish(project.plan, project.settings)
    assert [path.name for path in Path(project.url, "data").glob("spine.*")] == [
        Path(project.told()["spine"]).name
    ]
    assert project.told()["state"] == "ended"
    assert "data-live" not in Path(project.url, "index.html").read_text()


def test_a_gallery_that_cannot_be_built_ends_no_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    grower = project.grower()

    def broken(*_: object) -> None:
        raise KeyError("spine")

    monkeypatch.setattr(project.gallery, "update", broken)
    grower.start()
    grower.stop()
    # What ended a run is not hidden either.
    grower.stopped()
    assert "the gallery does not grow for now" in caplog.text


def test_a_store_that_fails_for_a_while_does_not_end_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    grower = project.grower()
    waits = iter([False, False, True])
    monkeypatch.setattr(grower._ends, "wait", lambda _: next(waits))

    def refused(*_: object) -> None:
        raise StorageError("no answer")

    monkeypatch.setattr(project.gallery, "tell", refused)
    with caplog.at_level(logging.WARNING):
        grower._grow()
    assert caplog.text.count("the gallery does not grow for now") == 1


def test_builds_wait_for_fifty_times_as_long_as_they_take(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    built: list[float] = []

    def build(_: str) -> None:
        built.append(now[0])
        now[0] += 2.0
        grower._built_at, grower._build_s, grower._num_new = now[0], 2.0, 1

    def wait(seconds: float) -> bool:
        now[0] += seconds
        return now[0] > 2000

    monkeypatch.setattr("nst.running.live.time.monotonic", lambda: now[0])
    grower = project.grower()
    monkeypatch.setattr(grower._ends, "wait", wait)
    monkeypatch.setattr(grower, "_build", build)
    monkeypatch.setattr(project.gallery, "tell", lambda *_: None)
    build("running")
    grower._grow()
    gaps = [b - a for a, b in pairwise(built)]
    assert gaps
    assert min(gaps) >= 2 + 50 * 2.0


def killed(project: Project, **said: object) -> None:
    """What a killed run leaves of run.json."""
    account = {
        "state": "running",
        "manifest": project.manifest,
        "overrides": {},
        "settings": {"isolate": False, "precision": "float32"},
    }
    storage.write_bytes(f"{project.url}/run.json", json.dumps(account | said).encode())


def test_a_killed_run_gets_its_gallery_from_manifest_and_records(project: Project) -> None:
    project.make("one")
    killed(project)
    pipeline.rebuild_gallery([project.url])
    assert project.statuses() == {"one": "ok", "two": "waiting", "three": "waiting"}
    assert not Path(project.url, "metadata.parquet").exists()


def test_open_pages_learn_of_the_end_before_the_run_has_put_it_down(project: Project) -> None:
    killed(project)
    project.grower()._build("running")
    pipeline.finish(project.plan, project.settings)
    assert project.told()["state"] == "ended"


def test_a_gallery_stays_as_the_run_under_way_keeps_it(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    killed(project)
    grower = project.grower()
    with lease.held(project.url):
        grower._build("running")
        before = files_in(Path(project.url))
        project.make("one", grower)
        told = pipeline.rebuild_gallery([project.url], voters=[ANN])
        assert told == Path(project.url, "index.html").as_uri()
        assert files_in(Path(project.url)) == before
        assert "not built anew, since the run under way keeps it up to date" in caplog.text
        # What people said is in the page that the run builds next, and other galleries are built.
        grower._build("running")
        assert "data/votes" in str([*files_in(Path(project.url))])
        pipeline.rebuild_gallery([project.url], to=f"{project.url}-elsewhere")
    assert Path(f"{project.url}-elsewhere", "index.html").exists()
    pipeline.rebuild_gallery([project.url])
    assert "data-live" not in Path(project.url, "index.html").read_text()
    assert project.told()["state"] == "ended"


def test_rows_that_must_not_run_are_told_with_their_reason(tmp_path: Path) -> None:
    project = Project(tmp_path)
    bad = row("b.png", id="four", size=7)
    write_project(tmp_path / "in", [row(id="one", size=SIZE, steps=1), bad])
    project.make("one")
    killed(project, settings={"isolate": False, "precision": "float32", "keep_going": True})
    pipeline.rebuild_gallery([project.url])
    found = {str(item["id"]): item.get("reason") for item in project.items()}
    assert found == {"one": None, "four": "bad_row"}
    assert "waiting" not in project.statuses().values()


def test_where_the_manifest_is_gone_the_pictures_tell(project: Project) -> None:
    project.make("one")
    project.make("two")
    killed(project, manifest="/nowhere/rows.csv")
    pipeline.rebuild_gallery([project.url])
    items = project.items()
    assert {(item["id"], item["content"], item["size"]) for item in items} == {
        ("one", "one.png", SIZE),
        ("two", "two.png", SIZE),
    }


def test_a_picture_says_what_made_it_whatever_its_names_are() -> None:
    picture = images.Picture(pixels=picture_tensor(8, 8).numpy(), alpha=None)
    said = {"content": "a{b}.png", "id": "{x", "size": 8, "software": "nst 1"}
    for kind in ("png", "jpeg", "webp"):
        assert told_by(images.encode(picture, kind, said)) == said


def test_a_file_that_says_nothing_of_itself_tells_nothing() -> None:
    for data in (b"", b"PNG", b'{"software": "nst 1', b'"software": "nst 1"}', b"{" * 100):
        assert told_by(data) == {}


def test_records_stay_as_they_are_told(project: Project) -> None:
    grower = project.grower()
    failed = Outcome(id="one", status="failed", reason="not_an_image", error="no", key="k")
    group: Group = project.plan.groups[0]
    for each in (project.standings, grower):
        each.recorded(group, replace(failed, finished_at=datetime.now(UTC)))
    grower._build("running")
    assert project.statuses()["one"] == "failed"
    assert project.told()["num_failed"] == 2

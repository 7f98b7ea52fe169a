import json
from typing import Any

from nst.audit import Audit, Finding
from nst.documents import (
    SCHEMA_VERSION,
    Document,
    ErrorDocument,
    WeightsDocument,
    backbone_weights,
    plan_document,
    run_document,
    to_json,
    verify_document,
)
from nst.errors import NotFoundError, WeightsError
from nst.output.metadata import failure, record_of
from nst.painting.weights import WeightsFile
from nst.planning.estimates import estimate
from nst.planning.plan import Plan
from nst.running.reports import RunReport
from tests.helpers import job
from tests.test_estimates import CPU, groups
from tests.test_plan import WEIGHTS


def read(document: Document) -> dict[str, Any]:
    """A document as a program that asked for it has it."""
    found: dict[str, Any] = json.loads(to_json(document))
    assert found.pop("schema_version") == SCHEMA_VERSION
    return found


def test_a_run_is_told_with_every_failed_row_and_its_speed() -> None:
    outcome = failure("two", NotFoundError("there is no é.png"))
    report = RunReport(
        num_rows=3,
        num_ok=2,
        num_done_before=1,
        failed_by_reason={"input_not_found": 1},
        failed=(record_of(job(row=2, id="two"), outcome),),
        gallery_url="file:///out/index.html",
        metadata_url="/out/metadata.parquet",
    )
    document = run_document(report, num_made=1, wall_s=4.0)
    assert to_json(document).isascii()
    assert read(document) == {
        "command": "run",
        "num_rows": 3,
        "num_ok": 2,
        "num_failed": 1,
        "num_done_before": 1,
        "num_made": 1,
        "num_encoded": 0,
        "failed_by_reason": {"input_not_found": 1},
        "failed": [{"row": 2, "id": "two", "reason": outcome.reason, "error": "there is no é.png"}],
        "wall_s": 4.0,
        "images_per_s": 0.25,
        "metadata": "/out/metadata.parquet",
        "gallery": "file:///out/index.html",
        "picture": None,
        "stopped_by": None,
    }


def test_a_run_counts_failed_rows_that_it_does_not_list() -> None:
    kept = record_of(job(row=2, id="two"), failure("two", NotFoundError("gone")))
    report = RunReport(
        num_rows=3000,
        num_ok=1,
        num_done_before=1,
        failed_by_reason={"input_not_found": 2999},
        failed=(kept,),
        gallery_url="g",
        metadata_url="m",
    )
    found = read(run_document(report, num_made=0, wall_s=1.0))
    assert (found["num_failed"], [each["row"] for each in found["failed"]]) == (2999, [2])


def test_a_plan_is_told_with_and_without_an_estimate() -> None:
    made = groups((100, 200), (100, 200), steps=7)
    plan = Plan(
        jobs=(job(id="j0"), job(id="j1", row=2), job(id="x", row=3), job(id="old", row=4)),
        groups=made,
        done=("old",),
        failed=(failure("x", NotFoundError("there is no x.png")),),
    )
    found = read(plan_document(plan, None))
    assert found["estimate"] is None
    (group,) = found["groups"]
    assert group == {
        "name": "1 of 1",
        "backbone": "vgg16",
        "height": 100,
        "width": 200,
        "steps": 7,
        "ids": ["j0", "j1"],
        "seconds": None,
        "memory_bytes": None,
        "pictures_at_once": None,
        "fits": None,
    }
    assert [found[k] for k in ("num_rows", "num_to_make", "num_done", "done")] == [4, 2, 1, ["old"]]
    assert [(each["row"], each["id"]) for each in found["failed"]] == [(3, "x")]
    measured = estimate(made, CPU)
    found = read(plan_document(plan, measured))
    assert found["estimate"]["seconds"] == measured.seconds
    assert found["estimate"]["device"] == "cpu"
    (group,) = found["groups"]
    assert group["seconds"] == measured.groups[0].seconds
    assert (group["pictures_at_once"], group["fits"]) == (1, True)


def test_an_audit_is_told() -> None:
    audit = Audit(num_good=4, findings=(Finding(path="images/a.png", said="gone"),), redone=("a",))
    assert read(verify_document(audit)) == {
        "command": "verify",
        "num_good": 4,
        "findings": [{"path": "images/a.png", "said": "gone"}],
        "redone": ["a"],
    }


def test_weights_are_told_with_how_to_get_the_missing_ones() -> None:
    caffe = WeightsFile(backbone="resnet50", origin="file", uri="/r", digest="d", topology="caffe")
    found = [
        backbone_weights("vgg16", WEIGHTS["vgg16"]),
        backbone_weights("resnet50", caffe),
        backbone_weights("vgg19", WeightsError("put it there")),
    ]
    assert read(WeightsDocument(backbones=found))["backbones"] == [
        {"backbone": "vgg16", "origin": "file", "uri": "/vgg16", "sha256": "w"}
        | {"topology": None, "error": None},
        {"backbone": "resnet50", "origin": "file", "uri": "/r", "sha256": "d"}
        | {"topology": "caffe", "error": None},
        {"backbone": "vgg19", "origin": None, "uri": None, "sha256": None}
        | {"topology": None, "error": "put it there"},
    ]


def test_an_error_is_told_with_its_exit_status() -> None:
    document = ErrorDocument(command="run", error="expected a manifest", exit_status=2)
    assert read(document) == {"command": "run", "error": "expected a manifest", "exit_status": 2}

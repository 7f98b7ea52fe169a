from pathlib import Path

from nst.output.reading import read_metadata
from tests.browser import samples


def test_the_usual_gallery_has_all_that_can_be_in_one(usual: Path) -> None:
    records = read_metadata(str(usual))
    made = [record for record in records if record.outcome.status == "ok"]
    gone = [r for r in made if not (usual / str(r.outcome.picture)).exists()]
    assert (len(records), len(made), len(gone)) == (108, 106, len(samples.GONE))
    assert {record.backbone for record in records} == set(samples.BACKBONES)
    assert {record.params.style_weight for record in records} == set(samples.STYLE_WEIGHTS)
    assert (usual / "index.html").exists()

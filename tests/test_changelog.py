import re
import tomllib

from packaging.version import Version

from tests.helpers import ROOT


def test_the_project_has_the_version_of_the_changelog_or_is_on_its_way_to_the_next() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    version = Version(project["version"])
    if "## [Unreleased]" in text:
        # What is written by it is not to be taken for what the release has written.
        assert version.is_devrelease
        assert version > Version(versions[0])
    else:
        assert str(version) == versions[0]
    assert versions == sorted(versions, reverse=True)

"""The gallery opens wherever it lies: from a file, from a plain server, below a path, moved."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import axe
from tests.browser.pages import Pages, opens, wait_ready
from tests.browser.serve import serving


@pytest.fixture(params=["file", "http", "below a path", "moved"])
def url(request: pytest.FixtureRequest, usual: Path, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "file":
            yield (usual / "index.html").as_uri()
        case "http":
            with serving(usual) as served:
                yield f"{served}/index.html"
        case "below a path":
            (tmp_path / "a b").mkdir()
            (tmp_path / "a b/100%#1").symlink_to(usual)
            with serving(tmp_path) as served:
                yield f"{served}/a%20b/100%25%231/"
        case _:
            shutil.copytree(usual, tmp_path / "moved #1 50% ü")
            yield (tmp_path / "moved #1 50% ü/index.html").as_uri()


def test_it_opens(page: Page, watched: Pages, url: str) -> None:
    watched.expect("Failed to load resource")
    opens(page, url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(watched: Pages, usual: Path, scheme: str) -> None:
    watched.expect("Failed to load resource")
    page = watched.open(color_scheme=scheme)
    page.goto((usual / "index.html").as_uri())
    wait_ready(page)
    assert axe.violations(page) == []

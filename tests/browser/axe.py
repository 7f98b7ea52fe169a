"""What axe-core has against a page as it is at the moment."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import must_run
from tests.helpers import ROOT

_SCRIPT = ROOT / "tests/gallery/node_modules/axe-core/axe.min.js"
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def violations(page: Page, *, within: str | None = None) -> list[str]:
    """One line for each element that breaks a rule of WCAG 2.2 AA or of good practice."""
    if not _SCRIPT.exists():
        why = "found no axe-core: run `make check-gallery`, for which Node is needed"
        if must_run():
            pytest.fail(why)
        pytest.skip(why)
    # Evaluated, not added as a <script>, which the page's policy forbids.
    page.evaluate(_SCRIPT.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        """([within, rules]) => axe.run(within ?? document, {
            runOnly: { type: "tag", values: rules }, resultTypes: ["violations"],
            // Else it asks for the style sheets, which the page's policy forbids.
            preload: false,
        })""",
        [within, list(_RULES)],
    )
    return [
        f"{rule['id']}: {node['target'][-1]}: {' '.join(node['failureSummary'].split())}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]

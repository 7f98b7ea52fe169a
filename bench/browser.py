"""What a gallery asks of a browser: `python -m bench.browser FOLDER` prints the numbers as JSON.

In Chromium, from a file and over a network as slow as a phone's; every number that has a target in
the project is printed beside it. `--screenshots docs` takes the pictures of the README instead:
`gallery.jpg`, its table in the light, and `compare.jpg`, its second row large in the dark.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, CDPSession, Page, ViewportSize, sync_playwright

from tests.browser import chromium
from tests.browser.pages import VIEWPORT, launch, wait_ready
from tests.browser.serve import serving

Numbers = dict[str, Any]

_PROBES = Path(__file__).with_name("probes.js")
_PICTURES = (".webp", ".png", ".jpg", ".jpeg", ".avif")
_QUIET_S = 0.5
_TIMEOUT_S = 60
_LOADS = 3
_SLOW_CPU = 4
_NETWORK = {
    "offline": False,
    "latency": 40,
    "downloadThroughput": 10e6 / 8,
    "uploadThroughput": 10e6 / 8,
}
_PLACES = 100
_JUMPS = 12
_CYCLES = 200
_WARM_CYCLES = 20
_SETTLED_MS = 600
_COUNTED = ("Nodes", "live", "JSEventListeners", "JSHeapUsedSize")
_TEXTS = ("wave", "night", "hall", "portrait")
_LIGHTHOUSE = "lighthouse@12.8.2"
_SCREENSHOT: ViewportSize = {"width": 1280, "height": 860}

# The most that each may be: the project's targets.
TARGETS: Mapping[str, float] = {
    "first_view.bytes_without_pictures": 60_000,
    "first_view.requests_without_pictures": 8,
    "first_view.bytes": 350_000,
    "first_view.requests": 30,
    "sizes.index.raw": 10_000,
    "sizes.js.raw": 45_000,
    "sizes.js.gzip": 15_000,
    "sizes.css.raw": 15_000,
    "load.file.lcp_ms": 500,
    "load.slow.lcp_ms": 1000,
    "load.slow.answer_ms": 1500,
    "load.file.cls": 0.01,
    "load.slow.cls": 0.01,
    "session.longest_ms": 50,
    "session_slow_cpu.longest_ms": 200,
    "session.most_elements": 1500,
    "tour.heap_mb": 25,
    "cycles.detached_growth": 0.05,
    "scroll.p95_ms": 33,
    "jump.rows_ms": 250,
    "operations.filter_ms": 30,
    "operations.sort_ms": 300,
    "operations.pivot_ms": 300,
}


@dataclass(slots=True)
class _Tab:
    """A page of a profile of its own, with the benchmark's probes in it."""

    page: Page
    devtools: CDPSession
    requests: list[str] = field(default_factory=list)

    def open(self, url: str) -> None:
        self.page.goto(url)
        # What a reader's first sign loads is no part of the first view.
        wait_ready(self.page, timeout_s=_TIMEOUT_S, controls=False)

    def probe(self, call: str) -> Any:
        return self.page.evaluate(f"nstProbe.{call}")

    def rest(self) -> None:
        """Until nothing has been asked for in a while, and all pictures on screen are there."""
        end = monotonic() + _TIMEOUT_S
        asked, since = len(self.requests), monotonic()
        while monotonic() < end:
            self.page.wait_for_timeout(50)
            if len(self.requests) != asked:
                asked, since = len(self.requests), monotonic()
            elif monotonic() - since > _QUIET_S and self.probe("isPainted()"):
                return

    def counters(self) -> Mapping[str, float]:
        """Chromium's own, and `live` nodes in the page, once what is unused has been collected."""
        for _ in range(3):
            self.devtools.send("HeapProfiler.collectGarbage")
            sleep(0.1)
        metrics = self.devtools.send("Performance.getMetrics")["metrics"]
        found = {metric["name"]: metric["value"] for metric in metrics}
        return found | {"live": self.probe("nodes()")}


@dataclass(frozen=True, slots=True)
class Bench:
    """A gallery in a folder, and the browser that looks at it."""

    browser: Browser
    folder: Path

    @property
    def file_url(self) -> str:
        return (self.folder / "index.html").as_uri()

    def report(self, only: Sequence[str] = ()) -> Numbers:
        """All parts, or those of these names."""
        parts: Mapping[str, Callable[[], Numbers]] = {
            "gallery": self.gallery,
            "sizes": self.sizes,
            "first_view": self.first_view,
            "load": self.loads,
            "session": lambda: self.session(cpu=1),
            "session_slow_cpu": lambda: self.session(cpu=_SLOW_CPU),
            "scroll": self.scroll,
            "jump": self.jumps,
            "operations": self.operations,
            "tour": self.tour,
            "cycles": lambda: self.cycles(hasty=False),
            "hasty_cycles": lambda: self.cycles(hasty=True),
        }
        found: Numbers = {"browser": self.browser.version}
        for name, measure in parts.items():
            if not only or name in only:
                sys.stderr.write(f"{name}\n")
                found[name] = measure()
        return found

    @contextmanager
    def tab(self, *, cpu: int = 1, slow_network: bool = False) -> Iterator[_Tab]:
        context = self.browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
        context.add_init_script(path=_PROBES)
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        devtools.send("Performance.enable")
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": cpu})
        if slow_network:
            devtools.send("Network.enable")
            devtools.send("Network.emulateNetworkConditions", _NETWORK)
        tab = _Tab(page, devtools)
        page.on("request", lambda request: tab.requests.append(request.url))
        yield tab
        context.close()

    @contextmanager
    def opened(self, *, cpu: int = 1) -> Iterator[_Tab]:
        """A tab in which the gallery has been opened from its file, and rests."""
        with self.tab(cpu=cpu) as tab:
            tab.open(self.file_url)
            tab.rest()
            yield tab

    def gallery(self) -> Numbers:
        with self.opened() as tab:
            found: Numbers = tab.page.evaluate(
                "(({num_items, num_lines}) => ({num_items, num_lines}))(NST.app.store.spine)"
            )
            return found

    def sizes(self) -> Numbers:
        """Bytes of the page and of what it is made of; `js` is what the first view loads."""
        assets = self.folder / "assets"
        files = {
            "index": [self.folder / "index.html"],
            "js": sorted(assets.glob("gallery.*.js")),
            "js_controls": sorted(assets.glob("controls.*.js")),
            "js_large": sorted(assets.glob("large.*.js")),
            "js_tools": sorted(assets.glob("tools.*.js")),
            "css": sorted(assets.glob("gallery.*.css")),
            "css_controls": sorted(assets.glob("controls.*.css")),
            "css_large": sorted(assets.glob("large.*.css")),
            "css_tools": sorted(assets.glob("tools.*.css")),
            "spine": sorted((self.folder / "data").glob("spine.*.js")),
        }
        read = {name: [path.read_bytes() for path in paths] for name, paths in files.items()}
        return {
            name: {
                "raw": sum(len(data) for data in contents),
                "gzip": sum(len(gzip.compress(data, 9)) for data in contents),
            }
            for name, contents in read.items()
        }

    def first_view(self) -> Numbers:
        """What is asked for until the page rests: files as they lie on the disk."""
        with self.opened() as tab:
            urls = [url for url in dict.fromkeys(tab.requests) if url.startswith("file:")]
        paths = [Path(unquote(urlsplit(url).path)) for url in urls]
        sizes = {path: path.stat().st_size if path.exists() else 0 for path in paths}
        others = {path: size for path, size in sizes.items() if path.suffix not in _PICTURES}
        return {
            "requests": len(sizes),
            "bytes": sum(sizes.values()),
            "requests_without_pictures": len(others),
            "bytes_without_pictures": sum(others.values()),
            "files": {path.relative_to(self.folder).as_posix(): n for path, n in others.items()},
        }

    def loads(self) -> Numbers:
        """Medians of some loads: from a file, and over HTTP with a slow network and processor."""
        with serving(self.folder) as served:
            return {
                "file": self._loads(self.file_url),
                "slow": self._loads(f"{served}/index.html", cpu=_SLOW_CPU, slow_network=True),
            }

    def _loads(self, url: str, *, cpu: int = 1, slow_network: bool = False) -> Numbers:
        found = []
        for _ in range(_LOADS):
            with self.tab(cpu=cpu, slow_network=slow_network) as tab:
                tab.open(url)
                tab.rest()
                seen = tab.probe("seen")
            # Another, since what it shows then is not the first view.
            with self.tab(cpu=cpu, slow_network=slow_network) as tab:
                tab.page.add_init_script("nstProbe.seen.answerOnReady = true")
                tab.open(url)
                wait_ready(tab.page, after=1, timeout_s=_TIMEOUT_S, controls=False)
                found.append(seen | {"answer_ms": tab.probe("seen.answer_ms")})
        return {
            name: statistics.median(one[name] for one in found)
            for name in ("lcp_ms", "cls", "ready_ms", "answer_ms")
        }

    def session(self, *, cpu: int) -> Numbers:
        """A visit with mouse and keys: the longest that an input waited for its frame."""
        elements, longest = {}, {}
        with self.opened(cpu=cpu) as tab:
            for name, act in _visit(tab.page):
                act()
                # What an input took is told once its frame has been shown.
                tab.page.wait_for_timeout(_SETTLED_MS)
                elements[name] = tab.probe("elements()")
                longest[name] = max(tab.probe("takeInteractions()").values(), default=None)
        # Nothing is told of what took less than 16 ms.
        return {
            "longest_ms": max((ms for ms in longest.values() if ms is not None), default=16),
            "longest_of_each_ms": longest,
            "most_elements": max(elements.values()),
            "elements": elements,
        }

    def scroll(self) -> Numbers:
        with self.opened() as tab:
            return _quantiles(tab.probe("scrolling(4000, 40)"))

    def jumps(self) -> Numbers:
        """The worst and the median of jumps to where nothing has been loaded yet."""
        with self.opened() as tab:
            # In an order in which no place is beside the one before it.
            shares = [(place * 5 % _JUMPS + 0.5) / _JUMPS for place in range(_JUMPS)]
            found = [tab.probe(f"jump({share})") for share in shares]
        return {name: max(one[name] for one in found) for name in ("rows_ms", "pictures_ms")} | {
            f"median_{name}": statistics.median(one[name] for one in found)
            for name in ("rows_ms", "pictures_ms")
        }

    def operations(self) -> Numbers:
        """ms of filter, sort and pivot, the data that each needs loaded with it the first time."""
        with self.opened() as tab:
            first, *later = [tab.probe(f"going({{ q: {json.dumps(text)} }})") for text in _TEXTS]
            tab.probe("going({ q: '' })")
            metric = json.dumps(tab.probe("field(['metric'], Infinity)"))
            axis = json.dumps(tab.probe("field(['backbone', 'setting', 'label', 'input'], 40)"))
            return {
                "first_filter_ms": first,
                "filter_ms": statistics.median(later),
                "sort_ms": tab.probe(f"going({{ sort: {metric} }})"),
                "unsort_ms": tab.probe("going({ sort: '' })"),
                "pivot_ms": tab.probe(f"going({{ x: {axis} }})") if axis != "null" else None,
            }

    def tour(self) -> Numbers:
        """The heap after a look at places all over the gallery."""
        with self.opened() as tab:
            for place in range(_PLACES):
                tab.probe(f"jump({place / (_PLACES - 1)})")
            counters = tab.counters()
            return {
                "heap_mb": counters["JSHeapUsedSize"] / 1e6,
                "elements": tab.probe("elements()"),
            }

    def cycles(self, *, hasty: bool) -> Numbers:
        """What many openings of the large view leave behind, seen or closed before they could be."""
        call = f"cycles({{}}, {json.dumps(hasty)})"
        with self.opened() as tab:
            tab.probe(call.format(_WARM_CYCLES))
            before = tab.counters()
            tab.probe(call.format(_CYCLES))
            after = tab.counters()
        detached = [each["Nodes"] - each["live"] for each in (before, after)]
        return {
            "detached_growth": (detached[1] - detached[0]) / before["Nodes"],
            "before": {name: before[name] for name in _COUNTED},
            "after": {name: after[name] for name in _COUNTED},
        }


def _visit(page: Page) -> Iterator[tuple[str, Any]]:
    keyboard = page.keyboard
    yield "start", lambda: None
    yield "scroll", lambda: page.mouse.wheel(0, 3000)
    yield "filter", lambda: page.locator("#search").press_sequentially("wave", delay=30)
    yield "sort", lambda: page.locator("#sort").select_option(index=2)
    yield "clear", lambda: page.locator("#search").fill("")
    yield "open", lambda: page.locator('tr[data-line] [role="gridcell"] a').first.click()
    yield "flip", lambda: keyboard.press("f")
    yield "next row", lambda: keyboard.press("]")
    yield "close", lambda: keyboard.press("Escape")
    yield "columns", lambda: page.locator("#x").select_option(index=1)
    yield "move", lambda: keyboard.press("ArrowDown")


def _quantiles(times_ms: Sequence[float]) -> Numbers:
    ordered = sorted(times_ms)
    return {
        "frames": len(ordered),
        "p50_ms": ordered[len(ordered) // 2],
        "p95_ms": ordered[int(len(ordered) * 0.95)],
        "max_ms": ordered[-1],
    }


def lighthouse(folder: Path) -> Numbers:
    """Scores of 100 and the audits that are not passed, on a desktop and on a phone; needs npx."""
    flags = "--headless=new --no-sandbox --disable-background-networking"
    categories = ("performance", "accessibility", "best-practices")
    found = {}
    with serving(folder) as url:
        for form, preset in {"desktop": ["--preset=desktop"], "mobile": []}.items():
            told = subprocess.run(
                [
                    *("npx", "--yes", _LIGHTHOUSE, f"{url}/index.html", *preset, "--quiet"),
                    *(f"--chrome-flags={flags}", "--output=json"),
                    f"--only-categories={','.join(categories)}",
                ],
                env=os.environ | {"CHROME_PATH": chromium.find() or ""},
                stdout=subprocess.PIPE,
                check=True,
            )
            report = json.loads(told.stdout)
            audits = report["audits"].items()
            found[form] = {
                **{name: round(100 * report["categories"][name]["score"]) for name in categories},
                "not_passed": sorted(
                    name
                    for name, audit in audits
                    if (audit["score"] or 0) < 1 and audit["score"] is not None
                ),
            }
    return found


def take_screenshots(browser: Browser, url: str, folder: Path) -> None:
    """What the README shows of a gallery."""
    for name, scheme in (("gallery.jpg", "light"), ("compare.jpg", "dark")):
        context = browser.new_context(
            viewport=_SCREENSHOT,
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(url)
        wait_ready(page)
        if scheme == "dark":
            page.locator("#grid tr[data-line='1'] td[data-item]").first.click()
            page.locator("dialog .legend").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / name, quality=82, type="jpeg")
        context.close()


def compared(report: Numbers) -> Numbers:
    """Each number that has a target beside it."""
    found = {}
    for name, target in TARGETS.items():
        value: Any = report
        for part in name.split("."):
            value = value.get(part) if value is not None else None
        if value is not None:
            found[name] = {"value": value, "target": target, "met": value <= target}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.browser", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a gallery: where its index.html is")
    parser.add_argument("--lighthouse", action="store_true", help="with its scores; needs npx")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="such as load; repeatable"
    )
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="measure nothing")
    options = parser.parse_args(arguments)
    if chromium.find() is None:
        parser.error(chromium.MISSING)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        bench = Bench(browser, options.folder.resolve())
        if options.screenshots:
            take_screenshots(browser, bench.file_url, options.screenshots)
            return
        report = bench.report(options.only)
        browser.close()
    report["targets"] = compared(report)
    if options.lighthouse:
        report["lighthouse"] = lighthouse(options.folder)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

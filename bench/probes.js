// What the browser benchmark measures within a page; evaluated before the page's own scripts.
globalThis.nstProbe = (function () {
  const seen = { lcp_ms: 0, cls: 0, ready_ms: 0, answer_ms: 0, answerOnReady: false };
  /** Longest duration of each kind of interaction since they were taken, in ms. */
  let interactions = {};

  function watch(type, options, heard) {
    new PerformanceObserver((list) => list.getEntries().forEach(heard)).observe({
      type,
      buffered: true,
      ...options,
    });
  }
  watch("largest-contentful-paint", {}, (entry) => (seen.lcp_ms = entry.startTime));
  watch("layout-shift", {}, (entry) => {
    if (!entry.hadRecentInput) seen.cls += entry.value;
  });
  watch("event", { durationThreshold: 16 }, (entry) => {
    if (entry.interactionId) {
      interactions[entry.name] = Math.max(interactions[entry.name] ?? 0, entry.duration);
    }
  });

  const updates = () => Number(document.documentElement?.dataset.ready ?? 0);
  new MutationObserver(() => {
    if (updates() > 0 && !seen.ready_ms) {
      seen.ready_ms = performance.now();
      if (seen.answerOnReady) {
        seen.answerOnReady = false;
        NST.app.go({ q: "wave" }).then(() => (seen.answer_ms = performance.now()));
      }
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-ready"] });

  const frame = () => new Promise(requestAnimationFrame);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const elements = () => document.getElementsByTagName("*").length;

  function takeInteractions() {
    const taken = interactions;
    interactions = {};
    return taken;
  }

  function nodes() {
    const walker = document.createTreeWalker(document);
    let count = 1;
    while (walker.nextNode()) count++;
    return count;
  }

  /** Rows, or parts of them, that are on screen. */
  function onScreen(selector) {
    return Array.from(document.querySelectorAll(selector)).filter((element) => {
      const box = element.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight && box.height > 0;
    });
  }

  /** Whether the whole screen, under the head, is rows that say something. */
  function isFilled() {
    const rows = onScreen("tr[data-line]");
    if (!rows.length || rows.some((row) => row.dataset.pending)) return false;
    const bottom = Math.max(...rows.map((row) => row.getBoundingClientRect().bottom));
    const grid = document.getElementById("grid").parentElement.getBoundingClientRect();
    return bottom >= Math.min(innerHeight, grid.bottom) - 1;
  }
  const isPainted = () =>
    isFilled() && onScreen("tr[data-line] img").every((image) => image.complete);

  /** Go to a share of all lines; ms until rows are there, and until their pictures are. */
  async function jump(share) {
    const { grid } = NST.app;
    const start = performance.now();
    const place = Math.min(share, 1 - 1e-9) * grid.pages();
    const page = Math.floor(place) + 1;
    if (page !== grid.page()) await NST.app.go({ page });
    scrollTo(0, (place - page + 1) * (document.documentElement.scrollHeight - innerHeight));
    // Frames, so that what was scrolled to has been drawn when it is looked at.
    await frame();
    while (!isFilled() && performance.now() < start + 5000) await frame();
    const rows_ms = performance.now() - start;
    while (!isPainted() && performance.now() < start + 5000) await frame();
    return { rows_ms, pictures_ms: performance.now() - start };
  }

  /** Times between the frames of `ms` of scrolling at so many pixels a frame. */
  async function scrolling(ms, pixels) {
    const times = [];
    const start = await frame();
    let last = start;
    while (last < start + ms) {
      scrollBy(0, pixels);
      const now = await frame();
      times.push(now - last);
      last = now;
    }
    return times;
  }

  /** ms that the page takes to make itself show another state, its rows included. */
  async function going(patch) {
    const start = performance.now();
    await NST.app.go(patch);
    document.body.getBoundingClientRect();
    return performance.now() - start;
  }

  /** A field that has a file, a role of these, and at least two values, at most so many. */
  function field(roles, most) {
    const { fields } = NST.app.store.spine;
    const { x } = NST.app.state;
    const found = fields.find(
      (each) =>
        each.hash && roles.includes(each.role) && each.size > 1 && each.size <= most && each.name !== x,
    );
    return found ? found.name : null;
  }

  /** Open and close the large view so many times, once its pictures are there or, in haste, before. */
  async function cycles(count, isHasty) {
    const images = () => Array.from(document.querySelectorAll("dialog.large[open] img"));
    for (let i = 0; i < count; i++) {
      const cells = document.querySelectorAll('[role="gridcell"] a');
      cells[i % cells.length].click();
      while (!document.querySelector("dialog.large[open]")) await pause(5);
      const end = performance.now() + 2000;
      while (!isHasty && performance.now() < end) {
        await frame();
        if (images().length && images().every((image) => image.complete)) break;
      }
      await frame();
      await NST.app.go({ id: "" });
      while (document.querySelector("dialog.large[open]")) await pause(5);
      await frame();
    }
  }

  return {
    seen,
    takeInteractions,
    nodes,
    elements,
    jump,
    scrolling,
    going,
    field,
    cycles,
    isPainted,
  };
})();

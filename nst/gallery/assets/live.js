// @ts-check
// The page of a run that goes on: says how far it is, and that there is more to show.
(function () {
  "use strict";

  const EVERY_MS = 5000;
  const OLD_MS = 15 * 60 * 1000;
  const PLACE = "nst-place";

  const root = document.documentElement;
  const state = /** @type {HTMLElement} */ (document.getElementById("run-state"));
  const news = /** @type {HTMLButtonElement} */ (document.getElementById("news"));
  const shown = { ok: Number(root.dataset.ok), failed: Number(root.dataset.failed) };
  let touched = false;
  let asked = 0;

  globalThis.nstLive = (told) => {
    const isOver = told.state !== "running";
    const isOld = !isOver && Date.now() - Date.parse(told.at) > OLD_MS;
    state.textContent = words(told) + (isOld ? " Nothing was heard of the run since; nst status says whether it goes on." : "");
    // The page may be newer than what is told of it, for a moment or after a kill.
    const isNews = told.state === "ended" || told.num_ok + told.num_failed > shown.ok + shown.failed;
    if (told.spine === root.dataset.spine || !isNews) return;
    const count = told.num_ok - shown.ok;
    news.textContent = count > 0 ? count + (count === 1 ? " new picture" : " new pictures") + ", show" : "Show the latest";
    news.hidden = false;
    // Who only watches need not press anything.
    if (!touched && !location.hash && asked > 1) show();
  };

  /** @param {LiveRun} told */
  function words(told) {
    if (told.state === "ended") return "The run has ended.";
    const parts = [told.num_ok.toLocaleString("en") + " of " + told.num_rows.toLocaleString("en") + (told.num_rows === 1 ? " row" : " rows") + " done"];
    if (told.num_failed) parts.push(told.num_failed.toLocaleString("en") + " failed");
    if (told.seconds_left && told.state === "running") parts.push("about " + duration(told.seconds_left) + " left");
    return (told.state === "running" ? "Under way: " : "Stopped: ") + parts.join(", ") + " as of " + new Date(told.at).toLocaleTimeString() + ".";
  }

  /** @param {number} seconds */
  function duration(seconds) {
    if (seconds < 90) return Math.max(1, Math.round(seconds)) + " s";
    return seconds < 5400 ? Math.round(seconds / 60) + " min" : (seconds / 3600).toPrecision(3) + " h";
  }

  /** The page anew, at the same place: what is looked at is in its link, and how far down is kept. */
  function show() {
    try {
      sessionStorage.setItem(PLACE, JSON.stringify([scrollX, scrollY, touched]));
    } catch {
      // Where nothing may be kept, the page begins at its top.
    }
    location.reload();
  }

  function comeBack() {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(PLACE) || "null");
      sessionStorage.removeItem(PLACE);
    } catch {
      return;
    }
    if (!Array.isArray(kept)) return;
    touched = Boolean(kept[2]);
    const [x, y] = [Number(kept[0]), Number(kept[1])];
    const wait = () => (root.dataset.ready ? scrollTo(x, y) : setTimeout(wait, 30));
    wait();
  }

  /** Only a script can be read from a disk as well as from a server. */
  function ask() {
    if (document.hidden) return;
    asked++;
    const script = document.createElement("script");
    script.onload = script.onerror = () => script.remove();
    script.src = root.dataset.live + "?" + Date.now();
    document.head.append(script);
  }

  comeBack();
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, () => (touched = true), { passive: true, capture: true });
  }
  news.addEventListener("click", show);
  document.addEventListener("visibilitychange", ask);
  ask();
  setInterval(ask, EVERY_MS);
})();

// @ts-check
// What is looked at <-> the part of the page's URL behind the #.
(function () {
  "use strict";

  // Longer ones are none of ours.
  const MAX_LENGTH = 65536;
  const MODES = ["side", "slider", "flip", "onion", "difference"];
  const SIZES = ["s", "m", "l"];
  const LAYOUTS = ["table", "wall"];
  const DIGITS = 4;
  // Of a small picture at its own size.
  const LEAST_ZOOM = 1 / 16;

  const { defaults } = NST.link;

  /**
   * The state that a link tells; what it tells wrong, or of what is not there, is left as it is
   * without a link.
   * @param {string} hash
   * @param {Spine} spine
   */
  function parse(hash, spine) {
    const state = defaults(spine);
    const text = hash.replace(/^#/, "");
    if (!text || text.length > MAX_LENGTH) return state;
    const given = new URLSearchParams(text);
    const known = new Set(spine.fields.map((field) => field.name));
    const get = (/** @type {string} */ name) => given.get(name) ?? "";

    if (known.has(get("x"))) state.x = get("x");
    const rows = unlisted(get("y")).filter((name) => known.has(name));
    if (rows.length) state.y = [...new Set(rows)];
    state.q = get("q");
    if (known.has(get("sort").replace(/^-/, ""))) state.sort = get("sort");
    state.page = whole(get("p"), 1);
    state.left = whole(get("left"), 0);
    if (SIZES.includes(get("size"))) state.size = /** @type {State["size"]} */ (get("size"));
    if (LAYOUTS.includes(get("layout"))) state.layout = /** @type {State["layout"]} */ (get("layout"));
    state.plot = get("plot") === "1";
    if (known.has(get("px"))) state.px = get("px");
    if (known.has(get("py"))) state.py = get("py");
    state.id = get("id");
    if (MODES.includes(get("m"))) state.mode = /** @type {State["mode"]} */ (get("m"));
    state.a = get("a");
    state.b = get("b");
    state.show = unlisted(get("show")).slice(0, 6);
    const [zoom, cx, cy] = get("z").split(",").map(Number);
    if ([zoom, cx, cy].every(Number.isFinite)) {
      state.zoom = within(zoom, LEAST_ZOOM, 16);
      state.cx = within(cx, 0, 1);
      state.cy = within(cy, 0, 1);
    }
    state.at = share(get("at"), state.at, 0, 100);
    state.opacity = share(get("over"), state.opacity, 0, 100);
    state.brightness = share(get("bright"), state.brightness, 1, 10);
    state.flipped = get("flip") === "1";
    state.all = get("all") === "1";
    return state;
  }

  /**
   * The link that tells a state, with nothing that goes without saying.
   * @param {State} state
   * @param {Spine} spine
   */
  function write(state, spine) {
    const usual = defaults(spine);
    const said = new URLSearchParams();
    const say = (/** @type {string} */ name, /** @type {unknown} */ value, /** @type {unknown} */ other) => {
      if (String(value) !== String(other)) said.set(name, String(value));
    };
    say("x", state.x, usual.x);
    say("y", listed(state.y), listed(usual.y));
    say("q", state.q, "");
    say("sort", state.sort, "");
    say("p", state.page, 1);
    say("left", state.left, 0);
    say("size", state.size, usual.size);
    say("layout", state.layout, usual.layout);
    say("plot", state.plot ? 1 : 0, 0);
    say("px", state.px, "");
    say("py", state.py, "");
    say("id", state.id, "");
    say("m", state.mode, usual.mode);
    say("a", state.a, "");
    say("b", state.b, "");
    say("show", listed(state.show), "");
    const at = [state.zoom, state.cx, state.cy].map((value) => Number(value.toFixed(DIGITS)));
    say("z", at.join(","), "1,0.5,0.5");
    say("at", round(state.at), usual.at);
    say("over", round(state.opacity), usual.opacity);
    say("bright", round(state.brightness), usual.brightness);
    say("flip", state.flipped ? 1 : 0, 0);
    say("all", state.all ? 1 : 0, 0);
    const text = said.toString();
    return text ? "#v=1&" + text : "";
  }

  /** Names with commas between them, and those that have one escaped. @param {string[]} names */
  const listed = (names) => names.map((name) => name.replace(/[\\,]/g, "\\$&")).join(",");

  /** @param {string} text */
  const unlisted = (text) =>
    (text.match(/(?:\\.|[^,\\])+/gs) || []).map((name) => name.replace(/\\(.)/gs, "$1"));

  /** @param {string} text @param {number} least */
  const whole = (text, least) => (/^\d{1,9}$/.test(text) ? Math.max(least, Number(text)) : least);

  /** @param {number} value */
  const round = (value) => Number(value.toFixed(1));

  /** @param {string} text @param {number} usual @param {number} low @param {number} high */
  const share = (text, usual, low, high) => (/^\d{1,3}(\.\d+)?$/.test(text) ? round(within(Number(text), low, high)) : usual);

  /** @param {number} value @param {number} low @param {number} high */
  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  Object.assign(NST.link, { parse, write });
})();

// @ts-check
// Loss curves: one line a result, told apart by colour, dashes and marks.
(function () {
  "use strict";

  const { make } = NST.dom;

  const SVG = "http://www.w3.org/2000/svg";
  const KINDS = /** @type {const} */ (["total", "style", "content", "tv", "detail"]);
  const TITLES = { total: "Total loss", style: "Style loss", content: "Content loss", tv: "Total variation", detail: "Detail loss" };
  const MAX_TICKS = 5;
  // Lines of the style sheet that differ; a seventh looks like the first.
  const LOOKS = 6;
  const MARKS = 5;

  /** @param {number} value */
  const short = (value) => NST.format.short(value);

  /** The losses that any curve has. @param {Curve[]} curves */
  const kindsOf = (curves) => KINDS.filter((kind) => curves.some(({ points }) => points.some((point) => point[kind] > 0)));

  /**
   * At most some five round numbers from `low` to `high`.
   * @param {number} low @param {number} high
   */
  function ticks(low, high) {
    const span = high - low;
    if (!(span > 0)) return [low];
    const least = span / MAX_TICKS;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = ([1, 2, 5].find((each) => each * power >= least) || 10) * power;
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(6)));
  }

  /**
   * As `ticks`, for an axis of logarithms: 1, 2 and 5 of each power of ten, or fewer of them.
   * @param {number} low @param {number} high
   */
  function logTicks(low, high) {
    const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    for (const digits of [[1, 2, 5], [1, 3], [1]]) {
      const found = [];
      for (let power = from; power <= to; power++) {
        found.push(...digits.map((digit) => Number((digit + "e" + power))));
      }
      const seen = found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
      if (seen.length < 2) return ticks(low, high).filter((value) => value > 0);
      if (seen.length <= MAX_TICKS) return seen;
    }
    const every = Math.ceil((to - from) / MAX_TICKS);
    return Array.from({ length: MAX_TICKS + 1 }, (_, i) => 10 ** (from + i * every)).filter((value) => value >= low && value <= high);
  }

  /**
   * Curves as paths in a square of 100 by 100, y down, with the ticks of both axes. What is not
   * above 0 has no logarithm and is left open.
   * @param {Curve[]} curves
   * @param {Kind} kind
   * @returns {Plot}
   */
  function plot(curves, kind) {
    const all = curves.flatMap(({ points }) => points.filter((point) => point[kind] > 0));
    if (!all.length) return { lines: curves.map(() => ({ path: "", marks: "" })), x: [], y: [] };
    const losses = all.map((point) => point[kind]);
    const [low, high] = [Math.min(...losses) / 1.1, Math.max(...losses) * 1.1];
    const last = Math.max(...all.map((point) => point.evaluation));
    const first = Math.min(...all.map((point) => point.evaluation));
    const x = (/** @type {number} */ value) => round((100 * (value - first)) / (last - first || 1));
    const y = (/** @type {number} */ value) => round((100 * Math.log(high / value)) / Math.log(high / low));
    return {
      lines: curves.map(({ points }) => line(points.map((point) => [x(point.evaluation), point[kind] > 0 ? y(point[kind]) : NaN]))),
      x: ticks(first, last).map((value) => ({ at: x(value), text: value.toLocaleString("en") })),
      y: logTicks(low, high).map((value) => ({ at: y(value), text: short(value) })),
    };
  }

  /** @param {number} value */
  const round = (value) => Math.round(value * 100) / 100;

  /**
   * A path through the points and one of the marks on some of them; NaN is a gap.
   * @param {number[][]} points
   */
  function line(points) {
    let path = "";
    let open = false;
    const every = Math.max(1, Math.floor((points.length - 1) / MARKS));
    let marks = "";
    points.forEach(([x, y], i) => {
      if (Number.isNaN(y)) {
        open = false;
        return;
      }
      path += (open ? "L" : "M") + x + " " + y;
      open = true;
      // Of no length: the end caps of the stroke are all that is seen, as large in any plot.
      if (i % every === 0) marks += "M" + x + " " + y + "h0";
    });
    return { path, marks };
  }

  /**
   * What a line says, in words.
   * @param {Curve} curve
   * @param {Kind} kind
   */
  function words({ name, points }, kind) {
    const told = points.filter((point) => point[kind] > 0);
    if (!told.length) return name + ": no " + TITLES[kind].toLowerCase();
    const lowest = told.reduce((best, point) => (point[kind] < best[kind] ? point : best));
    const say = (/** @type {CurvePoint} */ point) => short(point[kind]) + " at evaluation " + point.evaluation;
    return name + ": first " + say(told[0]) + ", last " + say(told[told.length - 1]) + ", lowest " + say(lowest);
  }

  /** @param {Curve[]} curves */
  function figure(curves) {
    const kinds = kindsOf(curves);
    const select = make("select", {}, ...kinds.map((kind) => make("option", { value: kind }, TITLES[kind])));
    const body = make("div");
    const draw = () => body.replaceChildren(drawn(curves, /** @type {Kind} */ (select.value)), legend(curves, /** @type {Kind} */ (select.value)));
    select.addEventListener("change", draw);
    if (kinds.length) draw();
    else body.append(make("p", {}, "No loss curve."));
    return make("figure", { class: "curve" }, kinds.length > 0 && make("label", {}, make("span", { class: "hidden" }, "Curve of "), select), body);
  }

  /** @param {Curve[]} curves @param {Kind} kind */
  function drawn(curves, kind) {
    const { lines, x, y } = plot(curves, kind);
    const label = TITLES[kind] + " by evaluation. " + curves.map((curve) => words(curve, kind)).join(". ") + ".";
    const svg = shape("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": label });
    for (const { at } of y) svg.append(shape("path", { d: "M0 " + at + "H100", class: "tick" }));
    lines.forEach(({ path, marks }, i) => {
      svg.append(shape("path", { d: path, class: "loss look-" + (i % LOOKS) }), shape("path", { d: marks, class: "marks look-" + (i % LOOKS) }));
    });
    return make("div", { class: "plot" }, svg, ...x.map((tick) => tickOf("x", tick)), ...y.map((tick) => tickOf("y", tick)));
  }

  /** @param {"x" | "y"} axis @param {Tick} tick */
  function tickOf(axis, { at, text }) {
    const made = make("span", { class: axis, "aria-hidden": "true" }, text);
    made.style.setProperty("--at", at + "%");
    return made;
  }

  /** @param {Curve[]} curves @param {Kind} kind */
  function legend(curves, kind) {
    return make(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      ...curves.map(({ name, points }, i) => {
        const swatch = shape("svg", { viewBox: "0 0 32 8" });
        swatch.append(shape("path", { d: "M0 4H32", class: "loss look-" + (i % LOOKS) }), shape("path", { d: "M16 4h0", class: "marks look-" + (i % LOOKS) }));
        const told = points.filter((point) => point[kind] > 0);
        const from = told.length ? short(told[0][kind]) + " → " + short(told[told.length - 1][kind]) : "–";
        return make("li", {}, swatch, make("bdi", {}, name), make("span", {}, from));
      }),
    );
  }

  /** @param {string} tag @param {Record<string, string>} attributes */
  function shape(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  NST.curve = { figure, kindsOf, plot, ticks, logTicks, words };
})();

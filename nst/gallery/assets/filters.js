// @ts-check
// The filters: lists of values, searched where they are long, and ranges under a histogram. Each is
// words of the search.
(function () {
  "use strict";

  const { make } = NST.dom;

  const MAX_LISTED = 40;
  const NUM_BINS = 24;
  const RANGES = new Set(["metric", "provenance"]);
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 48;

  /** @param {App} app @param {HTMLElement} panel */
  function fill(app, panel) {
    const varied = app.store.fields.filter((field) => field.hash);
    const lists = varied.filter((field) => field.axis || (field.role === "opinion" && field.name !== "my_note"));
    const ranges = varied.filter((field) => RANGES.has(field.role) && field.kind === "number" && !field.axis);
    panel.replaceChildren(
      ...lists.map((field) => facet(app, field, (body) => list(app, field, body))),
      ...ranges.map((field) => facet(app, field, (body) => range(app, field, body))),
    );
  }

  /** @param {App} app @param {Field} field @param {(body: HTMLElement) => Promise<void>} open */
  function facet(app, field, open) {
    const body = make("div", {});
    const details = make("details", { name: "facet" }, make("summary", {}, field.title), body);
    details.addEventListener("toggle", () => {
      body.replaceChildren();
      if (details.open) open(body).catch(app.fail);
    });
    return details;
  }

  /** @param {App} app @param {Field} field @param {HTMLElement} body */
  async function list(app, field, body) {
    const column = await app.store.column(field.name);
    const counts = new Uint32Array(column.values.length + 1);
    for (const code of column.codes) counts[code]++;
    const found = make("div", {});
    const search = make("input", { type: "search", placeholder: "Search " + column.values.length.toLocaleString("en") + " values", "aria-label": "Search the values of " + field.title });
    const isLong = column.values.length > MAX_LISTED;
    search.addEventListener("input", look);
    body.replaceChildren(...(isLong ? [search] : []), found);
    look();

    function look() {
      const { codes, more } = matching(column.values, search.value, (value) => NST.query.has(app.state.q, field.name, String(value)));
      found.replaceChildren(
        ...codes.map((code) => choice(app, field, column.values[code], counts[code])),
        ...(more || !codes.length ? [make("p", { class: "note", role: "status" }, more ? "and " + more.toLocaleString("en") + " more: search for them" : "none of this name")] : []),
      );
    }
  }

  /**
   * Which values a list shows, by their codes: those that are chosen, then the first that a search finds.
   * @param {Value[]} values
   * @param {string} text
   * @param {(value: Value) => boolean} isChosen
   */
  function matching(values, text, isChosen) {
    const wanted = text.trim().toLowerCase();
    /** @type {number[]} */
    const codes = [];
    let more = 0;
    values.forEach((value, code) => {
      if (isChosen(value)) codes.push(code);
    });
    const chosen = new Set(codes);
    values.forEach((value, code) => {
      if (chosen.has(code)) return;
      const written = String(value).toLowerCase();
      if (!written.includes(wanted) && !written.replace(/[-_]/g, " ").includes(wanted)) return;
      if (codes.length < MAX_LISTED) codes.push(code);
      else more++;
    });
    return { codes, more };
  }

  /** @param {App} app @param {Field} field @param {Value} value @param {number} count */
  function choice(app, field, value, count) {
    const text = String(value);
    const box = make("input", { type: "checkbox", checked: NST.query.has(app.state.q, field.name, text) });
    box.addEventListener("change", () => app.go({ q: NST.query.toggled(app.state.q, field.name, text) }));
    const name = field.role === "input" ? NST.format.readable(text) : text.replaceAll("_", " ");
    return make("label", { title: text }, box, make("span", { dir: "auto" }, name), make("small", {}, count.toLocaleString("en")));
  }

  /** @param {App} app @param {Field} field @param {HTMLElement} body */
  async function range(app, field, body) {
    const column = await app.store.column(field.name);
    const numbers = /** @type {number[]} */ (column.values);
    const all = binned(numbers, counted(column.codes, null, numbers.length));
    const inputs = [">=", "<="].map((op) => {
      const box = make("input", { type: "number", step: "any", value: limit(app.state.q, field.name, op), placeholder: NST.format.short(op === ">=" ? all.low : all.high) });
      box.addEventListener("change", apply);
      return box;
    });
    const drawn = make("div", { class: "histogram" });
    const draw = () => drawn.replaceChildren(histogram(all, binned(numbers, counted(column.codes, app.view.items, numbers.length)), choose));
    body.replaceChildren(
      make("p", { class: "note" }, field.description ?? field.title),
      drawn,
      make("label", {}, "at least", inputs[0]),
      make("label", {}, "at most", inputs[1]),
      make("p", { class: "note" }, told(all)),
    );
    draw();

    async function apply() {
      await app.go({ q: ranged(app.state.q, field.name, inputs[0].value, inputs[1].value) });
      draw();
    }

    /** @param {number} low @param {number} high */
    function choose(low, high) {
      [low, high].forEach((value, i) => (inputs[i].value = NST.format.short(value, 4)));
      apply();
    }
  }

  /** How many items have each value. @param {Codes} codes @param {Int32Array | null} items all of them if null @param {number} size */
  function counted(codes, items, size) {
    const counts = new Uint32Array(size + 1);
    if (items) for (const item of items) counts[codes[item]]++;
    else for (const code of codes) counts[code]++;
    return counts;
  }

  /**
   * Sorted values in bins of one width between the least and the largest, with their mean and quartiles.
   * @param {number[]} values
   * @param {Uint32Array} counts
   */
  function binned(values, counts) {
    const [low, high] = [values[0], values[values.length - 1]];
    const bins = new Uint32Array(NUM_BINS);
    let [total, sum] = [0, 0];
    values.forEach((value, i) => {
      const bin = high > low ? Math.floor(((value - low) / (high - low)) * NUM_BINS) : 0;
      bins[Math.min(NUM_BINS - 1, bin)] += counts[i];
      total += counts[i];
      sum += value * counts[i];
    });
    const quantile = (/** @type {number} */ share) => {
      let seen = 0;
      return values[values.findIndex((_, i) => (seen += counts[i]) >= share * total)] ?? low;
    };
    return { low, high, bins, total, mean: sum / total, quartiles: [quantile(0.25), quantile(0.75)] };
  }

  /** @param {ReturnType<typeof binned>} found */
  function told({ low, high, total, mean, quartiles }) {
    const { short, count } = NST.format;
    return count(total, "picture") + ": from " + short(low) + " to " + short(high) + ", mean " + short(mean) + ", half of them from " + short(quartiles[0]) + " to " + short(quartiles[1]);
  }

  /**
   * Bars for all pictures, and in them for those that are shown. A drag chooses a range, a click a bar;
   * the fields below it do the same for keys.
   * @param {ReturnType<typeof binned>} all
   * @param {ReturnType<typeof binned>} shown
   * @param {(low: number, high: number) => void} choose
   */
  function histogram(all, shown, choose) {
    const most = Math.max(1, ...all.bins);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 " + NUM_BINS + " " + HEIGHT);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const bar = (/** @type {string} */ name, /** @type {number} */ bin, /** @type {number} */ count) => {
      const rect = document.createElementNS(SVG, "rect");
      // What is there is seen, however little it is.
      const height = count ? Math.max(1, (count / most) * HEIGHT) : 0;
      for (const [key, value] of Object.entries({ class: name, x: bin, y: HEIGHT - height, width: 0.9, height })) rect.setAttribute(key, String(value));
      return rect;
    };
    all.bins.forEach((count, bin) => svg.append(bar("all", bin, count), bar("shown", bin, shown.bins[bin])));
    const mark = bar("mark", 0, most);
    mark.setAttribute("width", "0");
    svg.append(mark);
    let first = -1;
    const binAt = (/** @type {PointerEvent} */ event) => {
      const box = svg.getBoundingClientRect();
      return Math.max(0, Math.min(NUM_BINS - 1, Math.floor(((event.clientX - box.left) / box.width) * NUM_BINS)));
    };
    const ends = (/** @type {number} */ last) => [Math.min(first, last), Math.max(first, last) + 1];
    const edge = (/** @type {number} */ bin) => all.low + ((all.high - all.low) * bin) / NUM_BINS;
    svg.addEventListener("pointerdown", (event) => {
      first = binAt(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (first < 0) return;
      const [from, to] = ends(binAt(event));
      mark.setAttribute("x", String(from));
      mark.setAttribute("width", String(to - from));
    });
    svg.addEventListener("pointerup", (event) => {
      if (first < 0) return;
      const [from, to] = ends(binAt(event));
      first = -1;
      choose(edge(from), edge(to));
    });
    return svg;
  }

  /** The limit that a query sets to a field, empty for none. @param {string} text @param {string} field @param {string} op */
  function limit(text, field, op) {
    const start = NST.query.named(field) + op;
    return NST.query.tokens(text).find((token) => token.startsWith(start))?.slice(start.length) ?? "";
  }

  /**
   * A query with other limits to a field, empty ones for none.
   * @param {string} text @param {string} field @param {string} low @param {string} high
   */
  function ranged(text, field, low, high) {
    const [least, most] = [">=", "<="].map((op) => NST.query.named(field) + op);
    const others = NST.query.tokens(text).filter((token) => !token.startsWith(least) && !token.startsWith(most));
    return [...others, ...(low ? [least + low] : []), ...(high ? [most + high] : [])].join(" ");
  }

  NST.filters = { fill, matching, binned, ranged, limit };
})();

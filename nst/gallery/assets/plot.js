// @ts-check
// One measure against another, a dot for each picture: coloured by column, with lines between the pictures
// of a row. A drag chooses a range of both, which is words of the search.
(function () {
  "use strict";

  const { make } = NST.dom;

  const USUAL = ["content_loss", "style_loss"];
  // On white and on black; beside the shapes, of which each of four has its own.
  const LIGHT = ["#0067a5", "#c04a00", "#00795a", "#a8457f", "#8a6100", "#2b7fae", "#5b4bb0", "#6b6b6b"];
  const DARK = ["#6cb6ff", "#ff9e5e", "#4fd1a5", "#f2a0cf", "#f0c04a", "#9ad6ff", "#b9adff", "#bdbdbd"];
  const MAX_LEGEND = 12;
  const MAX_LINED_ROWS = 200;
  // More of them are drawn as squares.
  const MAX_SHAPES = 5000;
  const BIN_PX = 16;
  const NEAR_PX = 14;
  const MARGIN = { left: 56, right: 12, top: 12, bottom: 40 };
  const LOGARITHMIC_FROM = 100;

  /** @type {DotPlot | null} */
  let shown = null;

  /** Called after every change of the state; whether what is below has moved. */
  function update() {
    const { app } = NST;
    const was = shown;
    if (!app.state.plot) {
      shown?.section.remove();
      shown?.observer.disconnect();
      shown = null;
      return !!was;
    }
    shown ||= open(app);
    const wanted = axes(app).join("\n");
    if (shown.of.view !== app.view || shown.of.axes !== wanted) {
      shown.of = { view: app.view, axes: wanted };
      load(shown).catch(app.fail);
    }
    return !was;
  }

  /** @param {App} app @returns {DotPlot} */
  function open(app) {
    const measures = app.store.fields.filter((field) => field.hash && field.kind === "number" && (field.role === "metric" || field.role === "setting"));
    const select = (/** @type {"px" | "py"} */ key, /** @type {string} */ word) => {
      const box = make("select", {}, ...measures.map((field) => make("option", { value: field.name }, field.title)));
      box.addEventListener("change", () => app.go({ [key]: box.value }, { replace: true }));
      return { box, label: make("label", {}, word, box) };
    };
    const [x, y] = [select("px", "across"), select("py", "up")];
    const legend = make("ul", { "aria-label": "Colours: the columns" });
    const dots = make("canvas", { "aria-hidden": "true" });
    const over = make("canvas", { tabindex: 0, role: "application", "aria-roledescription": "plot" });
    const tip = make("div", { class: "scatter-tip", hidden: true });
    const area = make("div", { class: "scatter-area" }, dots, over, tip);
    const note = make("p", { class: "note" });
    const clear = make("button", { type: "button", hidden: true }, "Clear the range");
    clear.addEventListener("click", () => {
      const [px, py] = axes(app);
      app.go({ q: NST.filters.ranged(NST.filters.ranged(app.state.q, px, "", ""), py, "", "") });
    });
    const section = make("section", { class: "scatter", "aria-label": "Plot" }, make("div", { class: "scatter-head" }, x.label, y.label, legend, clear), area, note);
    document.querySelector("main")?.before(section);
    /** @type {DotPlot} */
    const plot = { app, section, area, dots, over, tip, legend, note, clear, x: x.box, y: y.box, points: null, orders: [], at: -1, drag: null, turn: 0, of: { view: null, axes: "" }, observer: new ResizeObserver(() => draw(plot)) };
    listen(plot);
    plot.observer.observe(area);
    return plot;
  }

  /** The fields of the two axes. @param {App} app */
  function axes({ state, store }) {
    const numbers = store.fields.filter((field) => field.hash && field.kind === "number" && field.role === "metric").map((field) => field.name);
    const some = (/** @type {string} */ asked, /** @type {number} */ i) => (asked && store.field(asked) ? asked : numbers.includes(USUAL[i]) ? USUAL[i] : numbers[i] ?? "");
    return [some(state.px, 0), some(state.py, 1)];
  }

  /** @param {DotPlot} plot */
  async function load(plot) {
    const { app } = plot;
    const mine = ++plot.turn;
    const names = axes(app);
    const { view } = app;
    const [xs, ys] = await Promise.all(names.map((name) => app.store.column(name)));
    if (mine !== plot.turn || !app.state.plot) return;
    [plot.x.value, plot.y.value] = names;
    plot.clear.hidden = !names.some((name) => [">=", "<="].some((op) => NST.filters.limit(app.state.q, name, op)));
    plot.points = pointsOf(view, xs, ys, app.store.spine.num_items);
    plot.at = -1;
    draw(plot);
  }

  /**
   * Where each item is that has both values, those of the view first.
   * @param {View} view
   * @param {Column} xs
   * @param {Column} ys
   * @param {number} total
   * @returns {Points}
   */
  function pointsOf(view, xs, ys, total) {
    const numbers = (/** @type {Column} */ { values, codes }, /** @type {number} */ item) => {
      const value = values[codes[item]];
      return typeof value === "number" ? value : NaN;
    };
    const places = new Int32Array(total).fill(-1);
    const order = new Int32Array(total);
    let count = 0;
    view.items.forEach((item, i) => (places[item] = view.places[i]));
    for (const item of view.items) order[count++] = item;
    for (let item = 0; item < total && count < total; item++) if (places[item] < 0) order[count++] = item;
    const known = order.filter((item) => Number.isFinite(numbers(xs, item) + numbers(ys, item)));
    const x = Float64Array.from(known, (item) => numbers(xs, item));
    const y = Float64Array.from(known, (item) => numbers(ys, item));
    const numShown = known.reduce((sum, item) => sum + (places[item] >= 0 ? 1 : 0), 0);
    return { items: known, places: Int32Array.from(known, (item) => places[item]), x, y, numShown, px: new Float32Array(0), py: new Float32Array(0), scales: [scaleOf(x), scaleOf(y)], bins: null };
  }

  /** The range of an axis, by logarithms where values are of different orders. @param {Float64Array} values @returns {Scale} */
  function scaleOf(values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) [low, high] = [0, 1];
    const isLog = low > 0 && high / low >= LOGARITHMIC_FROM;
    const inside = (/** @type {number} */ value) => (isLog ? Math.log10(value) : value);
    const spare = (inside(high) - inside(low)) * 0.04 || Math.abs(inside(high)) * 0.1 || 1;
    const [from, to] = [inside(low) - spare, inside(high) + spare];
    return {
      isLog,
      place: (value) => (inside(value) - from) / (to - from),
      value: (place) => (isLog ? 10 ** (from + place * (to - from)) : from + place * (to - from)),
      ticks: ticks(from, to, isLog),
    };
  }

  /**
   * Some five round numbers between two, or powers of ten.
   * @param {number} from
   * @param {number} to
   * @param {boolean} isLog
   */
  function ticks(from, to, isLog) {
    if (isLog) return Array.from({ length: Math.floor(to) - Math.ceil(from) + 1 }, (_, i) => 10 ** (Math.ceil(from) + i));
    const rough = (to - from) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10);
    const first = Math.ceil(from / step);
    return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
  }

  /** @param {DotPlot} plot */
  function draw(plot) {
    const { app, area, dots, over, points } = plot;
    const [width, height] = [area.clientWidth, area.clientHeight];
    if (!points || !width) return;
    const context = sized(dots, width, height);
    sized(over, width, height);
    const [across, up] = points.scales;
    points.px = Float32Array.from(points.x, (value) => MARGIN.left + across.place(value) * (width - MARGIN.left - MARGIN.right));
    points.py = Float32Array.from(points.y, (value) => height - MARGIN.bottom - up.place(value) * (height - MARGIN.top - MARGIN.bottom));
    points.bins = null;
    plot.orders = [];
    const style = getComputedStyle(area);
    const ink = (/** @type {string} */ name) => style.getPropertyValue(name);
    frame(context, plot, width, height, style.color);
    const size = sizeOf(points.items.length);
    context.fillStyle = faint(style.color, 0.4);
    for (let i = 0; i < points.items.length; i++) if (points.places[i] < 0) context.fillRect(points.px[i] - 1, points.py[i] - 1, 2, 2);
    if (app.view.numRows <= MAX_LINED_ROWS) lines(context, plot, faint(style.color, 0.25));
    const colours = palette(area);
    const isSimple = points.numShown > MAX_SHAPES;
    for (let place = 0; place < app.view.columns.length; place++) {
      context.fillStyle = colours[place % colours.length];
      if (isSimple) break;
      for (let i = 0; i < points.items.length; i++) if (points.places[i] === place) shape(context, place, points.px[i], points.py[i], size);
    }
    if (isSimple) squares(context, points, colours, size);
    legend(plot, colours);
    tell(plot);
    highlight(plot, ink("--focus"));
  }

  /** All in one pass, since there may be as many columns as pictures. @param {CanvasRenderingContext2D} context @param {Points} points @param {string[]} colours @param {number} size */
  function squares(context, points, colours, size) {
    for (const [number, colour] of colours.entries()) {
      context.fillStyle = colour;
      for (let i = 0; i < points.items.length; i++) {
        const place = points.places[i];
        if (place >= 0 && place % colours.length === number) context.fillRect(points.px[i] - size, points.py[i] - size, 2 * size, 2 * size);
      }
    }
  }

  /** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
  function sized(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(ratio, ratio);
    return context;
  }

  /** @param {number} count */
  const sizeOf = (count) => (count < 500 ? 4.5 : count < 5000 ? 3 : count < 20000 ? 1.5 : 1);

  /** @param {Element} element */
  const palette = (element) => (getComputedStyle(element).colorScheme !== "light" && isDark() ? DARK : LIGHT);

  /** Whether the page is dark, by what it was told or else by the system. */
  function isDark() {
    const { theme } = document.documentElement.dataset;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  /** @param {string} colour as the style sheet resolves it @param {number} alpha */
  function faint(colour, alpha) {
    const parts = colour.match(/[\d.]+/g) ?? ["128", "128", "128"];
    return "rgb(" + parts.slice(0, 3).join(" ") + " / " + alpha + ")";
  }

  /**
   * A circle, square, triangle or diamond.
   * @param {CanvasRenderingContext2D} context @param {number} place @param {number} x @param {number} y @param {number} size
   */
  function shape(context, place, x, y, size) {
    context.beginPath();
    switch (place % 4) {
      case 0:
        context.arc(x, y, size, 0, 2 * Math.PI);
        break;
      case 1:
        context.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
        break;
      case 2:
        polygon(context, [[x, y - size * 1.2], [x + size * 1.1, y + size * 0.8], [x - size * 1.1, y + size * 0.8]]);
        break;
      default:
        polygon(context, [[x, y - size * 1.3], [x + size * 1.3, y], [x, y + size * 1.3], [x - size * 1.3, y]]);
    }
    context.fill();
  }

  /** @param {CanvasRenderingContext2D} context @param {number[][]} corners */
  function polygon(context, corners) {
    corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
  }

  /** Axes with numbers and names. @param {CanvasRenderingContext2D} context @param {DotPlot} plot @param {number} width @param {number} height @param {string} ink */
  function frame(context, plot, width, height, ink) {
    const [across, up] = /** @type {Points} */ (plot.points).scales;
    const [bottom, right] = [height - MARGIN.bottom, width - MARGIN.right];
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = ink;
    context.strokeStyle = faint(ink, 0.12);
    context.textAlign = "center";
    for (const value of across.ticks) {
      const x = MARGIN.left + across.place(value) * (right - MARGIN.left);
      stroke(context, [[x, MARGIN.top], [x, bottom]]);
      context.fillText(NST.format.short(value), x, bottom + 15);
    }
    context.textAlign = "right";
    for (const value of up.ticks) {
      const y = bottom - up.place(value) * (bottom - MARGIN.top);
      stroke(context, [[MARGIN.left, y], [right, y]]);
      context.fillText(NST.format.short(value), MARGIN.left - 6, y + 4);
    }
    const [nameX, nameY] = axes(plot.app).map((name) => plot.app.store.field(name)?.title ?? name);
    context.fillText(nameX + " →", right, height - 8);
    context.textAlign = "left";
    context.fillText("↑ " + nameY, MARGIN.left + 6, MARGIN.top + 10);
  }

  /** @param {CanvasRenderingContext2D} context @param {number[][]} points */
  function stroke(context, points) {
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }

  /** A line through the pictures of each row, from column to column. @param {CanvasRenderingContext2D} context @param {DotPlot} plot @param {string} colour */
  function lines(context, plot, colour) {
    const { view } = plot.app;
    context.strokeStyle = colour;
    const index = indexOf(plot);
    for (let row = 0; row < view.numRows; row++) stroke(context, rowPoints(plot, index, view.items.subarray(view.lines[view.rows[row]], view.lines[view.rows[row + 1]])));
  }

  /** Which point each item is. @param {DotPlot} plot */
  function indexOf(plot) {
    const { items } = /** @type {Points} */ (plot.points);
    return new Map(Array.from(items, (item, i) => [item, i]));
  }

  /** @param {DotPlot} plot @param {Map<number, number>} index @param {Int32Array} items */
  function rowPoints(plot, index, items) {
    const { px, py } = /** @type {Points} */ (plot.points);
    return Array.from(items, (item) => index.get(item) ?? -1).filter((i) => i >= 0).map((i) => [px[i], py[i]]);
  }

  /** @param {DotPlot} plot @param {string[]} colours */
  function legend(plot, colours) {
    const { app } = plot;
    const { columns } = app.view;
    plot.legend.replaceChildren(
      ...columns.slice(0, MAX_LEGEND).map((value, place) => {
        const swatch = make("canvas", { "aria-hidden": "true" });
        const context = sized(swatch, 14, 14);
        context.fillStyle = colours[place % colours.length];
        shape(context, place, 7, 7, 4.5);
        return make("li", { dir: "auto" }, swatch, app.columnTitle(value));
      }),
      ...(columns.length > MAX_LEGEND ? [make("li", {}, "and " + (columns.length - MAX_LEGEND).toLocaleString("en") + " more")] : []),
    );
  }

  /** @param {DotPlot} plot */
  function tell(plot) {
    const { app, points } = plot;
    if (!points) return;
    const [x, y] = axes(app).map((name) => app.store.field(name)?.title ?? name);
    const told = NST.format.count(points.numShown, "picture") + ", " + x + " across, " + y + " up";
    plot.over.setAttribute("aria-label", told + ". The arrow keys go from dot to dot, Enter opens a picture.");
    const lined = app.view.numRows <= MAX_LINED_ROWS && app.view.numRows < app.view.shown ? " Lines join the pictures of a row." : "";
    plot.note.textContent = NST.format.count(points.numShown, "dot") + " of " + NST.format.count(app.view.shown, "picture") + "." + lined + " Drag to filter by a range; the filters of both measures do it by keys.";
  }

  /** The point next to a place, -1 where none is near. @param {Points} points @param {number} x @param {number} y */
  function nearest(points, x, y) {
    const bins = (points.bins ||= binned(points));
    let [best, least] = [-1, NEAR_PX ** 2];
    const [column, row] = [Math.floor(x / BIN_PX), Math.floor(y / BIN_PX)];
    for (let r = row - 1; r <= row + 1; r++) {
      for (let c = column - 1; c <= column + 1; c++) {
        for (const i of bins.get(r * 4096 + c) ?? []) {
          const distance = (points.px[i] - x) ** 2 + (points.py[i] - y) ** 2;
          if (distance < least) [best, least] = [i, distance];
        }
      }
    }
    return best;
  }

  /** The points of the view by squares of the screen. @param {Points} points */
  function binned(points) {
    /** @type {Map<number, number[]>} */
    const bins = new Map();
    for (let i = 0; i < points.items.length; i++) {
      if (points.places[i] < 0) continue;
      const key = Math.floor(points.py[i] / BIN_PX) * 4096 + Math.floor(points.px[i] / BIN_PX);
      const bin = bins.get(key);
      if (bin) bin.push(i);
      else bins.set(key, [i]);
    }
    return bins;
  }

  /** Draw what is pointed at, or dragged over. @param {DotPlot} plot @param {string} colour */
  function highlight(plot, colour) {
    const { over, points, at, drag, app } = plot;
    const context = /** @type {CanvasRenderingContext2D} */ (over.getContext("2d"));
    context.clearRect(0, 0, over.width, over.height);
    context.strokeStyle = colour;
    context.lineWidth = 2;
    if (drag) context.strokeRect(Math.min(drag.x, drag.toX), Math.min(drag.y, drag.toY), Math.abs(drag.toX - drag.x), Math.abs(drag.toY - drag.y));
    if (!points || at < 0) return;
    const { items } = app.rowOf(points.items[at]);
    if (items.length <= MAX_LINED_ROWS) {
      const wanted = new Set(items);
      const index = new Map();
      for (let i = 0; i < points.items.length; i++) if (wanted.has(points.items[i])) index.set(points.items[i], i);
      stroke(context, rowPoints(plot, index, items));
    }
    context.beginPath();
    context.arc(points.px[at], points.py[at], 8, 0, 2 * Math.PI);
    context.stroke();
  }

  /** Point at a picture. @param {DotPlot} plot @param {number} at -1 for none @param {boolean} [say] */
  async function point(plot, at, say) {
    const { app, points, tip, area } = plot;
    if (!points || plot.at === at) return;
    plot.at = at;
    highlight(plot, getComputedStyle(area).getPropertyValue("--focus"));
    tip.hidden = true;
    if (at < 0) return;
    const item = await app.store.item(points.items[at]);
    if (plot.at !== at || plot.points !== points) return;
    const { src } = NST.cells.sources(item);
    const told = axes(app).map((name) => (app.store.field(name)?.title ?? name) + " " + NST.format.short(item.get(name)));
    const name = NST.cells.alt(app, item);
    tip.replaceChildren(...(src ? [make("img", { src, alt: "" })] : []), make("span", { dir: "auto" }, name), make("span", {}, told.join(", ")));
    tip.hidden = false;
    const isRight = points.px[at] > area.clientWidth / 2;
    tip.style.left = isRight ? "auto" : points.px[at] + 14 + "px";
    tip.style.right = isRight ? area.clientWidth - points.px[at] + 14 + "px" : "auto";
    tip.style.top = Math.max(0, Math.min(points.py[at] - 60, area.clientHeight - 200)) + "px";
    if (say) app.announce(name + ", " + told.join(", "));
  }

  /** @param {DotPlot} plot */
  function listen(plot) {
    const { over, app, area } = plot;
    const place = (/** @type {PointerEvent} */ event) => {
      const box = over.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const lit = () => highlight(plot, getComputedStyle(area).getPropertyValue("--focus"));
    over.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      const { x, y } = place(event);
      plot.drag = { x, y, toX: x, toY: y };
      over.setPointerCapture(event.pointerId);
    });
    over.addEventListener("pointermove", (event) => {
      const { x, y } = place(event);
      if (!plot.points) return;
      if (!plot.drag) return void point(plot, nearest(plot.points, x, y)).catch(app.fail);
      Object.assign(plot.drag, { toX: x, toY: y });
      lit();
    });
    over.addEventListener("pointerup", (event) => {
      const { drag, points } = plot;
      plot.drag = null;
      if (!drag || !points) return;
      const { x, y } = place(event);
      if (Math.abs(x - drag.x) + Math.abs(y - drag.y) > 6) brush(plot, drag.x, drag.y, x, y);
      else {
        const at = nearest(points, x, y);
        if (at >= 0) app.open(points.items[at]);
      }
      lit();
    });
    over.addEventListener("pointercancel", () => {
      plot.drag = null;
      lit();
    });
    over.addEventListener("pointerleave", () => point(plot, -1));
    over.addEventListener("blur", () => point(plot, -1));
    over.addEventListener("keydown", (event) => step(plot, event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown === plot && draw(plot));
    for (const each of document.querySelectorAll('input[name="theme"]')) each.addEventListener("change", () => shown === plot && draw(plot));
  }

  /** Filter by what a rectangle is drawn round. @param {DotPlot} plot @param {number} x @param {number} y @param {number} toX @param {number} toY */
  function brush(plot, x, y, toX, toY) {
    const { app, area, points } = plot;
    if (!points) return;
    const [across, up] = points.scales;
    const valueX = (/** @type {number} */ at) => across.value((at - MARGIN.left) / (area.clientWidth - MARGIN.left - MARGIN.right));
    const valueY = (/** @type {number} */ at) => up.value((area.clientHeight - MARGIN.bottom - at) / (area.clientHeight - MARGIN.top - MARGIN.bottom));
    const text = (/** @type {number} */ value) => NST.format.short(value, 4);
    const [nameX, nameY] = axes(app);
    const one = NST.filters.ranged(app.state.q, nameX, text(valueX(Math.min(x, toX))), text(valueX(Math.max(x, toX))));
    app.go({ q: NST.filters.ranged(one, nameY, text(valueY(Math.max(y, toY))), text(valueY(Math.min(y, toY)))) });
  }

  /** Keys go from dot to dot in the order of an axis. @param {DotPlot} plot @param {KeyboardEvent} event */
  function step(plot, event) {
    const { points, app, at } = plot;
    if (!points || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      app.open(points.items[at]);
      return;
    }
    const moves = /** @type {Record<string, [number, number]>} */ ({ ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1], Home: [0, -Infinity], End: [0, Infinity] });
    const move = moves[event.key];
    if (!move || !points.numShown) return;
    event.preventDefault();
    const [axis, by] = move;
    const order = (plot.orders[axis] ||= sortedBy(points, axis));
    const next = (at < 0 ? (by < 0 ? order.length : -1) : order.indexOf(at)) + by;
    point(plot, order[Math.max(0, Math.min(order.length - 1, next))], true).catch(app.fail);
  }

  /** The points of the view in the order of an axis. @param {Points} points @param {number} axis */
  function sortedBy(points, axis) {
    const values = axis ? points.y : points.x;
    const some = Int32Array.from(points.items.keys()).filter((i) => points.places[i] >= 0);
    return some.sort((a, b) => values[a] - values[b]);
  }

  NST.plot = { update, pointsOf, scaleOf, ticks };
})();

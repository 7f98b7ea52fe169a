// @ts-check
// The table of pictures: only the lines on screen exist; one tab stop, moved by the arrow keys.
(function () {
  "use strict";

  // Firefox cuts elements off at some 18 million pixels: 2,980 for a line, as in a window of 3,600.
  const PAGE_LINES = 6000;
  const MAX_CELLS_ELEMENTS = 1000;
  const ELEMENTS_PER_CELL = 7;
  const ELEMENTS_PER_HEAD = 12;
  const LOAD_DELAY_MS = 40;
  const MAX_COLUMNS = 12;
  const LITTLE = 0.25;

  /** @param {App} app @returns {Grid} */
  function open(app) {
    const table = /** @type {HTMLTableElement} */ (document.getElementById("grid"));
    const frame = /** @type {HTMLElement} */ (table.parentElement);
    const head = /** @type {HTMLTableSectionElement} */ (table.tHead);
    const body = table.tBodies[0];
    /** @type {Map<number, HTMLTableRowElement>} */
    const rows = new Map();
    let drawn = "";
    /** @type {View | null} */
    let drawnView = null;
    /** @type {number[]} */
    let columns = [];
    let current = { line: 0, column: 0 };
    let rowHeight = 0;
    /** How the pictures are laid out: the view itself, or a wall of it with so many in a line. */
    let laid = app.view;
    let laidFor = { view: /** @type {View | null} */ (null), perLine: 0 };
    let perLine = 1;
    let filling = 0;
    let scheduled = 0;
    let loading = 0;
    // Lines beside those on screen; none until somebody is there to look at them.
    let spare = 0;

    const firstLine = () => (page() - 1) * PAGE_LINES;
    const pages = () => Math.max(1, Math.ceil(laid.numLines / PAGE_LINES));
    const page = () => Math.min(app.state.page, pages());
    const numLines = () => Math.min(PAGE_LINES, laid.numLines - firstLine());

    function update() {
      // The window may change before the first view is there, and the reader may scroll and press keys.
      if (!app.view) return;
      const { state } = app;
      measure();
      lay();
      const view = laid;
      const next = shownColumns();
      table.dataset.columns = String(next.length);
      rowHeight = probed((row) => row.getBoundingClientRect().height);
      const signature = JSON.stringify([state.x, state.y, state.sort, state.size, state.layout, page(), next, rowHeight]);
      const hadFocus = table.contains(document.activeElement);
      if (signature !== drawn || view !== drawnView) {
        const isFirst = !drawnView && app.isUsual() && state.layout === "table" && adopt(next);
        columns = next;
        drawn = signature;
        drawnView = view;
        if (!isFirst) {
          rows.forEach((row) => row.remove());
          rows.clear();
          body.replaceChildren();
          if (state.layout === "table") {
            drawHead();
            fillSpans();
          }
        }
        current = { line: Math.min(Math.max(current.line, firstLine()), firstLine() + Math.max(0, numLines() - 1)), column: Math.min(current.column, Math.max(0, columns.length - 1)) };
        table.setAttribute("aria-rowcount", String(view.numLines + 1));
        table.setAttribute("aria-colcount", String(view.columns.length + 1));
        frame.style.height = head.offsetHeight + numLines() * rowHeight + "px";
        table.hidden = !view.numLines;
      }
      draw();
      // The rows are others now: a reader at the keyboard stays among them.
      if (hadFocus && !table.contains(document.activeElement)) cellAt(current.line, current.column)?.focus({ preventScroll: true });
    }

    /** What decides how large everything is, said to the style sheet. */
    function measure() {
      const { state } = app;
      const inputs = state.y.filter((name) => name === "content" || name === "style");
      Object.assign(table.dataset, { size: state.size, layout: state.layout, heads: inputs.length, facts: state.y.length > inputs.length ? 1 : 0 });
      perLine = state.layout === "wall" ? probed((row) => getComputedStyle(row).gridTemplateColumns.split(" ").length) : 1;
    }

    /** What a line of the style sheet's making is like. @param {(row: HTMLElement) => number} measured */
    function probed(measured) {
      const row = NST.dom.make("tr", { class: "line" });
      const isHidden = table.hidden;
      table.hidden = false;
      body.append(row);
      const found = measured(row);
      row.remove();
      table.hidden = isHidden;
      return found;
    }

    function lay() {
      const { state, view } = app;
      const wanted = state.layout === "wall" ? perLine : 0;
      if (laidFor.view === view && laidFor.perLine === wanted) return;
      laidFor = { view, perLine: wanted };
      laid = wanted ? NST.pivot.wall(view, wanted, app.sortedBy(), state.sort.startsWith("-")) : view;
    }

    /** As many columns as leave the page light enough, from the one that is asked for on. */
    function shownColumns() {
      const { state } = app;
      const { length } = laid.columns;
      if (state.layout === "wall") return Array.from({ length }, (_, i) => i);
      table.dataset.columns = String(Math.min(MAX_COLUMNS, length));
      const tall = Math.ceil(window.innerHeight / probed((row) => row.getBoundingClientRect().height)) + 3;
      const most = Math.floor((MAX_CELLS_ELEMENTS / tall - ELEMENTS_PER_HEAD) / ELEMENTS_PER_CELL);
      const count = Math.min(MAX_COLUMNS, Math.max(2, most), length);
      const from = Math.max(0, Math.min(state.left, length - count));
      return Array.from({ length: count }, (_, i) => from + i);
    }

    /** Take the rows that the page came with for what they are. @param {number[]} next */
    function adopt(next) {
      const found = Array.from(body.rows);
      const heads = head.rows[0].cells.length - 1;
      if (!found.length || heads !== next.length) return false;
      for (const row of found) keep(Number(row.dataset.line), row);
      return true;
    }

    /** A thumbnail that is gone gives way to the picture, and that to words. @param {HTMLImageElement} image */
    function missed(image) {
      const href = image.closest("a")?.getAttribute("href");
      if (href && image.getAttribute("src") !== href) {
        image.removeAttribute("srcset");
        image.removeAttribute("sizes");
        image.src = href;
      } else {
        const text = href ? "picture not found: " + image.alt : "not found";
        image.replaceWith(NST.dom.make("span", { class: "missing" }, text));
      }
    }

    /** @param {number} line @param {HTMLTableRowElement} row */
    function keep(line, row) {
      rows.set(line, row);
      NST.opinions.mark(row);
      for (const cell of row.querySelectorAll("td")) cell.tabIndex = -1;
      for (const link of row.querySelectorAll("a")) link.tabIndex = -1;
      // Those that the page came with may have been missed before anybody listened.
      for (const image of row.querySelectorAll("img")) if (image.complete && !image.naturalWidth) missed(image);
    }

    function drawHead() {
      const { make } = NST.dom;
      const { state, store } = app;
      const titles = state.y.map((name) => store.field(name)?.title ?? name);
      head.rows[0].replaceChildren(
        make(
          "th",
          { role: "columnheader", scope: "col", "aria-colindex": 1, class: "corner" },
          make("span", { class: "name" }, titles.join(" × ")),
          hasSpans() && make("span", { class: "spans" }, "mean ", make("small", {}, "range")),
        ),
        ...columns.map((column) => NST.cells.heading(app, laid, column)),
      );
    }

    const figures = () => NST.figures.CHIPS.flatMap((name) => app.store.field(name) ?? []).filter((field) => field.size);
    const hasSpans = () => figures().length > 0;

    /** The measures of the columns, in their heads, once they are known. */
    async function fillSpans() {
      const { view, store } = app;
      const { spine } = store;
      const mine = ++filling;
      const cells = Array.from(head.rows[0].cells).slice(1);
      const isUsual = app.state.x === spine.column && view.shown === view.total && view.columns.length === spine.columns.length;
      const fields = figures();
      // The lines are there before what is in them, so that nothing moves.
      for (const cell of cells) cell.querySelector(".spans")?.replaceChildren(...fields.map((field) => NST.dom.make("span", {}, NST.figures.titleOf(field) + " …")));
      const known = fields.map((field) => (isUsual && spine.spans?.[field.name]) || null);
      await new Promise((resolve) => setTimeout(resolve));
      if (mine !== filling) return;
      const found = await Promise.all(fields.map(async (field, i) => known[i] || spansOf(view, field))).catch(app.fail);
      if (mine !== filling || !found) return;
      cells.forEach((cell, i) => {
        const told = fields.map((field, f) => spanText(field, found[f][columns[i]]));
        cell.querySelector(".spans")?.replaceChildren(...told);
      });
    }

    /** @param {View} view @param {Field} field */
    async function spansOf(view, field) {
      await app.controls();
      return NST.pivot.spans(view, await app.store.column(field.name));
    }

    /** @param {Field} field @param {Span | null | undefined} span */
    function spanText(field, span) {
      const { make } = NST.dom;
      const { short } = NST.format;
      const title = NST.figures.titleOf(field);
      return span ? make("span", {}, title + " " + short(span[0]) + " ", make("small", {}, short(span[1], 2) + "–" + short(span[2], 2))) : make("span", {}, title + " –");
    }

    /** The pictures of columns of inputs, as soon as a picture of such a column is loaded. */
    function fillHeads() {
      const kind = app.state.x;
      if (app.state.layout === "wall" || (kind !== "content" && kind !== "style")) return;
      for (const empty of head.querySelectorAll("span.of")) {
        const column = Number(/** @type {HTMLElement} */ (empty.parentElement).dataset.column);
        const item = Array.from(rows.keys(), (line) => app.store.peek(laid.at(line, column))).find((each) => each);
        const src = item && (kind === "content" ? item.content : item.styles[0]).small;
        if (src) empty.replaceWith(NST.dom.make("img", { class: "of", src, alt: "", decoding: "async" }));
      }
    }

    /** The lines on screen and a few beside them, from and up to but not including. */
    function wanted() {
      const top = table.parentElement ? frame.getBoundingClientRect().top + head.offsetHeight : 0;
      const from = Math.floor(-top / rowHeight) - spare;
      // A line of which little is on screen waits for the reader's first sign: its data are 30 KB.
      const to = Math.ceil((window.innerHeight - top) / rowHeight - (spare ? 0 : LITTLE)) + spare;
      const low = Math.max(0, Math.min(from, numLines() - 1));
      return { from: firstLine() + low, to: firstLine() + Math.min(numLines(), Math.max(to, low + 1)) };
    }

    function draw() {
      scheduled = 0;
      if (!laid?.numLines) return;
      const { from, to } = wanted();
      for (const [line, row] of rows) {
        if (line >= from && line < to) continue;
        if (row.contains(document.activeElement)) table.focus({ preventScroll: true });
        row.remove();
        rows.delete(line);
      }
      let isPending = false;
      for (let line = from; line < to; line++) {
        let row = rows.get(line);
        if (!row || (row.dataset.pending && isLoaded(line))) {
          row = redraw(line, row);
        }
        if (row.dataset.pending) isPending = true;
        const before = body.rows[line - from];
        if (before !== row) body.insertBefore(row, before || null);
      }
      table.style.marginTop = (from - firstLine()) * rowHeight + "px";
      mark();
      NST.compare?.mark();
      fillHeads();
      clearTimeout(loading);
      // Not what is only passed on the way to somewhere else.
      if (isPending) loading = window.setTimeout(load, LOAD_DELAY_MS);
    }

    /** @param {number} line @param {HTMLTableRowElement} [old] */
    function redraw(line, old) {
      const hadFocus = old?.contains(document.activeElement);
      const row = NST.cells.row(app, laid, line, columns);
      if (!isLoaded(line)) row.dataset.pending = "1";
      keep(line, row);
      if (old) {
        old.replaceWith(row);
        if (hadFocus) cellAt(line, current.column)?.focus({ preventScroll: true });
      }
      return row;
    }

    /** @param {number} line */
    function itemsOf(line) {
      const items = columns.map((column) => laid.at(line, column)).filter((item) => item >= 0);
      const first = laid.items[laid.lines[line]];
      const rivals = app.state.layout === "table" ? NST.figures.rivals(app, first) : [];
      return items.length || rivals.length ? [...items, ...rivals] : [first];
    }

    /** @param {number} line */
    const isLoaded = (line) => itemsOf(line).every((item) => app.store.peek(item));

    async function load() {
      const view = app.view;
      const { chunk_items } = app.store.spine;
      // Else one would push out the other, and neither line would ever be drawn.
      app.store.keep(Array.from(rows.keys()).flatMap(itemsOf));
      const pending = Array.from(rows).flatMap(([line, row]) => (row.dataset.pending ? itemsOf(line) : []));
      const firsts = new Set(pending.map((item) => Math.floor(item / chunk_items) * chunk_items));
      try {
        await Promise.all(Array.from(firsts, (item) => app.store.item(item)));
      } catch (error) {
        app.fail(/** @type {Error} */ (error));
        return;
      }
      if (view === app.view) draw();
    }

    /** The tab stop. */
    function mark() {
      table.querySelector('td[tabindex="0"]')?.setAttribute("tabindex", "-1");
      const cell = cellAt(current.line, current.column) || body.querySelector("td");
      if (cell) /** @type {HTMLElement} */ (cell).tabIndex = 0;
    }

    /** @param {number} line @param {number} column @returns {HTMLElement | null} */
    const cellAt = (line, column) => rows.get(line)?.querySelectorAll("td")[column] ?? null;

    /** @param {number} line @param {number} column counted among those that are shown */
    function focus(line, column) {
      if (!laid) return;
      const last = firstLine() + numLines() - 1;
      current = {
        line: Math.min(Math.max(line, firstLine()), last),
        column: Math.min(Math.max(column, 0), columns.length - 1),
      };
      reveal(current.line);
      draw();
      const cell = cellAt(current.line, current.column);
      cell?.focus({ preventScroll: true });
      cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }

    /** Scroll as little as shows a whole line. @param {number} line */
    function reveal(line) {
      const top = frame.getBoundingClientRect().top + head.offsetHeight + (line - firstLine()) * rowHeight;
      const low = head.offsetHeight;
      if (top < low) window.scrollBy(0, top - low);
      else if (top + rowHeight > window.innerHeight) window.scrollBy(0, Math.min(top - low, top + rowHeight - window.innerHeight));
    }

    /** @param {KeyboardEvent} event */
    function move(event) {
      if (!laid || event.altKey || event.metaKey) return;
      const { line, column } = current;
      const step = Math.max(1, Math.floor((window.innerHeight - head.offsetHeight) / rowHeight));
      const last = firstLine() + numLines() - 1;
      /** @type {Record<string, () => void>} */
      const moves = {
        ArrowUp: () => focus(line - 1, column),
        ArrowDown: () => focus(line + 1, column),
        ArrowLeft: () => sideways(-1),
        ArrowRight: () => sideways(1),
        PageUp: () => focus(line - step, column),
        PageDown: () => focus(line + step, column),
        Home: () => focus(event.ctrlKey ? firstLine() : line, event.ctrlKey ? column : 0),
        End: () => focus(event.ctrlKey ? last : line, event.ctrlKey ? column : columns.length - 1),
        Enter: () => openCurrent(),
        " ": () => openCurrent(),
      };
      const action = moves[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    /** @param {number} by */
    function sideways(by) {
      const { line, column } = current;
      const next = columns[column] + by;
      if (next < 0 || next >= laid.columns.length) return;
      if (!columns.includes(next)) {
        app.go({ left: Math.max(0, columns[0] + by) }, { replace: true }).then(() => focus(line, columns.indexOf(next)));
      } else focus(line, column + by);
    }

    function openCurrent() {
      const item = cellAt(current.line, current.column)?.dataset.item;
      if (item !== undefined) app.open(Number(item));
    }

    table.addEventListener("keydown", move);
    table.addEventListener("focusin", (event) => {
      const cell = /** @type {HTMLElement} */ (event.target).closest("td");
      if (!cell) return;
      const row = /** @type {HTMLTableRowElement} */ (cell.parentElement);
      current = { line: Number(row.dataset.line), column: Array.from(row.querySelectorAll("td")).indexOf(cell) };
      mark();
    });
    table.addEventListener("click", (event) => {
      // A new tab is the browser's.
      if (event.ctrlKey || event.metaKey || event.button) return;
      const cell = /** @type {HTMLElement} */ (event.target).closest("td");
      if (!cell || cell.dataset.item === undefined) return;
      event.preventDefault();
      if (event.shiftKey) app.controls().then(() => NST.compare.take(app, Number(cell.dataset.item))).catch(app.fail);
      else app.open(Number(cell.dataset.item));
    });
    table.addEventListener(
      "error",
      (event) => {
        if (event.target instanceof HTMLImageElement) missed(event.target);
      },
      true,
    );
    // A word on every figure, made when somebody asks for it.
    table.addEventListener("pointerover", (event) => {
      const figure = /** @type {HTMLElement} */ (event.target).closest(".chips > span:not(.apart), .spans > span");
      if (figure && !figure.getAttribute("title")) figure.setAttribute("title", NST.figures.wordOn(app, String(figure.textContent)));
    });
    // What stood for the picture until it came would show beside it.
    table.addEventListener("load", (event) => /** @type {HTMLElement} */ (event.target).style.removeProperty("--tone"), true);
    const schedule = () => {
      if (!scheduled) scheduled = requestAnimationFrame(draw);
    };
    window.addEventListener("scroll", schedule, { passive: true });
    const awake = () => {
      spare = 1;
      schedule();
    };
    for (const sign of ["pointermove", "touchstart", "keydown", "scroll"]) {
      window.addEventListener(sign, awake, { once: true, passive: true });
    }
    window.addEventListener("resize", () => requestAnimationFrame(update));

    return {
      update,
      focus: (line, column) => focus(line, columns.indexOf(column)),
      whereIs(index) {
        const at = laid.items.indexOf(index);
        return at < 0 ? null : { line: NST.pivot.rowOf(laid.lines, at), column: laid.places[at] };
      },
      numLines: () => laid.numLines,
      numColumns: () => laid.columns.length,
      pages,
      page,
      pageLines: PAGE_LINES,
      columns: () => columns,
      hasFocus: () => table.contains(document.activeElement),
    };
  }

  NST.grid = { open };
})();

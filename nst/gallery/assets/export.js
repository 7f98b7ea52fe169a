// @ts-check
// What is shown, as a table for other programs and on paper.
(function () {
  "use strict";

  const { make } = NST.dom;

  const MAX_ROWS = 500;
  // With many columns fewer rows, or the browser runs out of memory.
  const MAX_PICTURES = 4000;
  // Between two of these the page answers.
  const BATCH = 5000;
  const BOM = "\ufeff";

  /** @type {HTMLElement | null} */
  let sheet = null;

  /**
   * Lines of a CSV file, RFC 4180: the names of the fields, then the items in the order given, each
   * with the path of its picture at the end.
   * @param {Field[]} fields
   * @param {Column[]} columns of the fields
   * @param {Map<number, string>} paths of the items that have a picture
   * @param {ArrayLike<number>} order numbers of the items
   * @returns {Generator<string>}
   */
  function* lines(fields, columns, paths, order) {
    const { csvCell } = NST.format;
    yield [...fields.map((field) => csvCell(field.name)), "picture"].join(",") + "\r\n";
    const cells = columns.map(({ values }) => [...values.map(csvCell), ""]);
    for (let i = 0; i < order.length; i++) {
      const known = columns.map(({ codes }, field) => cells[field][codes[order[i]]] ?? "");
      yield [...known, csvCell(paths.get(order[i]) ?? null)].join(",") + "\r\n";
    }
  }

  /**
   * The paths of the items' pictures, relative to the page. Each file of rows is read once, whatever
   * the order, since few of them are kept.
   * @param {App} app @param {Int32Array} order numbers of the items
   */
  async function pathsOf({ store }, order) {
    /** @type {Map<number, string>} */
    const paths = new Map();
    for (const number of order.toSorted()) {
      const { picture } = store.peek(number) ?? (await store.item(number));
      if (picture) paths.set(number, decodeURIComponent(picture));
    }
    return paths;
  }

  /** @param {App} app */
  async function csv(app) {
    const { store, view } = app;
    app.announce("Collecting " + NST.format.count(view.shown, "picture") + " …");
    const columns = await Promise.all(store.fields.map((field) => store.column(field.name)));
    const paths = await pathsOf(app, view.items);
    const parts = [BOM];
    let batch = "";
    let count = 0;
    for (const line of lines(store.fields, columns, paths, view.items)) {
      batch += line;
      if (++count % BATCH) continue;
      parts.push(batch);
      batch = "";
      await new Promise((resolve) => setTimeout(resolve));
    }
    parts.push(batch);
    save(new Blob(parts, { type: "text/csv;charset=utf-8" }), "gallery.csv");
    app.announce(NST.format.count(view.shown, "picture") + " exported.");
  }

  /** @param {Blob} blob @param {string} name */
  function save(blob, name) {
    const url = URL.createObjectURL(blob);
    const link = make("a", { href: url, download: name });
    link.click();
    // Firefox reads it only after the click.
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  /** @param {App} app */
  async function print(app) {
    const { view, store } = app;
    // Then there is only what the page came with.
    if (!view) return window.print();
    const count = numPrinted(view);
    app.announce("Loading " + NST.format.count(count, "row") + " to print …");
    /** The store keeps fewer. @type {Map<number, Item>} */
    const items = new Map();
    const keep = (/** @type {number} */ number) => store.item(number).then((item) => items.set(number, item), () => {});
    await Promise.all(numbersOf(view, count).map(keep));
    const made = lay(app, count, items);
    await Promise.allSettled([...made.querySelectorAll("img")].map((image) => image.decode()));
    window.print();
  }

  /** @param {View} view */
  const numPrinted = (view) => Math.min(view.numLines, MAX_ROWS, Math.max(1, Math.floor(MAX_PICTURES / (view.columns.length || 1))));

  /** @param {View} view @param {number} count */
  const numbersOf = (view, count) => [...view.items.subarray(0, view.lines[count])];

  /**
   * The first rows as figures, in a section that only paper shows.
   * @param {App} app
   * @param {number} count
   * @param {Map<number, Item>} [loaded]
   */
  function lay(app, count, loaded) {
    const { view } = app;
    const rows = [];
    for (let line = 0; line < count; line++) {
      const made = row(app, line, loaded);
      if (made) rows.push(made);
    }
    const all = rows.length === view.numLines;
    const told = (all ? "All " : "The first " + rows.length + " of ") + NST.format.count(view.numLines, "row");
    sheet?.remove();
    sheet = make(
      "section",
      { class: "sheet" },
      make("h1", {}, document.title),
      make("p", {}, told + ". " + location.href),
      ...rows,
    );
    document.body.append(sheet);
    return sheet;
  }

  /**
   * A line of the view; null where none of it is loaded.
   * @param {App} app
   * @param {number} line
   * @param {Map<number, Item>} [loaded]
   */
  function row(app, line, loaded) {
    const { view, store, state } = app;
    const items = [...view.items.subarray(view.lines[line], view.lines[line + 1])].map((number) => loaded?.get(number) ?? store.peek(number));
    const first = items.find((item) => item);
    if (!first) return null;
    const { content, styles } = first;
    const facts = state.y.filter((name) => name !== "content" && name !== "style");
    return make(
      "section",
      {},
      make("h2", {}, make("bdi", {}, content.name), " × ", make("bdi", {}, styles.map((style) => style.name).join(" + "))),
      facts.length > 0 && make("p", { dir: "auto" }, facts.map((name) => (store.field(name)?.title ?? name) + " " + NST.format.short(first.get(name))).join(" · ")),
      make("div", {}, input("content", content), ...styles.map((style) => input("style", style)), ...items.map((item) => item && figure(app, item))),
    );
  }

  /** @param {string} kind @param {Preview} preview */
  function input(kind, { small, name }) {
    return make("figure", {}, small && make("img", { src: small, alt: kind + ": " + name }), make("figcaption", {}, kind + " ", make("bdi", {}, name)));
  }

  /** @param {App} app @param {Item} item */
  function figure(app, item) {
    const name = app.columnTitle(item.get(app.state.x));
    if (item.failed || !item.picture) {
      const reason = String(item.get("reason") ?? "").replaceAll("_", " ");
      const why = [reason, item.get("error")].filter((text) => text).join(": ");
      return make("figure", {}, make("p", { dir: "auto" }, why || "no picture"), make("figcaption", { dir: "auto" }, name));
    }
    const { src, srcset } = NST.cells.sources(item);
    const measures = ["style_loss", "content_loss", "lpips"].filter((metric) => item.get(metric) !== null);
    const told = measures.map((metric) => metric.split("_")[0] + " " + NST.format.short(item.get(metric)));
    return make(
      "figure",
      {},
      make("img", { src, srcset, sizes: "320px", width: item.width, height: item.height, alt: NST.cells.alt(app, item) }),
      make("figcaption", { dir: "auto" }, [name, ...told].join(" · ")),
    );
  }

  globalThis.addEventListener?.("beforeprint", () => {
    // A picture that is open is printed as it stands.
    if (NST.app?.view && !NST.app.state.id && !sheet) lay(NST.app, numPrinted(NST.app.view));
  });
  globalThis.addEventListener?.("afterprint", () => {
    sheet?.remove();
    sheet = null;
  });

  NST.export = { csv, print, lines, save };
})();

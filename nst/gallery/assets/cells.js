// @ts-check
// A line of the table: its inputs and its pictures, in the very shape that the page comes with.
(function () {
  "use strict";

  const APART = new Set(["input", "backbone", "run", "label", "setting"]);
  const ON_WALL = new Set(["backbone", "run", "setting"]);
  const SMALL = "140px";
  const ON_WALL_PX = { s: SMALL, m: "240px", l: "400px" };

  /**
   * @param {App} app
   * @param {View} view as it is laid out
   * @param {number} line
   * @param {number[]} columns numbers of the columns to show
   */
  function row(app, view, line, columns) {
    const { make } = NST.dom;
    const { store } = app;
    const numbers = columns.map((column) => view.at(line, column));
    const items = numbers.map((number) => (number < 0 ? null : store.peek(number)));
    const first = view.items[view.lines[line]];
    const isWall = app.state.layout === "wall";
    const best = isWall ? new Map() : NST.figures.best(app, first);
    const apart = isWall ? wallFields(app) : fieldsApart(app, line);
    const sizes = sizesOf(app, columns.length);
    const told = (/** @type {Item} */ item) => captions(app, item, best, apart, isWall);
    return make(
      "tr",
      {
        role: "row",
        class: view.starts(line) ? "line first" : "line",
        "data-line": line,
        "aria-rowindex": line + 2,
      },
      !isWall && head(app, items.find((item) => item) || store.peek(first)),
      ...numbers.map((number, i) => (number < 0 ? gap(app, view, first, columns[i], isWall) : cell(app, number, items[i], columns[i], sizes, told))),
    );
  }

  /** How wide a picture is, for the browser to choose a thumbnail by. @param {App} app @param {number} count */
  function sizesOf({ state }, count) {
    if (state.layout === "wall") return ON_WALL_PX[state.size];
    return state.size === "s" ? SMALL : "calc((100vw - 400px) / " + count + ")";
  }

  /** @param {App} app @param {Item | null} item */
  function head(app, item) {
    const { make } = NST.dom;
    const { state, store } = app;
    const th = make("th", { role: "rowheader", scope: "row", class: "head", "aria-colindex": 1 });
    if (!item) {
      th.append(make("span", { class: "hidden" }, "loading"));
      return th;
    }
    if (state.y.includes("content")) th.append(input("content", [item.content]));
    if (state.y.includes("style")) th.append(input("style", item.styles));
    const facts = state.y.filter((name) => name !== "content" && name !== "style");
    if (facts.length) {
      th.append(
        make(
          "p",
          { class: "facts" },
          ...facts.map((name) =>
            make("span", { dir: "auto" }, (store.field(name)?.title ?? name) + ": " + NST.format.short(item.get(name))),
          ),
        ),
      );
    }
    return th;
  }

  /** @param {string} kind @param {Preview[]} previews */
  function input(kind, previews) {
    const { make } = NST.dom;
    const src = previews[0].small;
    const name = previews.map((preview) => preview.name).join(" + ");
    return make(
      "figure",
      { class: "input" },
      src ? make("img", { src, alt: kind + ": " + name, decoding: "async" }) : make("div", { class: "missing" }, "not loaded"),
      make("figcaption", { dir: "auto", title: previews.map((preview) => preview.title).join(" | ") }, name),
    );
  }

  /**
   * Where a column has nothing of a row: no such picture was asked for, or the search hides it.
   * @param {App} app
   * @param {View} view
   * @param {number} first item of the line
   * @param {number} column
   * @param {boolean} isWall
   */
  function gap(app, view, first, column, isWall) {
    const { make } = NST.dom;
    if (isWall) return make("td", { role: "gridcell", class: "cell", "aria-colindex": column + 2 });
    const isHidden = view.shown < view.total && app.rowOf(first).columns.has(view.columns[column]);
    const td = make("td", { role: "gridcell", class: "cell", "aria-colindex": column + 2 });
    td.append(
      isHidden
        ? make("div", { class: "filtered" }, "hidden by the search")
        : make("div", { class: "empty" }, make("span", { class: "hidden" }, "no picture")),
    );
    return td;
  }

  /**
   * @param {App} app
   * @param {number} number of the item
   * @param {Item | null} item null where it is not loaded yet
   * @param {number} column
   * @param {string} sizes
   * @param {(item: Item) => HTMLElement | null} told what stands under it
   */
  function cell(app, number, item, column, sizes, told) {
    const { make } = NST.dom;
    const td = make("td", { role: "gridcell", class: "cell", "aria-colindex": column + 2, "data-item": number });
    if (!item) {
      td.append(make("div", { class: "pending" }));
      return td;
    }
    if (item.failed || !item.picture) {
      td.append(
        make(
          "div",
          { class: item.get("status") === "waiting" ? "waiting" : "failed" },
          make("strong", {}, String(item.get("reason") ?? item.get("status")).replaceAll("_", " ")),
          make("span", { dir: "auto" }, String(item.get("error") ?? "")),
        ),
      );
    } else {
      td.append(picture(app, item, sizes));
    }
    const caption = told(item);
    if (caption) td.append(caption);
    return td;
  }

  /** @param {App} app @param {Item} item @param {string} sizes */
  function picture(app, item, sizes) {
    const { make } = NST.dom;
    const image = make("img", {
      ...sources(item),
      sizes: item.thumb ? sizes : null,
      width: item.width,
      height: item.height,
      alt: alt(app, item),
      decoding: "async",
    });
    if (item.color) image.style.setProperty("--tone", item.color);
    return make("a", { class: "open", href: item.picture }, image);
  }

  /** Thumbnails with the widths that they really have. @param {Item} item */
  function sources(item) {
    const { thumb, width, height } = item;
    if (!thumb) return { src: item.picture };
    const long = Math.max(width, height);
    const wide = (/** @type {number} */ px) => Math.max(1, Math.round((width * Math.min(px, long)) / long));
    const small = thumb + "-256.webp";
    const large = long > 256 ? ", " + thumb + "-512.webp " + wide(512) + "w" : "";
    return { src: small, srcset: small + " " + wide(256) + "w" + large };
  }

  /** @param {App} app @param {Item} item */
  function alt(app, item) {
    const style = item.styles.map((each) => each.name).join(" + ");
    const { column } = app.store.spine;
    const role = app.store.field(column)?.role;
    const more = role === "backbone" || role === "input" ? "" : ", " + app.store.field(column)?.title + " " + item.get(column);
    return item.content.name + " in the style of " + style + ", " + item.get("backbone") + more;
  }

  /**
   * The fields in which pictures of a line's row differ that share a column.
   * @param {App} app
   * @param {number} line
   */
  function fieldsApart(app, line) {
    const { state, store, view } = app;
    const row = NST.pivot.rowOf(view.rows, line);
    const [from, to] = [view.rows[row], view.rows[row + 1]];
    if (to - from < 2) return [];
    // Those that are not loaded may be like the others.
    const known = [...view.items.subarray(view.lines[from], view.lines[to])].flatMap((item) => store.peek(item) ?? []);
    return store.fields.filter((field) => {
      if (!field.hash || !APART.has(field.role) || field.name === state.x || state.y.includes(field.name)) return false;
      return new Set(known.map((item) => item.get(field.name))).size > 1;
    });
  }

  /** @param {Field} field @param {Item} item */
  function textApart(field, item) {
    const value = item.get(field.name);
    if (value === null) return field.title + ": none";
    if (field.role === "input") return NST.format.readable(String(value));
    const text = NST.format.short(value);
    return field.role === "backbone" || field.role === "run" ? text : field.title + ": " + text;
  }

  /** What tells the pictures of a wall apart beside their inputs. @param {App} app */
  const wallFields = ({ store }) => store.fields.filter(({ role, hash }) => ON_WALL.has(role) && hash);

  /**
   * What stands under a picture: what it is, where its place does not say it, and its measures, the
   * best of the row marked. Null where that is nothing.
   * @param {App} app
   * @param {Item} item
   * @param {Map<string, number | null>} best
   * @param {Field[]} apart
   * @param {boolean} isWall
   */
  function captions(app, item, best, apart, isWall) {
    const { make } = NST.dom;
    const inputs = isWall ? [item.content.name + " × " + item.styles.map((each) => each.name).join(" + ")] : [];
    const differs = [...inputs, ...apart.map((field) => textApart(field, item))].join(", ");
    const isFailed = item.failed || !item.picture;
    if (isFailed && !differs) return null;
    return make(
      "p",
      { class: "chips" },
      differs ? make("span", { class: "apart", dir: "auto" }, differs) : null,
      ...(isFailed ? [] : NST.figures.shown(app).flatMap((field) => chip(field, item, best) ?? [])),
    );
  }

  /** @param {Field} field @param {Item} item @param {Map<string, number | null>} best */
  function chip(field, item, best) {
    const { make } = NST.dom;
    const value = item.get(field.name);
    if (value === null) return null;
    const text = NST.figures.titleOf(field) + " " + NST.format.short(value);
    if (best.get(field.name) === value) return make("b", { title: "best of its row: same content, style, backbone and weights" }, "★ " + text);
    return make("span", {}, text);
  }

  /** What stands above a column: its value, its picture if it is an input, what its pictures have. @param {App} app @param {View} view @param {number} column */
  function heading(app, view, column) {
    const { make } = NST.dom;
    const value = view.columns[column];
    const isInput = app.store.field(app.state.x)?.role === "input";
    return make(
      "th",
      { role: "columnheader", scope: "col", "aria-colindex": column + 2, "data-column": column },
      isInput && make("span", { class: "of" }),
      make("span", { class: "name", dir: "auto", title: isInput && value }, app.columnTitle(value)),
      make("span", { class: "spans" }),
    );
  }

  NST.cells = { row, heading, alt, sources };
})();

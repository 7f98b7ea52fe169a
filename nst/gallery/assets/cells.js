// @ts-check
// A line of the table: its inputs and its pictures, in the very shape that the page comes with.
(function () {
  "use strict";

  const APART = new Set(["input", "backbone", "run", "label", "setting"]);
  const CHIPS = ["style_loss", "content_loss", "lpips"];
  /** @type {Record<string, string>} */
  const CHIP_TITLES = { style_loss: "style", content_loss: "content" };
  const WIDTHS = { s: "140px", m: "240px", l: "400px" };

  /**
   * @param {App} app
   * @param {number} line
   * @param {number[]} columns numbers of the columns to show
   */
  function row(app, line, columns) {
    const { make } = NST.dom;
    const { view, store } = app;
    const numbers = columns.map((column) => view.at(line, column));
    const items = numbers.map((number) => (number < 0 ? null : store.peek(number)));
    const any = items.find((item) => item) || store.peek(view.items[view.lines[line]]);
    const marks = chips(app, items);
    const apart = fieldsApart(app, line);
    return make(
      "tr",
      {
        role: "row",
        class: view.starts(line) ? "line first" : "line",
        "data-line": line,
        "aria-rowindex": line + 2,
      },
      head(app, any),
      ...numbers.map((number, i) => cell(app, number, items[i], columns[i], marks[i], apart)),
    );
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
   * @param {App} app
   * @param {number} number of the item, -1 for none
   * @param {Item | null} item null where it is not loaded yet
   * @param {number} column
   * @param {Chip[]} marks
   * @param {Field[]} apart
   */
  function cell(app, number, item, column, marks, apart) {
    const { make } = NST.dom;
    const td = make("td", { role: "gridcell", class: "cell", "aria-colindex": column + 2 });
    if (number < 0) {
      td.append(make("div", { class: "empty" }, make("span", { class: "hidden" }, "no picture")));
      return td;
    }
    td.dataset.item = String(number);
    if (!item) {
      td.append(make("div", { class: "pending" }));
    } else if (item.failed || !item.picture) {
      td.append(
        make(
          "div",
          { class: item.get("status") === "waiting" ? "waiting" : "failed" },
          make("strong", {}, String(item.get("reason") ?? item.get("status")).replaceAll("_", " ")),
          make("span", { dir: "auto" }, String(item.get("error") ?? "")),
        ),
      );
      if (apart.length) td.append(captions([], item, apart));
    } else {
      td.append(picture(app, item), captions(marks, item, apart));
    }
    return td;
  }

  /** @param {App} app @param {Item} item */
  function picture(app, item) {
    const { make } = NST.dom;
    const image = make("img", {
      ...sources(item),
      sizes: item.thumb ? WIDTHS[app.state.size] : null,
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
    const more = column === "backbone" ? "" : ", " + app.store.field(column)?.title + " " + item.get(column);
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
    const known = Array.from(view.items.subarray(view.lines[from], view.lines[to]), (item) => store.peek(item));
    return store.fields.filter((field) => {
      if (!field.hash || !APART.has(field.role) || field.name === state.x || state.y.includes(field.name)) return false;
      return new Set(known.map((item) => item && item.get(field.name))).size > 1;
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

  /** @param {Chip[]} marks @param {Item} item @param {Field[]} apart */
  function captions(marks, item, apart) {
    const { make } = NST.dom;
    const differs = apart.map((field) => textApart(field, item)).join(", ");
    return make(
      "p",
      { class: "chips" },
      differs ? make("span", { class: "apart", dir: "auto" }, differs) : null,
      ...marks.map(({ title, text, best }) =>
        best
          ? make("b", { title: "best of its row" }, "★ " + title + " " + text)
          : make("span", {}, title + " " + text),
      ),
    );
  }

  /**
   * The measures of a line's items, the best of each marked where there are several.
   * @param {App} app
   * @param {(Item | null)[]} items
   */
  function chips(app, items) {
    const sort = app.state.sort.replace("-", "");
    const named = app.store.field(sort)?.role === "metric" && !CHIPS.includes(sort) ? [...CHIPS, sort] : CHIPS;
    /** @type {Chip[][]} */
    const made = items.map(() => []);
    for (const name of named) {
      const field = app.store.field(name);
      if (!field) continue;
      const values = items.map((item) => (item && !item.failed ? item.get(name) : null));
      const best = bestOf(values, field.better);
      values.forEach((value, i) => {
        if (value === null) return;
        const title = CHIP_TITLES[name] || field.title;
        made[i].push({ title, text: NST.format.short(value), best: value === best });
      });
    }
    return made;
  }

  /**
   * The best of several values, null where they are alike.
   * @param {(Value | null)[]} values
   * @param {number} better -1 where the least is best, 1 where the largest is
   */
  function bestOf(values, better) {
    const numbers = values.filter((value) => typeof value === "number");
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    return low === high || !better ? null : better < 0 ? low : high;
  }

  NST.cells = { row, alt, bestOf, sources };
})();

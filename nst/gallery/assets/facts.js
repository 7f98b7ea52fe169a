// @ts-check
// What is known of the pictures that are shown, a column each, and in what they differ.
(function () {
  "use strict";

  const { make } = NST.dom;

  const PARAMETERS = ["input", "backbone", "run", "label", "setting"];
  const PROVENANCE = ["provenance", "identity"];
  // The names of intermediate pictures, which are told as links.
  const KEPT = "kept";

  /**
   * Those of the fields in which the items differ; of a single item those that vary in the gallery.
   * @param {Field[]} fields
   * @param {Pick<Item, "get">[]} items
   */
  function differing(fields, items) {
    if (items.length < 2) return fields.filter((field) => field.hash);
    return fields.filter(({ name }) => new Set(items.map((item) => item.get(name))).size > 1);
  }

  /**
   * Which values are the best of at least two that are not all the same.
   * @param {(Value | null)[]} values
   * @param {number} better -1 where the least is best, 1 where the largest is, else 0
   */
  function best(values, better) {
    const most = NST.figures.bestOf(values, better);
    const isSame = values.every((value) => value === most || value === null);
    return values.map((value) => most !== null && !isSame && value === most);
  }

  /**
   * Layers by name with each item's loss, in the order in which they are first met.
   * @param {[string, number][][]} layers
   */
  function byLayer(layers) {
    const names = [...new Set(layers.flat().map(([name]) => name))];
    const maps = layers.map((each) => new Map(each));
    return names.map((name) => ({ name, values: maps.map((map) => map.get(name) ?? null) }));
  }

  // Has the panel tell what was said since.
  let update = () => {};

  /**
   * @param {App} app
   * @param {Item[]} items
   * @param {string[]} names of the items, as their columns are called
   * @param {boolean} showAll parameters, not only those that differ
   */
  function panel(app, items, names, showAll) {
    const opinions = () => section("Opinions", ofRoles(app, ["opinion"]).map((field) => row(field, items)), items.length) ?? make("tbody");
    let said = opinions();
    update = () => {
      const next = opinions();
      said.replaceWith(next);
      said = next;
    };
    const layers = make("tbody");
    const curve = make("div", { class: "curves" });
    const table = make(
      "table",
      { class: "facts-table" },
      make("caption", { class: "hidden" }, "What is known of the pictures shown"),
      make("thead", {}, make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col", dir: "auto" }, name)))),
      failures(app, items),
      measures(app, items),
      said,
      layers,
      section("While it was painted", [kept(app, items)], items.length),
      parameters(app, items, "Parameters", PARAMETERS, showAll),
      parameters(app, items, "Provenance", PROVENANCE, showAll),
    );
    const scroller = make("div", { class: "facts-scroll", role: "group", "aria-label": "Figures", tabindex: 0 }, table);
    addDetails(app, items, names, layers, curve);
    return make("div", { class: "large-facts" }, make("div", {}, scroller, toggle(app, showAll)), curve);
  }

  /** @param {App} app @param {boolean} showAll */
  function toggle(app, showAll) {
    const button = NST.bar.button(showAll ? "Show only what differs" : "Show all parameters", () => app.go({ all: !showAll }, { replace: true }));
    button.className = "plain";
    button.dataset.focus = "all";
    return button;
  }

  /** @param {App} app @param {string[]} roles */
  const ofRoles = (app, roles) => app.store.fields.filter((field) => roles.includes(field.role));

  /** @param {App} app @param {Item[]} items */
  function failures(app, items) {
    if (!items.some((item) => item.failed)) return null;
    return section("Failure", ofRoles(app, ["status"]).filter((field) => field.name !== "status").map((field) => row(field, items)), items.length);
  }

  /** What was not made has no weights, and takes no star from the others. @param {App} app @param {Item[]} items */
  const areComparable = (app, items) => NST.figures.comparable(app.store.fields, items.filter((item) => !item.failed && item.picture !== null));

  /** @param {App} app @param {Item[]} items */
  function measures(app, items) {
    const fields = ofRoles(app, ["metric"]);
    // None is the best of what is measured otherwise.
    const marked = areComparable(app, items) ? fields : fields.map((field) => ({ ...field, better: /** @type {const} */ (0) }));
    return section("Measures", marked.map((field) => row(field, items)), items.length);
  }

  /**
   * @param {App} app @param {Item[]} items @param {string} title @param {string[]} roles
   * @param {boolean} showAll
   */
  function parameters(app, items, title, roles, showAll) {
    const fields = ofRoles(app, roles).filter(({ name }) => name !== KEPT);
    const rows = (showAll ? fields : differing(fields, items)).map((field) => row(field, items, true));
    const none = items.length > 1 ? "no difference" : "nothing that varies";
    return section(title, rows, items.length, fields.length ? none : "");
  }

  /**
   * @param {string} title
   * @param {(HTMLElement | null)[]} rows
   * @param {number} width
   * @param {string} [none] said where there are no rows
   */
  function section(title, rows, width, none = "") {
    const some = rows.some((each) => each);
    if (!some && !none) return null;
    return make(
      "tbody",
      {},
      make("tr", {}, make("th", { scope: "rowgroup", colspan: width + 1 }, title)),
      ...rows,
      !some && make("tr", {}, make("td", { colspan: width + 1, class: "none" }, none)),
    );
  }

  /**
   * @param {Pick<Field, "name" | "title" | "description" | "better">} field
   * @param {Item[]} items
   * @param {boolean} [empty] whether a row without values is one too
   */
  function row(field, items, empty) {
    const values = items.map((item) => item.get(field.name));
    if (!empty && values.every((value) => value === null)) return null;
    return cells(field.title, values, field.better, field.description);
  }

  /**
   * Where a picture was after how many evaluations, by its address and the names that it has kept.
   * @param {string} picture @param {string} names
   */
  function stepsOf(picture, names) {
    const folder = picture.replace(/images\/([^/]*)\.[^./]*$/, "steps/$1/");
    return names.split(" ").map((name) => ({ evaluation: String(parseInt(name, 10)), href: folder + name }));
  }

  /** @param {App} app @param {Item[]} items */
  function kept(app, items) {
    const steps = items.map((item) => (item.picture && item.get(KEPT) ? stepsOf(item.picture, String(item.get(KEPT))) : []));
    if (!steps.some((each) => each.length)) return null;
    const links = (/** @type {typeof steps[0]} */ each) => each.flatMap(({ evaluation, href }) => [make("a", { href, target: "_blank", "aria-label": "after " + evaluation + " evaluations" }, evaluation), " "]);
    const description = app.store.field(KEPT)?.description;
    return make("tr", {}, make("th", { scope: "row", title: description }, "after evaluation"), ...steps.map((each) => make("td", {}, ...links(each))));
  }

  /**
   * @param {string} title @param {(Value | null)[]} values @param {number} better
   * @param {string} [description]
   */
  function cells(title, values, better, description) {
    const marks = best(values, better);
    return make(
      "tr",
      {},
      make("th", { scope: "row", dir: "auto", title: description }, title),
      ...values.map((value, i) => {
        const text = NST.format.short(value);
        const full = NST.format.full(value);
        const told = { dir: "auto", class: marks[i] && "best", title: full !== text && full };
        return make("td", told, text, marks[i] && make("span", { class: "star", role: "img", "aria-label": "best" }, "★"));
      }),
    );
  }

  /**
   * @param {App} app @param {Item[]} items @param {string[]} names
   * @param {HTMLElement} layers @param {HTMLElement} curve
   */
  async function addDetails(app, items, names, layers, curve) {
    try {
      const details = await Promise.all(items.map((item) => (item.failed ? { curve: [], layers: [] } : app.store.detail(item))));
      const better = areComparable(app, items) ? -1 : 0;
      const rows = byLayer(details.map((detail) => detail.layers)).map(({ name, values }) => cells(name, values, better));
      const made = section("Style loss by layer", rows, items.length);
      if (made) layers.replaceWith(made);
      const curves = names.map((name, i) => ({ name, points: details[i].curve })).filter(({ points }) => points.length);
      curve.replaceChildren(...(curves.length ? [NST.curve.figure(curves)] : []));
    } catch {
      const again = NST.bar.button("Try again", () => addDetails(app, items, names, layers, curve));
      curve.replaceChildren(make("p", { role: "status" }, "The loss curves could not be loaded. ", again));
    }
  }

  NST.facts = { panel, update: () => update(), differing, best, byLayer, stepsOf };
})();

// @ts-check
// A manifest of some of the pictures, larger: to be saved and run.
(function () {
  "use strict";

  const { make } = NST.dom;

  const MAX_PX = 8192;
  const DEFAULT_PX = 512;
  // How a page shows a path without the folders above.
  const HIDDEN = "…";

  /**
   * The lines of a CSV manifest that makes the items again `times` as large.
   * @param {Field[]} fields
   * @param {Pick<Item, "get">[]} items
   * @param {number} times
   */
  function manifest(fields, items, times) {
    const own = fields.filter(({ role, name }) => (role === "input" && name !== "start") || role === "backbone" || role === "setting" || role === "label");
    const known = own.filter(({ name }) => items.some((item) => item.get(name) !== null));
    if (!known.some(({ name }) => name === "size")) known.push(/** @type {Field} */ ({ name: "size" }));
    const lines = items.map((item) => known.map(({ name }) => cell(cellOf(item, name, times))).join(","));
    return [known.map(({ name }) => cell(name)).join(","), ...lines].join("\r\n") + "\r\n";
  }

  /** @param {Pick<Item, "get">} item @param {string} name @param {number} times @returns {Value | null} */
  function cellOf(item, name, times) {
    const value = item.get(name);
    if (name === "size") return Math.min(MAX_PX, Math.round((Number(value ?? DEFAULT_PX) || Math.max(Number(item.get("width")), Number(item.get("height")))) * times));
    // The picture that a painting starts from is named in this column.
    if (name === "init") return item.get("start") ?? value;
    return value;
  }

  /** As `csvCell`, but as it is: nst is no spreadsheet. @param {Value | null} value */
  function cell(value) {
    const text = value === null ? "" : String(value);
    return /[",;\r\n]|^#/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  /** @param {Pick<Item, "get">} item */
  const isHidden = (item) => ["content", "style", "mask", "style_mask", "start"].some((name) => String(item.get(name) ?? "").split(/\s*\|\s*/).some((each) => each.startsWith(HIDDEN)));

  /** @param {App} app */
  async function ask(app) {
    const { store } = app;
    const pick = await store.column("my_pick");
    const favourites = [...pick.codes.keys()].filter((index) => pick.values[pick.codes[index]] === "favourite");
    const which = make("select", { "aria-label": "Which pictures" }, make("option", { value: "favourites", disabled: !favourites.length }, "my favourites (" + favourites.length + ")"), make("option", { value: "shown" }, "what is shown (" + app.view.shown + ")"));
    which.value = favourites.length ? "favourites" : "shown";
    const times = make("select", { "aria-label": "How large" }, ...[2, 3, 4].map((value) => make("option", { value }, value + " times as large")));
    const said = make("p", { class: "note", role: "status" });
    const make_ = async () => {
      const numbers = which.value === "shown" ? [...app.view.items] : favourites;
      const items = [];
      for (const number of numbers.toSorted((p, q) => p - q)) items.push(store.peek(number) ?? (await store.item(number)));
      const usable = items.filter((item) => !isHidden(item));
      const left = items.length - usable.length;
      if (usable.length) {
        const head = "# Save this file beside the manifest of the run, whose paths it has, then: nst run larger.csv --output larger\r\n";
        NST.export.save(new Blob([head + manifest(store.fields, usable, Number(times.value))], { type: "text/csv;charset=utf-8" }), "larger.csv");
      }
      said.textContent =
        (usable.length ? NST.format.count(usable.length, "row") + " saved as larger.csv. Put it beside the manifest of the run, whose paths it has, and then: nst run larger.csv --output larger" : "") +
        (left ? " " + NST.format.count(left, "picture was", "pictures were") + " made from absolute paths, of which a page does not show the folders: left out; metadata.parquet has the whole paths" : "");
    };
    const dialog = make(
      "dialog",
      { class: "help", "aria-labelledby": "again-title", tabindex: -1 },
      make("div", { class: "large-head" }, make("h2", { id: "again-title" }, "Make these again, larger"), NST.bar.button("×", () => dialog.close(), "Close (Esc)")),
      make("p", { class: "verdict-tools" }, make("label", {}, "Which pictures ", which), make("label", {}, "How large ", times), NST.bar.button("Save the manifest", () => make_().catch(app.fail))),
      said,
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    dialog.focus();
  }

  NST.again = { ask, manifest };
})();

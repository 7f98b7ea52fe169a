// @ts-check
// What the gallery is of: what all pictures share, in what they differ, and a word on every figure.
(function () {
  "use strict";

  const { make } = NST.dom;

  const SHARED = new Set(["backbone", "setting", "provenance"]);
  const BETTER = { "-1": "lower is better", 0: "", 1: "higher is better" };

  /** @param {App} app */
  function show(app) {
    const { fields } = app.store;
    const dialog = make(
      "dialog",
      { class: "about", "aria-labelledby": "about-title", tabindex: -1 },
      closer(() => dialog.close()),
      make("h2", { id: "about-title" }, "About this gallery"),
      section("The same for all", fields.filter((field) => SHARED.has(field.role) && !field.hash && (field.value ?? null) !== null).map((field) => [field.title, NST.format.full(field.value ?? null)])),
      section("What varies", fields.filter((field) => field.axis && field.hash).map((field) => [field.title, NST.format.count(field.size, "value") + (field.missing ? ", " + field.missing.toLocaleString("en") + " without" : "")])),
      section("Figures", fields.filter((field) => field.role === "metric" && field.size).map(word)),
      make("p", {}, "A ★ marks the best of a row. It is given only where values can be compared: among pictures of the same content and style, of the same backbone and under the same weights. The least content loss always goes to the lowest weight of the style, and another backbone measures with another scale."),
      make("p", {}, "Above each column stand the mean and the range of what its pictures have, of those that are shown."),
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    dialog.focus();
  }

  /** @param {Field} field @returns {[string, string]} */
  function word(field) {
    const title = NST.figures.titleOf(field);
    const name = title === field.title ? title : title + " (" + field.title + ")";
    return [name, [field.description ?? "", BETTER[field.better]].filter(Boolean).join(" ")];
  }

  /** @param {() => void} close */
  function closer(close) {
    const button = make("button", { type: "button", "aria-label": "Close (Esc)" }, "×");
    button.addEventListener("click", close);
    return button;
  }

  /** @param {string} title @param {[string, string][]} rows */
  function section(title, rows) {
    if (!rows.length) return null;
    const told = rows.map(([name, text]) => make("div", {}, make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, text)));
    return make("section", {}, make("h3", {}, title), make("dl", {}, ...told));
  }

  NST.about = { show };
})();

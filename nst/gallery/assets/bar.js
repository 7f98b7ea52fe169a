// @ts-check
// The head of the large view: what it shows, the modes, the columns and the zoom.
(function () {
  "use strict";

  const { make } = NST.dom;

  /** @param {BarActions} act */
  function build(act) {
    const title = make("h2", { id: "large-title" });
    const facts = make("p", { class: "large-row" });
    const place = make("span", { class: "large-place" });
    const previous = button("↑", () => act.step(-1), "Previous row ([)");
    const next = button("↓", () => act.step(1), "Next row (])");
    const modes = NST.modes.LIST.map(({ name, title: text, key }) => {
      const made = button(text, () => act.mode(name));
      made.title = key.toUpperCase();
      return made;
    });
    const columns = make("div", { class: "large-columns", role: "group" });
    const zoom = make("output", { class: "large-zoom" });
    const less = button("−", () => act.zoom(1 / 1.5), "Zoom out (-)");
    const more = button("+", () => act.zoom(1.5), "Zoom in (+)");
    const whole = button("Fit", () => act.zoom(0), "Fit: the whole picture (0)");
    const real = button("100 %", act.real, "100 %: one pixel of the picture for one of the screen (Z)");
    const save = button("Save", act.save, "Save this view as one picture (W)");

    const node = make(
      "header",
      { class: "large-bar" },
      make(
        "div",
        { class: "large-head" },
        make("div", { class: "large-title" }, title, facts),
        make("div", { class: "buttons rows" }, place, previous, next, button("?", NST.help.show, "Keys (?)"), button("×", act.close, "Close (Esc)")),
      ),
      make(
        "div",
        { class: "large-tools" },
        make("div", { class: "buttons modes", role: "group", "aria-label": "How to compare" }, ...modes),
        columns,
        make("div", { class: "buttons zoom", role: "group", "aria-label": "Zoom" }, less, zoom, more, whole, real, save),
      ),
    );

    return {
      node,
      /** @param {number} value @param {number} one the zoom of one pixel for one, 0 where it is not known */
      zoom: (value, one) => (zoom.textContent = one ? Math.round((100 * value) / one) + " %" : Number(value.toFixed(1)) + "×"),
      /** @param {Scene} scene */
      update(scene) {
        title.replaceChildren(...headline(scene));
        facts.replaceChildren(...scene.facts.map((fact) => make("bdi", {}, fact)));
        place.textContent = placeOf(scene);
        previous.disabled = next.disabled = scene.line < 0;
        modes.forEach((made, i) => made.setAttribute("aria-pressed", String(NST.modes.LIST[i].name === scene.mode)));
        choose(columns, scene, act.toggle);
      },
    };
  }

  /**
   * @param {string} text @param {() => void} action
   * @param {string} [name] where the text does not tell it
   */
  function button(text, action, name) {
    const made = make("button", { type: "button", title: name, "aria-label": name }, text);
    made.addEventListener("click", action);
    return made;
  }

  /** @param {Scene} scene */
  const placeOf = ({ line, numLines }) =>
    line < 0 ? "not in this selection" : (line + 1).toLocaleString("en") + " of " + numLines.toLocaleString("en");

  /** @param {Scene} scene */
  function headline({ content, style }) {
    return [make("bdi", {}, content), make("span", { class: "times" }, " × "), make("bdi", {}, style)];
  }

  /**
   * A button for each column that is offered, pressed where it is shown. Those that are there stay, so that the
   * focus does.
   * @param {HTMLElement} columns @param {Scene} scene @param {(name: string) => void} toggle
   */
  function choose(columns, scene, toggle) {
    columns.hidden = scene.mode !== "side" || scene.names.length < 2;
    columns.setAttribute("aria-label", scene.columnTitle + ", shown side by side");
    const names = scene.offered.map((column) => scene.names[column]);
    const told = names.join("\n");
    if (columns.dataset.told !== told) {
      columns.dataset.told = told;
      columns.replaceChildren(
        ...scene.offered.map((column, i) => {
          const made = button("", () => toggle(names[i]));
          made.append(make("bdi", {}, scene.titles[column]));
          if (column < 9) made.title = "Shift+" + (column + 1);
          return made;
        }),
      );
    }
    [...columns.children].forEach((made, i) => made.setAttribute("aria-pressed", String(scene.shown.includes(names[i]))));
  }

  NST.bar = { build, button, placeOf };
})();

// @ts-check
// How pictures are compared: which are shown, and how they lie on the stage.
(function () {
  "use strict";

  const { make } = NST.dom;

  const MAX_SHOWN = 6;
  const SETTLE_MS = 250;
  const INPUTS = ["content", "style"];
  /** @type {{name: State["mode"], title: string, key: string}[]} */
  const LIST = [
    { name: "side", title: "Side by side", key: "c" },
    { name: "slider", title: "Slider", key: "s" },
    { name: "flip", title: "Flip", key: "f" },
    { name: "onion", title: "Onion skin", key: "o" },
    { name: "difference", title: "Difference", key: "d" },
  ];
  /** The range of each mode that has one. @type {Record<string, Steering>} */
  const RANGES = {
    slider: { name: "at", property: "--at", label: "Where the pictures meet", min: 0, max: 100, unit: "%" },
    onion: { name: "opacity", property: "--opacity", label: "How much of the second picture", min: 0, max: 100, unit: "%" },
    difference: { name: "brightness", property: "--brightness", label: "Brightness of the difference", min: 1, max: 10, unit: " times" },
  };

  /**
   * The columns that are shown side by side, the current one among them.
   * @param {string[]} show those that are asked for
   * @param {string[]} names all of the row
   * @param {string[]} present those that have an item in this row
   * @param {string} current
   */
  function shown(show, names, present, current) {
    const asked = show.filter((name) => names.includes(name));
    const chosen = (asked.length ? asked : present).slice(0, MAX_SHOWN);
    if (!chosen.includes(current)) chosen.splice(MAX_SHOWN - 1, 1, current);
    return names.filter((name) => chosen.includes(name));
  }

  /**
   * The columns with one of them added or removed; null where they would be too few or too many.
   * @param {string[]} chosen @param {string} name
   */
  function toggled(chosen, name) {
    const next = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
    return next.length < 2 || next.length > MAX_SHOWN ? null : next;
  }

  /**
   * The two panes that a mode of two compares: the current picture and the content until others
   * are chosen.
   * @param {Pick<State, "a" | "b">} state @param {string[]} names @param {string} current
   */
  function pair(state, names, current) {
    const known = (/** @type {string} */ name) => INPUTS.includes(name) || names.includes(name) || name.startsWith("id=");
    const a = known(state.a) ? state.a : current;
    const b = known(state.b) ? state.b : a === "content" ? current : "content";
    return { a, b };
  }

  /**
   * The number of columns in which pictures of one shape are largest, and their height.
   * @param {number} count @param {number} ratio width by height
   * @param {{width: number, height: number, gap: number, caption: number}} room
   */
  function layout(count, ratio, { width, height, gap, caption }) {
    let best = { columns: 1, height: 0 };
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const wide = (width - gap * (columns - 1)) / columns;
      const high = (height - gap * (rows - 1)) / rows - caption;
      const fitted = Math.floor(Math.max(0, Math.min(high, wide / ratio)));
      if (fitted > best.height) best = { columns, height: fitted };
    }
    return best;
  }

  /**
   * A picture with what stands beneath it, as large as the stage lets it be.
   * @param {Pane} pane
   */
  function figure({ picture, caption, current }) {
    const frame = make("div", { class: picture.isPicture ? "window" : "note" }, picture.node);
    const made = make("figure", { class: "pane", "aria-current": current && "true" }, frame, caption);
    const size = () => picture.ratio && made.style.setProperty("--ratio", String(picture.ratio));
    picture.sized = size;
    size();
    return made;
  }

  /** @param {Pane[]} inputs @param {Pane[]} results */
  function side(inputs, results) {
    return make(
      "div",
      { class: "panes" },
      inputs.length > 0 && make("div", { class: "rail" }, ...inputs.map((pane) => figure(pane))),
      make("div", { class: "results" }, ...results.map((pane) => figure(pane))),
    );
  }

  /**
   * Two pictures in one window, or beside each other where one of them is none.
   * @param {State["mode"]} mode @param {Pane} a @param {Pane} b
   */
  function over(mode, a, b) {
    if (!a.picture.isPicture || !b.picture.isPicture) return side([], [a, b]);
    const handle = mode === "slider" && make("div", { class: "handle", "aria-hidden": "true" });
    // Read as the choices above are, so that it is not said twice.
    const names = [a, b].map(({ title }, i) => make("span", { class: "plate plate-" + "ab"[i], dir: "auto", "aria-hidden": "true" }, title));
    const frame = make("div", { class: "window" }, a.picture.node, b.picture.node, handle, ...names);
    const made = make("figure", { class: "pane pair " + mode }, frame);
    // A result's or the content's shape; a style's only where there is no other.
    const first = a.isStyle ? b : a;
    const size = () => first.picture.ratio && made.style.setProperty("--ratio", String(first.picture.ratio));
    a.picture.sized = b.picture.sized = size;
    size();
    return make("div", { class: "panes" }, made);
  }

  /**
   * What the modes of two are steered by: two selects, a range, a button.
   * @param {HTMLElement} stage
   * @param {(patch: Partial<State>) => void} go
   * @param {(text: string) => void} say
   */
  function controls(stage, go, say) {
    const a = make("select", { "aria-label": "Picture A" });
    const b = make("select", { "aria-label": "Picture B" });
    const range = make("input", { type: "range", step: 1 });
    const flip = NST.bar.button("", turn);
    const swap = NST.bar.button("⇄", exchange, "Swap the two pictures (X)");
    const node = make(
      "div",
      { class: "pair-controls" },
      make("label", {}, make("span", {}, "A"), a),
      range,
      flip,
      swap,
      make("label", {}, make("span", {}, "B"), b),
    );
    let timer = 0;
    /** @type {Partial<State>} */
    let pending = {};
    /** @type {State["mode"]} */
    let mode = "side";
    let isB = false;

    for (const select of [a, b]) select.addEventListener("change", () => go({ a: a.value, b: b.value }));
    range.addEventListener("input", () => {
      move();
      settle({ [RANGES[mode].name]: Number(range.value) });
    });
    drag(stage, () => mode === "slider", (share) => choose(share * 100));

    function exchange() {
      go({ a: b.value, b: a.value });
    }

    /** The link follows when the gesture is over: browsers refuse one that is written often. @param {Partial<State>} patch */
    function settle(patch) {
      clearTimeout(timer);
      Object.assign(pending, patch);
      timer = window.setTimeout(() => {
        timer = 0;
        const told = pending;
        pending = {};
        if (stage.isConnected) go(told);
      }, SETTLE_MS);
    }

    function turn() {
      isB = !isB;
      face();
      settle({ flipped: isB });
      say((isB ? "B: " + nameOf(b) : "A: " + nameOf(a)));
    }

    function face() {
      stage.toggleAttribute("data-b", isB);
      flip.textContent = "Show " + (isB ? "A" : "B") + " instead";
    }

    /** @param {HTMLSelectElement} select */
    const nameOf = (select) => select.selectedOptions[0]?.textContent ?? "";

    /** @param {number} value */
    function choose(value) {
      set(value);
      settle({ [RANGES[mode].name]: Number(range.value) });
    }

    /** @param {number} value */
    function set(value) {
      range.value = String(value);
      move();
    }

    function move() {
      const { property, unit } = RANGES[mode];
      stage.style.setProperty(property, range.value);
      range.setAttribute("aria-valuetext", range.value + unit);
    }

    /** @param {KeyboardEvent} event */
    function key(event) {
      const { target, shiftKey } = event;
      if (event.key === "x" || event.key === "X") exchange();
      else if (event.key === " " && mode === "flip" && !(target instanceof HTMLButtonElement)) turn();
      else if (/^Arrow(Left|Right)$/.test(event.key) && !range.hidden) {
        const step = (shiftKey ? 10 : 1) * (event.key === "ArrowLeft" ? -1 : 1);
        if (mode === "difference" && shiftKey) return false;
        choose(Number(range.value) + step);
      } else return false;
      return true;
    }

    return {
      node,
      key,
      range,
      /** @param {State["mode"]} next @param {{value: string, title: string}[]} choices @param {{a: string, b: string} & Steered} chosen */
      update(next, choices, chosen) {
        mode = next;
        node.hidden = mode === "side";
        for (const [select, value] of /** @type {const} */ ([[a, chosen.a], [b, chosen.b]])) {
          const told = choices.map((choice) => choice.value + "\n" + choice.title).join("\n");
          if (select.dataset.told !== told) {
            select.replaceChildren(...choices.map((choice) => make("option", { value: choice.value, dir: "auto" }, choice.title)));
            select.dataset.told = told;
          }
          select.value = value;
        }
        const how = RANGES[mode];
        if (!timer) isB = chosen.flipped;
        range.hidden = !how;
        flip.hidden = mode !== "flip";
        face();
        if (!how) return;
        range.min = String(how.min);
        range.max = String(how.max);
        range.setAttribute("aria-label", how.label);
        set(Number(pending[how.name] ?? chosen[how.name]));
      },
    };
  }

  /**
   * A drag over the stage tells the share of the window's width at which it is. A zoomed picture is
   * dragged itself, so there only the handle counts.
   * @param {HTMLElement} stage
   * @param {() => boolean} isOn
   * @param {(share: number) => void} tell
   */
  function drag(stage, isOn, tell) {
    let pointer = -1;
    /** @param {PointerEvent} event */
    function follow(event) {
      if (event.pointerId !== pointer) return;
      const box = /** @type {Element} */ (stage.querySelector(".window")).getBoundingClientRect();
      tell(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    }
    stage.addEventListener("pointerdown", (event) => {
      const target = /** @type {Element} */ (event.target);
      const held = target.closest(stage.hasAttribute("data-zoomed") ? ".handle" : ".window");
      if (!isOn() || !held || event.button || target.closest("button")) return;
      pointer = event.isPrimary ? event.pointerId : -1;
      if (pointer === -1) return;
      held.setPointerCapture(pointer);
      follow(event);
    });
    stage.addEventListener("pointermove", follow);
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
      stage.addEventListener(name, () => (pointer = -1));
    }
  }

  NST.modes = { LIST, INPUTS, shown, toggled, pair, layout, side, over, controls };
})();

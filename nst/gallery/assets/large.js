// @ts-check
// The large view: the pictures of a row, to be compared. All that it shows follows from the state.
(function () {
  "use strict";

  const { make } = NST.dom;

  const WHOLE = { zoom: 1, cx: 0.5, cy: 0.5 };

  /** @type {LargeView | null} */
  let opened = null;
  let turn = 0;

  /** Called after every change of the state; done when it is shown. */
  async function update() {
    const { app } = NST;
    turn++;
    if (!app.state.id) return close();
    opened ||= open(app);
    opened.zoom.update();
    await show(opened, app, turn);
  }

  /** @param {App} app @returns {LargeView} */
  function open(app) {
    const status = make("p", { class: "hidden", role: "status" });
    const stage = make("div", { class: "stage", role: "group", tabindex: 0, "aria-label": "Pictures" });
    const facts = make("div");
    const say = (/** @type {string} */ text) => {
      status.textContent = text;
    };
    const go = (/** @type {Partial<State>} */ patch) => app.go(patch, { replace: true });
    const controls = NST.modes.controls(stage, go, say);
    const rate = NST.rate.build(say);
    const bar = NST.bar.build({
      step,
      mode: setMode,
      toggle,
      zoom: (factor) => view.zoom.by(factor),
      real: () => view.zoom.toReal(),
      save,
      close: () => dialog.close(),
    });
    const dialog = make("dialog", { class: "large", "aria-labelledby": "large-title", tabindex: -1 }, bar.node, stage, controls.node, rate.node, facts, status);
    document.body.append(dialog);
    const zoom = NST.zoom.attach(stage, app, bar.zoom);
    const observer = new ResizeObserver(() => {
      NST.stage.fit(view);
      zoom.tell();
    });
    /** @type {LargeView} */
    const view = {
      app, dialog, stage, facts, bar, controls, rate, zoom, say, go, observer,
      title: document.title,
      scene: null,
      told: "",
      steered: "",
      toldFacts: "",
      pictures: new Map(),
      ahead: [],
    };
    dialog.addEventListener("close", () => {
      if (view === opened && app.state.id) app.go({ id: "", ...WHOLE });
    });
    dialog.showModal();
    dialog.focus();
    observer.observe(dialog);
    observer.observe(bar.node);
    return view;
  }

  /** Pictures without a source are the only ones that a browser frees. */
  function close() {
    if (!opened) return;
    const { dialog, pictures, observer, scene, app, title } = opened;
    opened = null;
    observer.disconnect();
    pictures.forEach((picture) => picture.drop());
    dialog.close();
    dialog.remove();
    document.title = title;
    if (scene) app.focus(scene.index);
  }

  /**
   * @param {LargeView} view
   * @param {App} app
   * @param {number} ticket
   */
  async function show(view, app, ticket) {
    const loaded = await NST.scene.load(app).catch((error) => /** @type {Error} */ (error));
    if (ticket !== turn || view !== opened) return;
    if (loaded instanceof Error) excuse(view, loaded);
    else if (loaded) render(view, loaded.scene, loaded.items);
    else {
      app.announce("This picture is not in the gallery.");
      app.go({ id: "", ...WHOLE }, { replace: true });
    }
  }

  /**
   * @param {LargeView} view
   * @param {Scene} scene
   * @param {Map<string, Item>} items
   */
  function render(view, scene, items) {
    const { app, stage, bar, facts } = view;
    const before = view.scene;
    view.scene = scene;
    const { item, ...rest } = scene;
    const { at, opacity, brightness, flipped } = app.state;
    const told = JSON.stringify(rest);
    const steered = JSON.stringify([at, opacity, brightness, flipped]);
    if (told === view.told && steered === view.steered) return;
    view.steered = steered;
    if (told === view.told) return steer(view, scene);
    view.told = told;
    bar.update(scene);
    NST.rate.show(scene);
    steer(view, scene);
    keepingFocus(view, () => {
      stage.replaceChildren(NST.stage.pictures(view, scene, items, choose));
      const shown = [...items].filter(([name]) => scene.mode !== "side" || scene.shown.includes(name));
      const toldFacts = JSON.stringify([shown.map(([, each]) => each.index), scene.all]);
      if (toldFacts === view.toldFacts) return;
      view.toldFacts = toldFacts;
      const order = shown.sort(([a], [b]) => scene.names.indexOf(a) - scene.names.indexOf(b));
      facts.replaceChildren(NST.facts.panel(app, order.map(([, each]) => each), order.map(([name]) => NST.scene.titleOf(scene, name)), scene.all));
    });
    NST.stage.fit(view);
    view.zoom.tell();
    document.title = scene.content + " × " + scene.style + ", " + NST.scene.titleOf(scene, scene.current) + " – " + view.title;
    if (before && before.index !== scene.index) view.say(scene.content + " in the style of " + scene.style + ", " + NST.scene.titleOf(scene, scene.current) + ", " + NST.bar.placeOf(scene) + (item.failed ? ", failed" : ""));
    // Where there is but one column none is marked as the current one.
    if (!before || before.current !== scene.current) stage.querySelector("[aria-current], .results .pane:only-child")?.scrollIntoView({ block: "nearest", inline: "center" });
    prefetch(view, scene);
  }

  /** @param {LargeView} view @param {Scene} scene */
  function steer({ app, controls }, scene) {
    const inputs = NST.modes.INPUTS.map((value) => ({ value, title: NST.scene.titleOf(scene, value) }));
    const choices = [...inputs, ...scene.offered.map((column) => ({ value: scene.names[column], title: scene.titles[column] }))];
    for (const value of new Set([scene.a, scene.b])) if (Object.hasOwn(scene.pinned, value)) choices.push({ value, title: scene.pinned[value] });
    const { at, opacity, brightness, flipped } = app.state;
    controls.update(scene.mode, choices, { a: scene.a, b: scene.b, at, opacity, brightness, flipped });
  }

  function save() {
    const view = opened;
    if (view) NST.save.save(view).catch((error) => view.say(error.message) ?? view.app.fail(error));
  }

  /**
   * The focus goes to the new element of the same role, else to the dialog, not to nowhere.
   * @param {LargeView} view
   * @param {() => void} change
   */
  function keepingFocus({ dialog }, change) {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const role = focused?.dataset.focus;
    change();
    if (focused?.isConnected && focused !== document.body) return;
    const next = role ? [...dialog.querySelectorAll("[data-focus]")].find((each) => /** @type {HTMLElement} */ (each).dataset.focus === role) : null;
    (/** @type {HTMLElement} */ (next ?? dialog)).focus({ preventScroll: true });
  }

  /** @param {LargeView} view @param {Error} error */
  function excuse(view, error) {
    view.told = "";
    view.stage.replaceChildren(make("div", { class: "failure", role: "alert" }, make("p", {}, error.message), NST.bar.button("Try again", update)));
  }

  /** @param {number} direction */
  async function step(direction) {
    const view = opened;
    if (!view?.scene) return;
    const { app, scene, say, go } = view;
    const line = NST.scene.nextLine(app, scene, direction);
    if (line < 0) return say(direction > 0 ? "This is the last row." : "This is the first row.");
    const ticket = ++turn;
    const item = await app.store.item(app.view.at(line, scene.column)).catch(() => null);
    if (ticket !== turn) return;
    if (item) go({ id: item.id });
    else say("The next row could not be loaded.");
  }

  /**
   * The full pictures of the next row, when there is nothing else to do.
   * @param {LargeView} view
   * @param {Scene} scene
   */
  function prefetch(view, scene) {
    const { app } = view;
    const wait = window.requestIdleCallback ?? ((/** @type {() => void} */ call) => setTimeout(call, 500));
    wait(async () => {
      const line = NST.scene.nextLine(app, scene, 1);
      if (view !== opened || view.scene !== scene || line < 0) return;
      const columns = NST.scene.panes(scene).map((name) => scene.names.indexOf(name)).filter((column) => column >= 0);
      const numbers = columns.map((column) => app.view.at(line, column)).filter((number) => number >= 0);
      const items = await Promise.all(numbers.map((number) => app.store.item(number))).catch(() => []);
      if (view !== opened || view.scene !== scene) return;
      view.ahead = items.filter((item) => item.picture && !item.failed).map((item) => {
        const image = new Image();
        image.src = String(item.picture);
        return image;
      });
    });
  }

  /** @param {State["mode"]} mode */
  function setMode(mode) {
    const view = opened;
    if (!view) return;
    view.go({ mode });
    view.say(NST.modes.LIST.find(({ name }) => name === mode)?.title ?? "");
  }

  /** Make a column the current one. @param {string} name */
  async function choose(name) {
    const view = opened;
    if (!view?.scene) return;
    const { app, scene, say, go } = view;
    const number = NST.scene.numberOf(scene, name);
    if (number < 0) return say("No picture of " + name + " in this row.");
    const ticket = ++turn;
    const item = await app.store.item(number).catch(() => null);
    if (item && ticket === turn) go({ id: item.id, a: name, ...(scene.b === name && { b: scene.a }) });
  }

  /** Add a column to those side by side, or remove it. @param {string} name */
  async function toggle(name) {
    const view = opened;
    if (!view?.scene) return;
    const { app, scene, say, go } = view;
    const show = NST.modes.toggled(scene.shown, name);
    if (!show) return say("Two to six pictures stand side by side.");
    /** @type {Partial<State>} */
    const patch = { show };
    if (name === scene.current) {
      const other = show.find((each) => NST.scene.numberOf(scene, each) >= 0);
      if (!other) return say("The only picture of this row stays.");
      const item = await app.store.item(NST.scene.numberOf(scene, other)).catch(() => null);
      if (!item) return;
      patch.id = item.id;
    }
    go(patch);
    say(name + (show.includes(name) ? " added." : " removed."));
  }

  /**
   * Keys while the view is open; tells whether one was used.
   * @param {KeyboardEvent} event
   */
  function key(event) {
    const view = opened;
    const target = /** @type {HTMLElement} */ (event.target);
    if (!view?.scene || target.closest("dialog") !== view.dialog || target.matches("select, option")) return false;
    const isUsed = used(view, event, target);
    if (isUsed) event.preventDefault();
    return isUsed;
  }

  /**
   * @param {LargeView} view
   * @param {KeyboardEvent} event @param {HTMLElement} target
   */
  function used(view, event, target) {
    const scene = /** @type {Scene} */ (view.scene);
    // Some keyboards have the brackets behind AltGr, which is Ctrl and Alt.
    const bracket = { "[": -1, "]": 1 }[event.key];
    if (bracket && !event.metaKey) {
      step(bracket);
      return true;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (NST.rate.key(event, view.say)) return true;
    const digit = /^Digit([1-9])$/.exec(event.code) ?? /^([1-9])$/.exec(event.key);
    if (digit) {
      const name = scene.names[Number(digit[1]) - 1];
      if (name !== undefined) (event.shiftKey ? toggle : choose)(name);
      return true;
    }
    const mode = NST.modes.LIST.find((each) => each.key === event.key.toLowerCase());
    if (mode && !event.shiftKey) {
      setMode(mode.name);
      return true;
    }
    if (event.key === "?") {
      NST.help.show();
      return true;
    }
    if (event.key === "w") {
      save();
      return true;
    }
    const isThrough = (scene.mode === "side" || scene.mode === "flip") && view.app.state.zoom <= 1 && !target.matches("input, .facts-scroll");
    const sideways = { ",": -1, ".": 1, ...(isThrough && { ArrowLeft: -1, ArrowRight: 1 }) }[event.key];
    if (sideways) {
      const name = NST.scene.nextColumn(scene, scene.current, sideways);
      if (name) choose(name);
      else view.say(sideways > 0 ? "This is the last column." : "This is the first column.");
      return true;
    }
    // A range moves by itself, and what can be scrolled scrolls.
    const isOwn = target.matches("input") ? !event.shiftKey : target.matches(".facts-scroll");
    if (event.key.startsWith("Arrow") && isOwn) return false;
    return view.zoom.key(event) || (scene.mode !== "side" && view.controls.key(event));
  }

  NST.large = { update, key };
})();

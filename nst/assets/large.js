// @ts-check
// The large view: the pictures of a row, to be compared. All that it shows follows from the state.
(function () {
  "use strict";

  const { make } = NST.dom;

  // Of the figures, so that it is seen that there are some.
  const PEEK_PX = 88;
  const MIN_STAGE_PX = 260;
  const GAP_PX = 20;
  const CAPTION_PX = 40;
  const WHOLE = { zoom: 1, cx: 0.5, cy: 0.5 };
  const NARROW = "(max-width: 40rem)";

  /** @type {LargeView | null} */
  let opened = null;
  let turn = 0;

  /** Called after every change of the state. */
  function update() {
    const { app } = NST;
    turn++;
    if (!app.state.id) return close();
    opened ||= open(app);
    opened.zoom.update();
    show(opened, app, turn).catch(app.fail);
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
    const bar = NST.bar.build({
      step,
      mode: setMode,
      toggle,
      zoom: (factor) => view.zoom.by(factor),
      close: () => dialog.close(),
    });
    const dialog = make("dialog", { class: "large", "aria-labelledby": "large-title", tabindex: -1 }, bar.node, stage, controls.node, facts, status);
    document.body.append(dialog);
    const zoom = NST.zoom.attach(stage, app, bar.zoom);
    const observer = new ResizeObserver(() => fit(view));
    /** @type {LargeView} */
    const view = {
      app, dialog, stage, facts, bar, controls, zoom, say, go, observer,
      title: document.title,
      scene: null,
      told: "",
      toldFacts: "",
      pictures: new Map(),
      ahead: [],
    };
    dialog.addEventListener("close", () => {
      if (app.state.id) app.go({ id: "", ...WHOLE });
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
    const loaded = await load(app).catch((error) => /** @type {Error} */ (error));
    if (ticket !== turn || view !== opened) return;
    if (loaded instanceof Error) excuse(view, loaded);
    else if (loaded) render(view, loaded.scene, loaded.items);
    else {
      app.announce("This picture is not in the gallery.");
      app.go({ id: "", ...WHOLE }, { replace: true });
    }
  }

  /** The scene with the items that it shows. @param {App} app */
  async function load(app) {
    const scene = await sceneOf(app);
    if (!scene) return null;
    const items = new Map([[scene.current, scene.item]]);
    await Promise.all(
      panes(scene).map(async (name) => {
        const number = numberOf(scene, name);
        if (number >= 0) items.set(name, await app.store.item(number));
      }),
    );
    const { width = 3, height = 2 } = [...items.values()].find((item) => item.width && item.height) ?? {};
    return { scene: { ...scene, ratio: width / height }, items };
  }

  /** @param {Scene} scene */
  const panes = (scene) => (scene.mode === "side" ? scene.shown : [scene.a, scene.b]);

  /** @param {Scene} scene @param {string} name of a column */
  const numberOf = ({ names, numbers }, name) => numbers[names.indexOf(name)] ?? -1;

  /** @param {Scene} scene @param {string} name of a column */
  const titleOf = ({ names, titles }, name) => titles[names.indexOf(name)] ?? name;

  /**
   * What the state asks for; null where its picture is not there.
   * @param {App} app
   * @returns {Promise<Scene | null>}
   */
  async function sceneOf(app) {
    const { state, store, view } = app;
    const index = await store.find(state.id);
    if (index < 0) return null;
    const item = await store.item(index);
    const where = app.whereIs(index);
    const { full, short } = NST.format;
    // A picture that the selection leaves out stands alone.
    const values = where ? view.columns : [item.get(state.x)];
    const names = values.map(full);
    const numbers = where ? names.map((_, column) => view.at(where.line, column)) : [index];
    const current = where ? names[where.column] : names[0];
    const present = names.filter((_, column) => numbers[column] >= 0);
    return {
      index, item, names, numbers, current,
      titles: values.map(app.columnTitle),
      line: where ? where.line : -1,
      column: where ? where.column : 0,
      numLines: view.numLines,
      mode: state.mode,
      shown: NST.modes.shown(state.show, names, present, current),
      ...NST.modes.pair(state, names, current),
      all: state.all,
      ratio: 0,
      columnTitle: store.field(state.x)?.title ?? state.x,
      content: item.content.name,
      style: item.styles.map((style) => style.name).join(" + "),
      facts: state.y
        .filter((name) => !NST.modes.INPUTS.includes(name))
        .map((name) => (store.field(name)?.title ?? name) + " " + short(item.get(name))),
    };
  }

  /**
   * @param {LargeView} view
   * @param {Scene} scene
   * @param {Map<string, Item>} items
   */
  function render(view, scene, items) {
    const { app, stage, bar, controls, facts } = view;
    const before = view.scene;
    view.scene = scene;
    const { item, ...rest } = scene;
    const told = JSON.stringify(rest);
    if (told === view.told) return;
    view.told = told;
    bar.update(scene);
    const choices = [...NST.modes.INPUTS, ...scene.names].map((value) => ({ value, title: titleOf(scene, value) }));
    controls.update(scene.mode, choices, scene);
    keepingFocus(view, () => {
      stage.replaceChildren(pictures(view, scene, items));
      const shown = [...items].filter(([name]) => scene.mode !== "side" || scene.shown.includes(name));
      const toldFacts = JSON.stringify([shown.map(([, each]) => each.index), scene.all]);
      if (toldFacts === view.toldFacts) return;
      view.toldFacts = toldFacts;
      const order = shown.sort(([a], [b]) => scene.names.indexOf(a) - scene.names.indexOf(b));
      facts.replaceChildren(NST.facts.panel(app, order.map(([, each]) => each), order.map(([name]) => titleOf(scene, name)), scene.all));
    });
    fit(view);
    document.title = scene.content + " × " + scene.style + ", " + titleOf(scene, scene.current) + " – " + view.title;
    if (before && before.index !== scene.index) view.say(scene.content + " in the style of " + scene.style + ", " + titleOf(scene, scene.current) + (item.failed ? ", failed" : ""));
    if (!before || before.current !== scene.current) stage.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    prefetch(view, scene);
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

  /**
   * @param {LargeView} view
   * @param {Scene} scene
   * @param {Map<string, Item>} items
   */
  function pictures(view, scene, items) {
    const { app } = view;
    /** @type {Map<string, Picture>} */
    const used = new Map();
    /** @param {string} key @param {() => Picture} make */
    const take = (key, make) => {
      const picture = view.pictures.get(key) ?? make();
      used.set(key, picture);
      return picture;
    };
    /** @param {string} kind @param {Preview} preview @param {string} slot @returns {Pane} */
    const input = (kind, preview, slot) => ({
      picture: take(kind + slot + preview.large + preview.title, () => NST.picture.ofInput(preview, kind)),
      caption: caption(kind, preview),
      isStyle: kind === "style",
      current: false,
    });
    /** @param {string} name @param {string} slot @returns {Pane} */
    const pane = (name, slot) => {
      if (name === "content" && !scene.names.includes(name)) return input(name, scene.item.content, slot);
      if (name === "style" && !scene.names.includes(name)) return input(name, scene.item.styles[0], slot);
      const item = items.get(name);
      return {
        picture: item ? take("item" + slot + item.index, () => NST.picture.ofItem(app, item)) : NST.picture.none("No picture in this row."),
        caption: result(view, name, item, scene),
        isStyle: false,
        current: name === scene.current && scene.names.length > 1,
      };
    };
    const made =
      scene.mode === "side"
        ? NST.modes.side(
            [input("content", scene.item.content, ""), ...scene.item.styles.map((style) => input("style", style, ""))],
            scene.shown.map((name) => pane(name, "")),
          )
        : NST.modes.over(scene.mode, pane(scene.a, ""), pane(scene.b, scene.a === scene.b ? "2" : ""));
    view.pictures.forEach((picture, key) => used.has(key) || picture.drop());
    view.pictures = used;
    return made;
  }

  /** @param {string} kind @param {Preview} preview */
  function caption(kind, preview) {
    return make("figcaption", { title: preview.title }, make("span", {}, kind + " "), make("bdi", {}, preview.name));
  }

  /**
   * @param {LargeView} view
   * @param {string} name @param {Item | undefined} item @param {Scene} scene
   */
  function result(view, name, item, scene) {
    const title = titleOf(scene, name);
    const label = make(scene.names.length > 1 && item ? "button" : "span", { class: "plain", "data-focus": "column " + name }, make("bdi", {}, title));
    if (label.matches("button")) label.addEventListener("click", () => choose(name));
    const made = make("figcaption", {}, label);
    if (!item?.picture || item.failed) return made;
    const size = item.width + " × " + item.height;
    made.append(make("span", {}, size), make("a", { href: item.picture, download: true, "aria-label": "Download " + title + ", " + size }, "Download"));
    return made;
  }

  /** As large as the window allows: told to the style sheet. @param {LargeView} view */
  function fit({ dialog, stage, bar, controls, scene }) {
    if (!scene) return;
    const style = getComputedStyle(stage);
    const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const steered = controls.node.hidden ? 0 : controls.node.offsetHeight;
    const height = Math.max(MIN_STAGE_PX, dialog.clientHeight - bar.node.offsetHeight - steered - PEEK_PX);
    const set = (/** @type {string} */ name, /** @type {string} */ value) => stage.style.setProperty(name, value);
    const { ratio } = scene;
    set("--ratio", String(ratio));
    if (scene.mode !== "side") return set("--h", height - CAPTION_PX + "px");
    // One picture a swipe, with the next one's edge in sight.
    if (matchMedia(NARROW).matches) return set("--h", Math.floor(Math.min(height, (width * 0.88) / ratio)) + "px");
    const rail = /** @type {HTMLElement | null} */ (stage.querySelector(".rail"));
    const count = scene.shown.length;
    const room = { width: width - (rail ? rail.offsetWidth + GAP_PX : 0), height, gap: GAP_PX, caption: CAPTION_PX };
    const best = NST.modes.layout(count, ratio, room);
    const rows = Math.ceil(count / best.columns);
    const used = rows * (best.height + CAPTION_PX) + (rows - 1) * GAP_PX;
    const inputs = rail ? rail.children.length : 1;
    set("--columns", String(best.columns));
    set("--h", best.height + "px");
    set("--rail-h", Math.floor((Math.max(used, MIN_STAGE_PX) - GAP_PX * (inputs - 1)) / inputs - CAPTION_PX) + "px");
  }

  /** @param {LargeView} view @param {Error} error */
  function excuse(view, error) {
    view.told = "";
    view.stage.replaceChildren(make("div", { class: "failure", role: "alert" }, make("p", {}, error.message), NST.bar.button("Try again", update)));
  }

  /**
   * The number of the item that is next in the current column, -1 where there is none.
   * @param {App} app @param {Scene} scene @param {number} direction
   */
  function nextLine({ view }, { line, column }, direction) {
    for (let next = line + direction; line >= 0 && next >= 0 && next < view.numLines; next += direction) {
      if (view.at(next, column) >= 0) return next;
    }
    return -1;
  }

  /** @param {number} direction */
  async function step(direction) {
    const view = opened;
    if (!view?.scene) return;
    const { app, scene, say, go } = view;
    const line = nextLine(app, scene, direction);
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
      const line = nextLine(app, scene, 1);
      if (view !== opened || view.scene !== scene || line < 0) return;
      const columns = panes(scene).map((name) => scene.names.indexOf(name)).filter((column) => column >= 0);
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
    const number = numberOf(scene, name);
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
      const other = show.find((each) => numberOf(scene, each) >= 0);
      if (!other) return say("The only picture of this row stays.");
      const item = await app.store.item(numberOf(scene, other)).catch(() => null);
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
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
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
    // A range moves by itself, and what can be scrolled scrolls.
    const isOwn = target.matches("input") ? !event.shiftKey : target.matches(".facts-scroll");
    if (event.key.startsWith("Arrow") && isOwn) return false;
    return view.zoom.key(event) || (scene.mode !== "side" && view.controls.key(event));
  }

  NST.large = { update, key };
})();

// @ts-check
// What the large view shows: follows from the state, and from nothing else.
(function () {
  "use strict";

  // A button and two choices for each of thousands of columns would take the page seconds.
  const MAX_OFFERED = 100;

  /** The scene with the items that it shows. @param {App} app */
  async function load(app) {
    const scene = await sceneOf(app);
    if (!scene) return null;
    const items = new Map([[scene.current, scene.item]]);
    await Promise.all(
      panes(scene).map(async (name) => {
        const number = name.startsWith(NST.compare.PINNED) && !scene.names.includes(name) ? await app.store.find(name.slice(NST.compare.PINNED.length)) : numberOf(scene, name);
        if (number >= 0) items.set(name, await app.store.item(number));
      }),
    );
    for (const [name, item] of items) if (!scene.names.includes(name)) scene.pinned[name] = titleOfItem(app, item);
    const { width = 3, height = 2 } = [...items.values()].find((item) => item.width && item.height) ?? {};
    return { scene: { ...scene, ratio: width / height }, items };
  }

  /** @param {Scene} scene */
  const panes = (scene) => (scene.mode === "side" ? scene.shown : [scene.a, scene.b]);

  /** @param {Scene} scene @param {string} name of a column */
  const numberOf = ({ names, numbers }, name) => numbers[names.indexOf(name)] ?? -1;

  /** @param {Scene} scene @param {string} name of a column, or of a picture that stays */
  const titleOf = ({ names, titles, pinned }, name) => titles[names.indexOf(name)] ?? (Object.hasOwn(pinned, name) ? pinned[name] : name);

  /** @param {App} app @param {Item} item */
  const titleOfItem = (app, item) => item.content.name + " × " + item.styles.map((style) => style.name).join(" + ") + ", " + app.columnTitle(item.get(app.state.x));

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
    const numbers = where ? names.map(() => -1) : [index];
    if (where) for (let i = view.lines[where.line]; i < view.lines[where.line + 1]; i++) numbers[view.places[i]] = view.items[i];
    const current = where ? names[where.column] : names[0];
    const present = names.filter((_, column) => numbers[column] >= 0);
    const shown = NST.modes.shown(state.show, names, present, current);
    const pair = NST.modes.pair(state, names, current);
    return {
      index, item, names, numbers, current,
      titles: values.map(app.columnTitle),
      line: where ? where.line : -1,
      column: where ? where.column : 0,
      numLines: view.numLines,
      mode: state.mode,
      shown,
      ...pair,
      offered: offered(names, numbers, [...shown, pair.a, pair.b]),
      all: state.all,
      pinned: {},
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
   * The columns that can be chosen: all of them, or of very many the first that have an item in this
   * row, and those that are chosen.
   * @param {string[]} names @param {number[]} numbers @param {string[]} chosen
   */
  function offered(names, numbers, chosen) {
    const columns = names.map((_, column) => column);
    if (names.length <= MAX_OFFERED) return columns;
    const first = new Set(columns.filter((column) => numbers[column] >= 0).slice(0, MAX_OFFERED));
    return columns.filter((column) => first.has(column) || chosen.includes(names[column]));
  }

  /**
   * The next line that has an item in the current column, -1 where there is none.
   * @param {App} app @param {Scene} scene @param {number} direction
   */
  function nextLine({ view }, { line, column }, direction) {
    for (let next = line + direction; line >= 0 && next >= 0 && next < view.numLines; next += direction) {
      if (view.at(next, column) >= 0) return next;
    }
    return -1;
  }

  /**
   * The column before or behind the one of `name` that has an item in this line, "" where there is none.
   * @param {Scene} scene @param {string} name @param {number} direction
   */
  function nextColumn({ names, numbers }, name, direction) {
    for (let next = names.indexOf(name) + direction; next >= 0 && next < names.length; next += direction) {
      if (numbers[next] >= 0) return names[next];
    }
    return "";
  }

  NST.scene = { nextColumn, load, nextLine, numberOf, panes, titleOf };
})();

// @ts-check
// The state of the page, what follows from it, and the history of both.
(function () {
  "use strict";

  // After whatever the reader does first.
  const AHEAD_MS = 1000;
  const FOR_VIEW = /** @type {const} */ (["x", "y", "q", "sort", "layout"]);
  const SIGNS = ["pointermove", "touchstart", "keydown", "focusin", "wheel"];
  const CONTROLS = "#controls, #about, #clear, .panel";
  /** @type {Query} */
  const ALL = { terms: [], problems: [] };

  async function start() {
    const root = document.documentElement;
    const store = await NST.store.open(String(root.dataset.spine));
    const { spine } = store;
    /** @type {ReturnType<NSTNamespace["toolbar"]["open"]> | null} */
    let toolbar = null;
    /** @type {Promise<void> | null} */
    let controls = null;
    /** @type {Promise<void> | null} */
    let large = null;
    /** @type {Promise<void> | null} */
    let tools = null;
    /** @type {Column | null} */
    let sortedBy = null;
    /** @type {() => View} */
    let unfiltered = () => app.view;
    /** @type {View | null} */
    let whole = null;
    let places = new Int32Array(0);
    let turn = 0;
    let viewOf = "";
    let opinionsOf = 0;
    let ready = 0;

    /** @type {App} */
    const app = {
      store,
      state: NST.link.defaults(spine),
      view: /** @type {any} */ (null),
      problems: [],
      go(patch, options = {}) {
        if (!toolbar) return app.controls().then(() => app.go(patch, options), app.fail);
        const before = app.state;
        app.state = { ...before, ...patch };
        if (FOR_VIEW.some((name) => name in patch)) Object.assign(app.state, { page: 1, left: 0 }, patch);
        const link = NST.link.write(app.state, spine);
        const url = link || location.pathname + location.search;
        if (link !== NST.link.write(before, spine)) {
          try {
            history[options.replace ? "replaceState" : "pushState"](null, "", url);
          } catch {
            // Safari and Firefox refuse the hundredth within seconds; the next one tells all of the state.
          }
        }
        return refresh();
      },
      open(index) {
        return store.item(index).then((item) => app.go({ id: item.id }), app.fail);
      },
      whereIs(index) {
        const { view } = app;
        const at = view.items.indexOf(index);
        return at < 0 ? null : { line: NST.pivot.rowOf(view.lines, at), column: view.places[at] };
      },
      columnTitle(value) {
        const field = store.field(app.state.x);
        const title = field?.title ?? app.state.x;
        if (value === null) return "no " + title;
        if (field?.role === "input") return NST.format.readable(String(value));
        return field?.role === "backbone" || field?.role === "run" ? String(value) : title + " " + NST.format.short(value);
      },
      isUsual() {
        const usual = NST.link.defaults(spine);
        const { x, y, q, sort, page, left, size, layout } = app.state;
        return JSON.stringify([x, y, q, sort, page, left, size, layout]) === JSON.stringify([usual.x, usual.y, "", "", 1, 0, usual.size, usual.layout]);
      },
      sortedBy: () => sortedBy,
      rowOf(item) {
        if (!whole) {
          whole = unfiltered();
          places = new Int32Array(store.spine.num_items);
          whole.items.forEach((each, at) => (places[each] = at));
        }
        const { rows, lines, items, columns } = whole;
        const row = NST.pivot.rowOf(rows, NST.pivot.rowOf(lines, places[item]));
        const [from, to] = [lines[rows[row]], lines[rows[row + 1]]];
        const values = Array.from(whole.places.subarray(from, to), (place) => columns[place]);
        return { items: items.subarray(from, to), columns: new Set(values) };
      },
      announce(text) {
        const live = document.getElementById("live");
        if (live) live.textContent = text;
      },
      fail(error) {
        const note = document.getElementById("problem");
        if (!note) return;
        note.textContent = error.message;
        note.hidden = false;
      },
      controls() {
        return (controls ||= bundle(root.dataset.controls, root.dataset.controlsCss).then(
          () => {
            toolbar = NST.toolbar.open(app);
            if (app.view) toolbar.update();
          },
          (error) => {
            controls = null;
            throw error;
          },
        ));
      },
      more() {
        return (large ||= bundle(root.dataset.large, root.dataset.largeCss).catch((error) => {
          large = null;
          throw error;
        }));
      },
      tools() {
        return (tools ||= bundle(root.dataset.tools, root.dataset.toolsCss).catch((error) => {
          tools = null;
          throw error;
        }));
      },
      focus(index) {
        const at = grid.whereIs(index);
        if (!at) return;
        const page = Math.floor(at.line / grid.pageLines) + 1;
        const isShown = grid.columns().includes(at.column);
        if (page !== grid.page() || !isShown) {
          app.go({ page, left: isShown ? app.state.left : at.column }, { replace: true }).then(() => grid.focus(at.line, at.column));
        } else grid.focus(at.line, at.column);
      },
      grid: /** @type {any} */ (null),
    };
    NST.app = app;
    const grid = (app.grid = NST.grid.open(app));

    /** Make the page show the state; a state that comes meanwhile takes over. */
    async function refresh() {
      const mine = ++turn;
      try {
        // What was typed or chosen is on screen first.
        if (app.view) await painted();
        if (mine !== turn) return;
        await lookAgain(mine);
        if (mine !== turn) return;
        grid.update();
        toolbar?.update();
        if (app.state.plot && !NST.plot) await app.tools();
        if (mine === turn && NST.plot?.update()) grid.update();
        if (app.state.id && !NST.large) await app.more();
        if (mine === turn && NST.large) await NST.large.update();
      } catch (error) {
        app.fail(/** @type {Error} */ (error));
      }
      root.dataset.ready = String(++ready);
    }

    /** @param {number} mine */
    async function lookAgain(mine) {
      const { x, y, q, sort, layout } = app.state;
      const query = q ? NST.query.parse(q, store.fields) : ALL;
      const names = q ? NST.query.fieldsOf(query, store.fields) : [];
      const isOwn = [...names, sort.replace(/^-/, "")].some((name) => store.field(name)?.own);
      // While a picture is open, what is said of it takes it out of no row.
      if (!app.state.id || !app.view) opinionsOf = NST.opinions.version();
      const wanted = JSON.stringify([x, y, q, sort, layout, isOwn && opinionsOf]);
      if (wanted === viewOf) return;
      const isUsual = x === spine.column && String(y) === String(spine.row);
      const axes = isUsual ? [] : [x, ...y];
      const by = sort.replace(/^-/, "");
      const needed = [...new Set([...names, ...axes, ...(by ? [by] : [])])];
      const loaded = await Promise.all(needed.map((name) => store.column(name)));
      if (mine !== turn) return;
      const columns = new Map(needed.map((name, i) => [name, loaded[i]]));
      const column = (/** @type {string} */ name) => /** @type {Column} */ (columns.get(name));
      const mask = query.terms.length ? NST.query.mask(query, columns, store.fields, spine.num_items) : null;
      const order = x === spine.column ? /** @type {Value[]} */ (spine.columns.filter((value) => value !== null)) : undefined;
      const laid = (/** @type {Uint8Array | null} */ some) => (isUsual ? NST.pivot.initial(spine, some) : NST.pivot.pivot(y.map(column), column(x), some, order));
      const view = laid(mask);
      sortedBy = by ? column(by) : null;
      app.view = sortedBy ? NST.pivot.sorted(view, sortedBy, sort.startsWith("-")) : view;
      // Made only where somebody asks what a filter hides.
      unfiltered = () => (mask ? laid(null) : view);
      whole = null;
      app.problems = query.problems;
      viewOf = wanted;
    }

    const follow = async () => {
      await app.controls();
      app.state = NST.link.parse(location.hash, spine);
      refresh();
    };
    window.addEventListener("popstate", follow);
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      if (isPrint(event) && !app.state.id) {
        event.preventDefault();
        app.more().then(() => NST.export.print(app)).catch(app.fail);
      } else if (!toolbar) app.controls().then(() => pressed(event)).catch(app.fail);
      else if (app.state.id && NST.large?.key(event)) event.preventDefault();
      else if (app.state.id) return;
      else if (NST.compare.key(app, event) || NST.opinions.key(event)) event.preventDefault();
      else toolbar.key(event);
    };
    document.addEventListener("keydown", pressed);
    for (const kind of ["click", "input", "change"]) document.addEventListener(kind, wait, true);
    for (const sign of SIGNS) window.addEventListener(sign, ahead, { once: true, passive: true });
    // Else the browser would send it.
    document.getElementById("controls")?.addEventListener("submit", (event) => event.preventDefault());
    root.dataset.theme = theme();
    if (location.hash || app.state.layout === "wall") {
      await app.controls();
      app.state = NST.link.parse(location.hash, spine);
    }
    await refresh();

    /** What is done to the controls before their script has come is done again then. @param {Event} event */
    function wait(event) {
      const target = /** @type {HTMLElement} */ (event.target);
      if (toolbar || !target.closest(CONTROLS)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const { value } = /** @type {HTMLInputElement} */ (target);
      const again = () => {
        if (event.type === "click") return target.click();
        // Which the controls have set to what the page shows.
        Object.assign(target, { value });
        target.dispatchEvent(new Event(event.type, { bubbles: true }));
      };
      app.controls().then(again, app.fail);
    }

    /** The browser's own menu prints at once: what lays out the paper is there before. */
    function ahead() {
      app.controls().catch(app.fail);
      setTimeout(() => app.more().catch(() => {}), AHEAD_MS);
    }
  }

  /** What the reader chose on an earlier visit, else nothing. */
  function theme() {
    try {
      return localStorage.getItem("nst-gallery-theme") ?? "";
    } catch {
      // A sandboxed page has no storage, and forgets.
      return "";
    }
  }

  /** @param {KeyboardEvent} event */
  const isPrint = (event) => (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "p";

  /** When the browser has painted, or would not, as in a hidden tab. @returns {Promise<void>} */
  const painted = () =>
    new Promise((resolve) => {
      requestAnimationFrame(() => setTimeout(resolve));
      setTimeout(resolve, 100);
    });

  /** A script and its style sheet, to be used from then on. @param {string | undefined} script @param {string | undefined} sheet */
  async function bundle(script, sheet) {
    await Promise.all([
      arrived(NST.dom.make("link", { rel: "stylesheet", href: sheet })),
      arrived(NST.dom.make("script", { src: script })),
    ]);
  }

  /** Put a part of the page into it. @param {HTMLScriptElement | HTMLLinkElement} element @returns {Promise<void>} */
  function arrived(element) {
    return new Promise((resolve, reject) => {
      element.onload = () => resolve();
      element.onerror = () => {
        element.remove();
        reject(new Error("expected a file of the gallery beside the page, found none; reload the page"));
      };
      document.head.append(element);
    });
  }

  start().catch((error) => {
    const note = document.getElementById("problem");
    if (note) {
      note.textContent = error.message;
      note.hidden = false;
    }
  });
})();

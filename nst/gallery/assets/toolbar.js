// @ts-check
// The controls above the table: search, axes, order, filters, size, and what lies under the menu.
(function () {
  "use strict";

  const THEME = "nst-gallery-theme";

  /** @param {App} app */
  function open(app) {
    const { make } = NST.dom;
    const { store } = app;
    const varied = store.fields.filter((field) => field.hash);
    const search = /** @type {HTMLInputElement} */ (byId("search"));
    const x = /** @type {HTMLSelectElement} */ (byId("x"));
    const sort = /** @type {HTMLSelectElement} */ (byId("sort"));
    const direction = byId("direction");
    let said = "";

    const layout = /** @type {HTMLSelectElement} */ (byId("layout"));
    const axes = varied.filter((field) => field.axis);
    const main = store.field(store.spine.column);
    if (main && !axes.includes(main)) axes.unshift(main);
    x.replaceChildren(...axes.map((field) => make("option", { value: field.name }, field.title)));
    sort.replaceChildren(
      make("option", { value: "" }, "manifest order"),
      ...varied.filter((field) => field.role !== "identity").map((field) => make("option", { value: field.name }, field.title)),
    );

    search.addEventListener("input", () => app.go({ q: search.value }, { replace: true }));
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        app.grid.focus(0, app.grid.columns()[0]);
      }
    });
    x.addEventListener("change", () => {
      // A field makes columns or rows; what it leaves takes its place.
      const y = app.state.y.map((name) => (name === x.value ? app.state.x : name));
      app.go({ x: x.value, y: app.state.y.includes(x.value) ? y : app.state.y });
    });
    sort.addEventListener("change", () => {
      const better = store.field(sort.value)?.better;
      app.go({ sort: sort.value && (better === 1 ? "-" : "") + sort.value });
    });
    direction.addEventListener("click", () => {
      const name = app.state.sort.replace(/^-/, "");
      if (name) app.go({ sort: app.state.sort.startsWith("-") ? name : "-" + name });
    });
    for (const button of document.querySelectorAll('input[name="size"]')) {
      button.addEventListener("change", () =>
        app.go({ size: /** @type {any} */ (button).value }, { replace: true }),
      );
    }
    layout.addEventListener("change", () => app.go({ layout: /** @type {any} */ (layout.value) }));
    byId("plot").addEventListener("click", () => app.go({ plot: !app.state.plot }));
    byId("about").addEventListener("click", () => app.tools().then(() => NST.about.show(app), app.fail));
    byId("failures").addEventListener("click", () =>
      app.go({ q: NST.query.toggled(app.state.q, "status", "failed") }),
    );
    byId("controls").addEventListener("reset", () => app.go({ q: "" }));
    placed("rows", rowsPanel);
    placed("filters", filtersPanel);
    placed("menu", () => {});
    placed("judging", (panel) => {
      app.more().then(() => {
        NST.judging.fill(app, panel);
        panel.querySelector("button")?.focus();
      }, app.fail);
    });
    on("csv", () => app.more().then(() => NST.export.csv(app)));
    on("print", () => app.more().then(() => NST.export.print(app)));
    on("help", () => app.more().then(() => NST.help.show()));
    on("copy", copyLink);
    on("clear", () => app.go({ q: "" }));
    theme();

    /** @param {string} id @param {() => unknown} action */
    function on(id, action) {
      byId(id).addEventListener("click", () => {
        const menu = byId("menu");
        if (menu.matches(":popover-open")) menu.hidePopover();
        Promise.resolve(action()).catch(app.fail);
      });
    }

    /** Fill a panel when it opens, below its button. @param {string} id @param {(panel: HTMLElement) => void} fill */
    function placed(id, fill) {
      const panel = byId(id);
      const button = /** @type {HTMLElement} */ (document.querySelector('[popovertarget="' + id + '"]'));
      panel.addEventListener("beforetoggle", (event) => {
        if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
        fill(panel);
        const box = button.getBoundingClientRect();
        panel.style.top = box.bottom + 6 + "px";
        panel.style.left = "0px";
      });
      panel.addEventListener("toggle", (event) => {
        const isOpen = /** @type {ToggleEvent} */ (event).newState === "open";
        button.setAttribute("aria-expanded", String(isOpen));
        if (!isOpen) return;
        const box = button.getBoundingClientRect();
        const room = document.documentElement.clientWidth - panel.offsetWidth - 8;
        panel.style.left = Math.max(8, Math.min(box.left, room)) + "px";
        panel.style.maxHeight = "calc(100dvh - " + (box.bottom + 14) + "px)";
        /** @type {HTMLElement | null} */ (panel.querySelector("input, button, summary"))?.focus();
      });
    }

    /** @param {HTMLElement} panel */
    function rowsPanel(panel) {
      const chosen = new Set(app.state.y);
      panel.replaceChildren(
        make("p", { class: "note" }, "A row for each set of"),
        ...varied
          .filter((field) => field.axis && field.name !== app.state.x)
          .map((field) => {
            const box = make("input", { type: "checkbox", checked: chosen.has(field.name) });
            box.addEventListener("change", () => {
              if (box.checked) chosen.add(field.name);
              else chosen.delete(field.name);
              const y = store.fields.map((each) => each.name).filter((name) => chosen.has(name));
              if (y.length) app.go({ y });
              else box.checked = !!chosen.add(field.name);
            });
            return make("label", {}, box, field.title);
          }),
      );
    }

    /** @param {HTMLElement} panel */
    function filtersPanel(panel) {
      if (NST.filters) NST.filters.fill(app, panel);
      else panel.replaceChildren(make("p", { class: "note", role: "status" }, "Loading …"));
      app.tools().then(() => {
        if (!panel.matches(":popover-open") || panel.querySelector("details")) return;
        NST.filters.fill(app, panel);
        /** @type {HTMLElement | null} */ (panel.querySelector("summary"))?.focus();
      }, app.fail);
    }

    async function copyLink() {
      try {
        await navigator.clipboard.writeText(location.href);
        app.announce("Link copied");
      } catch {
        // Not every browser lets a page from a disk write to the clipboard.
        app.fail(new Error("this browser does not let the page copy; the link is the page's address"));
      }
    }

    function theme() {
      const root = document.documentElement;
      /** @type {string | null} */
      let chosen = null;
      try {
        chosen = localStorage.getItem(THEME);
      } catch {
        // A sandboxed page has no storage, and forgets.
      }
      for (const each of document.querySelectorAll('input[name="theme"]')) {
        const box = /** @type {HTMLInputElement} */ (each);
        box.checked = box.value === (chosen ?? "");
        box.addEventListener("change", () => {
          root.dataset.theme = box.value;
          try {
            localStorage.setItem(THEME, box.value);
          } catch {
            // As above.
          }
        });
      }
    }

    function update() {
      const { state, view } = app;
      if (search.value !== state.q) search.value = state.q;
      layout.value = state.layout;
      byId("plot").setAttribute("aria-pressed", String(state.plot));
      chosen(x, state.x);
      chosen(sort, state.sort.replace(/^-/, ""));
      direction.textContent = state.sort.startsWith("-") ? "↓" : "↑";
      direction.title = state.sort.startsWith("-") ? "largest first" : "smallest first";
      /** @type {any} */ (direction).disabled = !state.sort;
      for (const each of document.querySelectorAll('input[name="size"]')) {
        const box = /** @type {HTMLInputElement} */ (each);
        box.checked = box.value === state.size;
      }
      const isOnlyFailures = NST.query.has(state.q, "status", "failed");
      byId("failures").setAttribute("aria-pressed", String(isOnlyFailures));
      byId("rows-button").textContent = state.y.map((name) => store.field(name)?.title ?? name).join(" × ");
      counts();
      byId("nothing").hidden = view.numLines > 0 || !view.total;
      const problem = byId("query-problem");
      problem.textContent = app.problems.join("; ");
      problem.hidden = !app.problems.length;
      pager();
    }

    /** Choose what a link asks for, of a field too that is not offered. @param {HTMLSelectElement} select @param {string} name */
    function chosen(select, name) {
      select.value = name;
      if (select.value === name) return;
      select.append(make("option", { value: name }, store.field(name)?.title ?? name));
      select.value = name;
    }

    function counts() {
      const { view } = app;
      const { count } = NST.format;
      const hidden = view.total - view.shown;
      const text =
        "Showing " + view.shown.toLocaleString("en") + " of " + count(view.total, "result") + " in " + count(view.numRows, "row") +
        (hidden ? ", " + hidden.toLocaleString("en") + " hidden by the search" : "");
      byId("counts").textContent = text;
      if (said && said !== text) app.announce(text);
      said = text;
    }

    function pager() {
      const { grid } = app;
      const from = (grid.page() - 1) * grid.pageLines;
      const columns = grid.columns();
      const lines = turn("Rows", from, Math.min(grid.numLines(), from + grid.pageLines), grid.numLines(), grid.page() > 1 && { page: grid.page() - 1 }, grid.page() < grid.pages() && { page: grid.page() + 1 });
      const { length } = columns;
      const wide = turn("Columns", columns[0], columns[0] + length, grid.numColumns(), columns[0] > 0 && { left: Math.max(0, columns[0] - length) }, columns[0] + length < grid.numColumns() && { left: columns[0] + length });
      byId("pager").replaceChildren(...lines, ...wide);
    }

    /**
     * Buttons to what does not fit, nothing where all does.
     * @param {string} what @param {number} from @param {number} to @param {number} total
     * @param {Partial<State> | false} back @param {Partial<State> | false} on
     */
    function turn(what, from, to, total, back, on) {
      if (!back && !on) return [];
      const button = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {Partial<State> | false} */ patch) => {
        const made = make("button", { type: "button", "aria-label": label, disabled: !patch }, sign);
        made.addEventListener("click", () => {
          if (patch) app.go(patch);
          if (patch && "page" in patch) window.scrollTo(0, 0);
        });
        return made;
      };
      const number = (/** @type {number} */ value) => value.toLocaleString("en");
      return [
        make(
          "span",
          { class: "turn" },
          button("‹", "Earlier " + what.toLowerCase(), back),
          make("span", {}, what + " " + number(from + 1) + "–" + number(to) + " of " + number(total)),
          button("›", "Later " + what.toLowerCase(), on),
        ),
      ];
    }

    /** Keys that work anywhere but where one writes. @param {KeyboardEvent} event */
    function key(event) {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog, [popover]")) return;
      if (event.key === "/") {
        event.preventDefault();
        search.focus();
        search.select();
      } else if (event.key === "?") {
        app.more().then(() => NST.help.show()).catch(app.fail);
      }
    }

    return { update, key };
  }

  /** @param {string} id */
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

  NST.toolbar = { open };
})();

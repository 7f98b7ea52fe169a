// @ts-check
// Any two pictures of the table, to be compared: the first is marked, the second opens both.
(function () {
  "use strict";

  // Before the id of a picture that stays while the rows are gone through.
  const PINNED = "id=";

  /** @type {number | null} */
  let first = null;

  /** Mark a cell, or compare it with the one that is marked. @param {App} app @param {number} number of its item */
  async function take(app, number) {
    if (first === null || first === number) {
      first = first === null ? number : null;
      mark();
      app.announce(first === null ? "No picture is marked." : "Marked. Shift and click, or C, on another picture compares both; Escape forgets it.");
      return;
    }
    const before = first;
    first = null;
    mark();
    const [a, b] = await Promise.all([app.store.item(before), app.store.item(number)]);
    const [here, there] = [app.whereIs(before), app.whereIs(number)];
    const nameOf = (/** @type {Item} */ item) => NST.format.full(item.get(app.state.x));
    const isOneRow = here && there && here.line === there.line && here.column !== there.column;
    await app.go({ id: a.id, mode: app.state.mode === "side" ? "slider" : app.state.mode, a: nameOf(a), b: isOneRow ? nameOf(b) : PINNED + b.id });
  }

  /** Show which cell is marked. */
  function mark() {
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#grid td[data-item]"))) {
      if (Number(cell.dataset.item) === first) cell.setAttribute("aria-selected", "true");
      else cell.removeAttribute("aria-selected");
    }
  }

  /** Keys of the table; tells whether one was used. @param {App} app @param {KeyboardEvent} event */
  function key(app, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (/** @type {HTMLElement} */ (event.target).closest("input, select, textarea, dialog, [popover]")) return false;
    if (event.key === "Escape" && first !== null) {
      first = null;
      mark();
      app.announce("No picture is marked.");
      return true;
    }
    const cell = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("#grid td[data-item]"));
    if (!cell || event.key.toLowerCase() !== "c") return false;
    take(app, Number(cell.dataset.item)).catch(app.fail);
    return true;
  }

  NST.compare = { PINNED, take, mark, key };
})();

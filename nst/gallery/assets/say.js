// @ts-check
// What the reader says of pictures, by keys or buttons, kept in the browser where that takes it.
(function () {
  "use strict";

  const { own, reread, of, mine, partOf, mark } = NST.opinions;

  const MAX_NOTE = 2000;
  const PICKS = ["favourite", "rejected"];

  /** @type {HTMLElement | null} the button of what is told where the browser keeps nothing */
  let offer = null;

  /**
   * Make a change and keep it. Whatever another tab has written is in it.
   * @param {(ballots: Ballots) => void} make
   */
  function change(make) {
    reread();
    make(own.ballots);
    own.version++;
    const text = JSON.stringify(own.ballots);
    try {
      localStorage.setItem(own.key, text);
      own.stored = text;
      own.isKept = true;
      saved();
    } catch {
      own.isKept = false;
      own.isUnsaved = true;
      offerToSave();
    }
    return shown();
  }

  /** Say that only this page has what was said, and offer a file of it. */
  function offerToSave() {
    if (offer?.isConnected) return;
    NST.app.fail(new Error("This browser keeps no more ratings and votes: its storage is full or off. They are lost with this page unless you save them. "));
    offer = NST.dom.make("button", { type: "button" }, "Save as JSON");
    offer.addEventListener("click", () => NST.app.more().then(() => NST.verdict.save("json")).catch(NST.app.fail));
    document.getElementById("problem")?.append(offer);
    window.addEventListener("beforeunload", leaving);
    // What joins them with what other tabs keep.
    NST.app.more().catch(() => {});
  }

  /** @param {Event} event */
  const leaving = (event) => own.isUnsaved && event.preventDefault();

  /** All that was said is in the browser or in a file. */
  function saved() {
    own.isUnsaved = false;
    if (offer?.parentElement) offer.parentElement.hidden = true;
    offer?.remove();
  }

  /** Have the page show what has changed. */
  async function shown() {
    if (!NST.app) return;
    await NST.app.go({}, { replace: true });
    document.querySelectorAll("#grid tbody tr").forEach((row) => mark(/** @type {HTMLElement} */ (row)));
    NST.rate?.update();
    NST.facts?.update();
  }

  /**
   * Say something of a picture; null takes it back.
   * @param {string} id @param {{rating?: number | null, pick?: string | null, note?: string | null}} patch
   */
  function say(id, patch) {
    return change(() => {
      const { opinions } = mine();
      const next = { ...of(id), at: Date.now() };
      for (const [name, value] of Object.entries(patch)) {
        if (value === null || value === "") delete (/** @type {any} */ (next)[name]);
        else /** @type {any} */ (next)[name] = value;
      }
      // Else `__proto__` would be no name like others.
      Object.defineProperty(opinions, id, { value: next, enumerable: true, configurable: true, writable: true });
    });
  }

  /** What another tab has kept, with what only this page has. @param {Ballots} found @returns {Ballots} */
  function joined(found) {
    const ours = own.ballots.voters.map((each) => (each.voter === own.ballots.me ? { ...each, voter: found.me } : each));
    return { ...found, voters: NST.ballots.merged(found.voters, ours) };
  }

  /**
   * An own field of all items.
   * @param {Store} store @param {string} field
   * @returns {Promise<Column>}
   */
  async function column(store, field) {
    const name = partOf(field);
    const said = Object.entries(mine().opinions).filter(([, each]) => /** @type {any} */ (each)[name] !== undefined);
    const known = said.map(([, each]) => /** @type {any} */ (each)[name]);
    /** @type {Value[]} */
    const values = name === "rating" ? [1, 2, 3, 4, 5] : name === "pick" ? PICKS : [...new Set(known)].sort();
    const codes = new Uint32Array(store.spine.num_items).fill(values.length);
    if (!said.length) return { values, codes };
    const codeOf = new Map(values.map((each, code) => [each, code]));
    const at = await indices(store, said.map(([id]) => id));
    said.forEach(([id], i) => {
      const index = at.get(id);
      if (index !== undefined) codes[index] = codeOf.get(known[i]) ?? values.length;
    });
    return { values, codes };
  }

  /** The numbers of the items with these ids. @param {Store} store @param {string[]} ids */
  async function indices(store, ids) {
    const { values, codes } = await store.column("id");
    const wanted = new Set(ids);
    const asked = new Map();
    values.forEach((id, code) => wanted.has(String(id)) && asked.set(code, String(id)));
    /** @type {Map<string, number>} */
    const found = new Map();
    codes.forEach((code, index) => asked.has(code) && found.set(asked.get(code), index));
    return found;
  }

  /**
   * What a key says of a picture, in words; empty where it is none of these.
   * @param {Item} item @param {string} pressed
   */
  function pressed(item, pressed) {
    const opinion = of(item.id);
    if (/^[0-5]$/.test(pressed)) {
      const rating = Number(pressed);
      say(item.id, { rating: rating || null });
      return rating ? "Rated " + rating + "." : "No rating.";
    }
    const pick = { p: "favourite", j: "rejected" }[pressed];
    if (pick) {
      const isSet = opinion.pick !== pick;
      say(item.id, { pick: isSet ? pick : null });
      return isSet ? "Marked as " + pick + "." : "No longer " + pick + ".";
    }
    if (pressed !== "n") return "";
    NST.app.more().then(() => NST.rate.note(item)).catch(NST.app.fail);
    return "Note";
  }

  /** Keys of the table; tells whether one was used. @param {KeyboardEvent} event */
  function key_(event) {
    const { app } = NST;
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog, [popover]")) return false;
    if (event.key === "b") {
      app.more().then(() => NST.blind.ask(app)).catch(app.fail);
      return true;
    }
    const cell = /** @type {HTMLElement | null} */ (target.closest("#grid td[data-item]"));
    if (!cell || !/^[0-5pjn]$/.test(event.key)) return false;
    app.store.item(Number(cell.dataset.item)).then((item) => app.announce(pressed(item, event.key)), app.fail);
    return true;
  }

  Object.assign(NST.opinions, {
    MAX_NOTE, say, column, indices, pressed, change, saved, shown, joined,
    key: key_,
    all: () => own.ballots,
    isKept: () => own.isKept,
  });
})();

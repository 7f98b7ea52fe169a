// @ts-check
// What people say of pictures: ratings, favourites, notes and votes, kept in the browser. Each is of
// a picture's id, so that it outlasts a gallery that is built anew.
(function () {
  "use strict";

  const FORMAT = "nst-votes";
  const KEY = "nst-gallery-votes ";
  const MAX_NOTE = 2000;
  /** @type {Omit<Field, "index">[]} */
  const FIELDS = [
    { name: "my_rating", title: "my rating", role: "opinion", kind: "number", better: 1, size: 5, missing: 0, hash: "own", own: true },
    { name: "my_pick", title: "my pick", role: "opinion", kind: "text", better: 0, size: 2, missing: 0, hash: "own", own: true },
    // More values than a list of checkboxes has.
    { name: "my_note", title: "my note", role: "opinion", kind: "text", better: 0, size: 1e6, missing: 0, hash: "own", own: true },
  ];
  const PICKS = ["favourite", "rejected"];

  let key = KEY;
  /** @type {string | null} */
  let stored = null;
  /** @type {Ballots} */
  let ballots = fresh();
  let version = 0;
  // Whether the browser has taken the last change, and whether there are any that only this page has.
  let isKept = true;
  let isUnsaved = false;
  /** @type {HTMLElement | null} the button of what is told of that */
  let offer = null;

  /** @returns {Ballots} */
  function fresh() {
    const me = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return { format: FORMAT, version: 1, me, voters: [{ voter: me, name: "", opinions: {}, votes: [] }] };
  }

  /**
   * The fields that are the reader's own, and what the browser has kept of them.
   * @param {Spine} spine
   */
  function open(spine) {
    const folder = location.pathname.replace(/[^/]*$/, "");
    key = KEY + folder + " " + spine.runs.map((run) => run.name).join(" ");
    reread();
    window.addEventListener("storage", (event) => {
      if (event.key !== key) return;
      reread();
      shown();
    });
    window.addEventListener("beforeunload", (event) => isUnsaved && event.preventDefault());
    spine.fields.push(.../** @type {Field[]} */ (FIELDS.map((field) => ({ ...field }))));
  }

  /** Other tabs may have written since. */
  function reread() {
    let text = null;
    try {
      text = localStorage.getItem(key);
    } catch {
      // A sandboxed page has no storage: all lasts as long as the page.
      isKept = false;
    }
    // What only this page has is joined with it later.
    if (text === null || text === stored || (isUnsaved && !NST.ballots)) return;
    stored = text;
    try {
      const found = JSON.parse(text);
      if (found?.format !== FORMAT || !found.voters.some((/** @type {Voter} */ each) => each.voter === found.me)) throw new Error("another format");
      ballots = isUnsaved && NST.ballots ? joined(found) : found;
    } catch {
      // Kept beside, for whoever can read it.
      try {
        localStorage.setItem(key + " damaged", text);
      } catch {
        return;
      }
    }
    version++;
  }

  /** What another tab has kept, with what only this page has. @param {Ballots} found @returns {Ballots} */
  function joined(found) {
    const own = ballots.voters.map((each) => (each.voter === ballots.me ? { ...each, voter: found.me } : each));
    return { ...found, voters: NST.ballots.merged(found.voters, own) };
  }

  const mine = () => /** @type {Voter} */ (ballots.voters.find((each) => each.voter === ballots.me));

  /**
   * Make a change and keep it. Whatever another tab has written is in it.
   * @param {(ballots: Ballots) => void} make
   */
  function change(make) {
    reread();
    make(ballots);
    version++;
    const text = JSON.stringify(ballots);
    try {
      localStorage.setItem(key, text);
      stored = text;
      isKept = true;
      saved();
    } catch {
      isKept = false;
      isUnsaved = true;
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
    // What joins them with what other tabs keep.
    NST.app.more().catch(() => {});
  }

  /** All that was said is in the browser or in a file. */
  function saved() {
    isUnsaved = false;
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

  /** @param {string} id @returns {Opinion} */
  const of = (id) => (Object.hasOwn(mine().opinions, id) ? mine().opinions[id] : { at: 0 });

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

  /** @param {string} id @param {string} name of an own field @returns {Value | null} */
  const value = (id, name) => /** @type {any} */ (of(id))[partOf(name)] ?? null;

  /** What an opinion calls it. Labels of the manifest may be called so too. @param {string} field */
  const partOf = (field) => field.replace("my_", "");

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

  /** What a person sees and hears of an opinion. @param {Opinion} opinion */
  function told({ rating, pick, note }) {
    const signs = [rating && "★".repeat(rating), pick === "favourite" && "♥", pick === "rejected" && "✕", note && "✎"];
    const words = [rating && "rated " + rating, pick, note && "with a note"];
    return { signs: signs.filter(Boolean).join(" "), words: words.filter(Boolean).join(", ") };
  }

  /** Show what was said of the pictures of a row of the table. @param {HTMLElement} row */
  function mark(row) {
    if (!Object.keys(mine().opinions).length && !row.querySelector(".opinion")) return;
    const { store } = NST.app;
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll("td[data-item]"))) {
      const number = Number(cell.dataset.item);
      const item = store.peek(number);
      if (item) stamp(cell, item);
      else store.item(number).then((each) => cell.dataset.item === String(number) && stamp(cell, each)).catch(() => {});
    }
  }

  /** @param {HTMLElement} cell @param {Item} item */
  function stamp(cell, item) {
    const opinion = of(item.id);
    const { signs, words } = told(opinion);
    const old = cell.querySelector(".opinion");
    old?.remove();
    if (words) cell.append(NST.dom.make("span", { class: "opinion", role: "img", "aria-label": words, title: opinion.note }, signs));
    cell.classList.toggle("rejected", opinion.pick === "rejected");
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

  NST.opinions = {
    FORMAT, FIELDS, MAX_NOTE, open, of, say, value, column, indices, mark, told, pressed, change, saved,
    key: key_,
    all: () => ballots,
    mine,
    version: () => version,
    isKept: () => isKept,
  };
})();

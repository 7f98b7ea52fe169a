// @ts-check
// What people have said of pictures: ratings, favourites, notes and votes, as the browser keeps them.
// Each is of a picture's id, so that it outlasts a gallery that is built anew. `say.js` adds to them.
(function () {
  "use strict";

  const FORMAT = "nst-votes";
  const KEY = "nst-gallery-votes ";
  /** @type {Omit<Field, "index">[]} */
  const FIELDS = [
    { name: "my_rating", title: "my rating", role: "opinion", kind: "number", better: 1, size: 5, missing: 0, hash: "own", own: true },
    { name: "my_pick", title: "my pick", role: "opinion", kind: "text", better: 0, size: 2, missing: 0, hash: "own", own: true },
    // More values than a list of checkboxes has.
    { name: "my_note", title: "my note", role: "opinion", kind: "text", better: 0, size: 1e6, missing: 0, hash: "own", own: true },
  ];
  /** @type {Own} */
  const own = { key: KEY, stored: null, ballots: fresh(), version: 0, isKept: true, isUnsaved: false };

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
    own.key += folder + " " + spine.runs.map((run) => run.name).join(" ");
    reread();
    window.addEventListener("storage", (event) => {
      if (event.key !== own.key) return;
      reread();
      NST.app?.controls().then(() => NST.opinions.shown()).catch(NST.app.fail);
    });
    spine.fields.push(.../** @type {Field[]} */ (FIELDS.map((field) => ({ ...field }))));
  }

  /** Other tabs may have written since. */
  function reread() {
    let text = null;
    try {
      text = localStorage.getItem(own.key);
    } catch {
      // A sandboxed page has no storage: all lasts as long as the page.
      own.isKept = false;
    }
    // What only this page has is joined with it later.
    if (text === null || text === own.stored || (own.isUnsaved && !NST.ballots)) return;
    own.stored = text;
    try {
      const found = JSON.parse(text);
      if (found?.format !== FORMAT || !found.voters.some((/** @type {Voter} */ each) => each.voter === found.me)) throw new Error("another format");
      own.ballots = own.isUnsaved ? NST.opinions.joined(found) : found;
    } catch {
      // Kept beside, for whoever can read it.
      try {
        localStorage.setItem(own.key + " damaged", text);
      } catch {
        return;
      }
    }
    own.version++;
  }

  const mine = () => /** @type {Voter} */ (own.ballots.voters.find((each) => each.voter === own.ballots.me));

  /** @param {string} id @returns {Opinion} */
  const of = (id) => (Object.hasOwn(mine().opinions, id) ? mine().opinions[id] : { at: 0 });

  /** @param {string} id @param {string} name of an own field @returns {Value | null} */
  const value = (id, name) => /** @type {any} */ (of(id))[partOf(name)] ?? null;

  /** What an opinion calls it. Labels of the manifest may be called so too. @param {string} field */
  const partOf = (field) => field.replace("my_", "");

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

  NST.opinions = /** @type {any} */ ({ FORMAT, FIELDS, own, open, reread, of, value, partOf, mark, mine, version: () => own.version });
})();

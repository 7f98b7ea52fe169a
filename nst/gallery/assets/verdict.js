// @ts-check
// What the votes say: the share of wins of each column with its interval; and votes as files.
(function () {
  "use strict";

  const { make } = NST.dom;

  const ROLES = new Set(["run", "backbone", "setting", "label", "input"]);
  const MAX_FILE_BYTES = 64 << 20;

  /** Everybody's: the reader's, those added from files, and those that the gallery was built with. @param {App} app */
  async function everybody({ store }) {
    const { votes } = store.spine;
    const built = votes ? (await NST.codec.load(store.folder + "votes." + votes + ".js")).voters : [];
    return NST.ballots.merged(built, NST.opinions.all().voters);
  }

  /** @param {App} app */
  async function show(app) {
    const voters = await everybody(app);
    const voting = voters.filter((each) => each.votes.length);
    const fields = app.store.fields.filter((field) => field.hash && ROLES.has(field.role));
    const by = make("select", { "aria-label": "Compare" }, ...fields.map((field) => make("option", { value: field.name, selected: field.name === app.state.x }, field.title)));
    const who = make("select", { "aria-label": "Votes of" }, make("option", { value: "" }, "everybody (" + voting.length + ")"), ...voting.map((each) => make("option", { value: each.voter, dir: "auto" }, nameOf(each))));
    const body = make("div", { role: "status" });
    const dialog = make(
      "dialog",
      { class: "help verdict", "aria-labelledby": "verdict-title", tabindex: -1 },
      make("div", { class: "large-head" }, make("h2", { id: "verdict-title" }, "Shares of wins"), NST.bar.button("×", () => dialog.close(), "Close (Esc)")),
      make("p", { class: "verdict-tools" }, make("label", {}, "Compare ", by), make("label", {}, "Votes of ", who)),
      body,
      make("p", { class: "note" }, "A line spans the 95 % interval (Wilson); a vote for no difference counts as half a win of both. Two whose intervals overlap much may be as good as each other."),
    );
    const update = async () => {
      const votes = voters.filter((each) => !who.value || each.voter === who.value).flatMap((each) => each.votes);
      body.replaceChildren(...(await result(app, votes, by.value)));
    };
    by.addEventListener("change", () => update().catch(app.fail));
    who.addEventListener("change", () => update().catch(app.fail));
    dialog.addEventListener("close", () => dialog.remove());
    await update();
    document.body.append(dialog);
    dialog.showModal();
    dialog.focus();
  }

  /** @param {Voter} voter */
  const nameOf = ({ voter, name }) => (voter === NST.opinions.all().me ? "me" + (name && " (" + name + ")") : name || "voter " + voter.slice(0, 4));

  /** @param {App} app @param {Vote[]} votes @param {string} name of the field */
  async function result(app, votes, name) {
    if (!votes.length) return [make("p", {}, "No votes yet: judge two at a time first (B).")];
    const { store } = app;
    const column = await store.column(name);
    const at = await NST.opinions.indices(store, [...new Set(votes.flatMap(({ a, b }) => [a, b]))]);
    const { tallies, others } = NST.ballots.tally(votes, (id) => {
      const index = at.get(id);
      return index === undefined ? undefined : (column.values[column.codes[index]] ?? null);
    });
    const field = /** @type {Field} */ (store.field(name));
    const title = (/** @type {Value | null} */ value) => (value === null ? "none" : field.role === "input" ? NST.format.readable(String(value)) : NST.format.short(value));
    const left = others ? [make("p", { class: "note" }, NST.format.count(others, "vote is", "votes are") + " left out: of pictures that do not differ in this, or are not in this gallery.")] : [];
    if (!tallies.length) return [make("p", {}, "No vote compares pictures that differ in " + field.title + "."), ...left];
    const percent = (/** @type {number} */ share) => Math.round(100 * share) + " %";
    const table = make(
      "table",
      { class: "shares" },
      make("thead", {}, make("tr", {}, ...[field.title, "share of wins", "95 % interval", "won", "alike", "votes"].map((text) => make("th", { scope: "col" }, text)), make("td", {}))),
      make("tbody", {}, ...tallies.map((each) => make(
        "tr",
        {},
        make("th", { scope: "row", dir: "auto" }, title(each.value)),
        make("td", {}, percent(each.share)),
        make("td", {}, percent(each.low) + " – " + percent(each.high)),
        ...[each.wins, each.ties, each.count].map((number) => make("td", {}, number.toLocaleString("en"))),
        make("td", { class: "interval" }, line(each)),
      ))),
    );
    return [make("div", { class: "facts-scroll", role: "group", "aria-label": "Shares of wins by " + field.title, tabindex: 0 }, table), ...left];
  }

  /** @param {Tally} tally */
  function line({ share, low, high }) {
    const made = make("div", { "aria-hidden": "true" }, make("span", {}), make("b", {}));
    made.style.setProperty("--low", String(low));
    made.style.setProperty("--high", String(high));
    made.style.setProperty("--share", String(share));
    return made;
  }

  /** @param {"json" | "csv"} kind */
  function save(kind) {
    const { format, version, me, voters } = /** @type {Ballots} */ (NST.opinions.all());
    const name = "votes-" + (NST.opinions.mine().name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || me.slice(0, 4));
    const text = kind === "json" ? JSON.stringify({ format, version, me, voters }, null, 1) : "\ufeff" + NST.ballots.toCsv(voters);
    NST.export.save(new Blob([text], { type: kind === "json" ? "application/json" : "text/csv;charset=utf-8" }), name + "." + kind);
    NST.opinions.saved();
  }

  /** Whether the reader has said nothing here yet. */
  const isNew = () => !NST.opinions.mine().votes.length && !Object.keys(NST.opinions.mine().opinions).length;

  /** Whether the reader says that they saved a file: it may be a colleague's. @param {string} name @returns {Promise<boolean>} */
  function askedIsMine(name) {
    return new Promise((resolve) => {
      const dialog = make(
        "dialog",
        { class: "help", "aria-labelledby": "whose-title", tabindex: -1 },
        make("h2", { id: "whose-title" }, "Whose ratings and votes are these?"),
        make("p", { dir: "auto" }, name + " says who saved it. If that was you, you go on from there; if not, it is counted beside what you say."),
        make("p", { class: "buttons verdict-tools" }, NST.bar.button("They are mine", () => dialog.close("mine")), NST.bar.button("They are somebody else’s", () => dialog.close())),
      );
      dialog.addEventListener("close", () => {
        dialog.remove();
        resolve(dialog.returnValue === "mine");
      });
      document.body.append(dialog);
      dialog.showModal();
      dialog.focus();
    });
  }

  /** Add what files hold; those that hold something else are named. @param {App} app @param {File[]} files */
  async function read(app, files) {
    /** @type {string[]} */
    const problems = [];
    let added = 0;
    for (const file of files) {
      try {
        if (file.size > MAX_FILE_BYTES) throw new Error("expected at most 64 MiB, found " + file.size + " bytes");
        const { me, voters } = NST.ballots.parse(await file.text());
        // Who comes back to an empty browser goes on as who they were.
        const isMine = isNew() && me !== "" && me !== NST.opinions.all().me && (await askedIsMine(file.name));
        await NST.opinions.change((ballots) => {
          const own = NST.opinions.mine();
          const comesBack = isMine && isNew();
          const kept = comesBack ? ballots.voters.filter((each) => each !== own) : ballots.voters;
          ballots.voters = NST.ballots.merged(kept, voters);
          if (comesBack) ballots.me = me;
        });
        added++;
      } catch (error) {
        problems.push(file.name + ": " + /** @type {Error} */ (error).message);
      }
    }
    app.announce(NST.format.count(added, "file") + " added.");
    if (problems.length) throw new Error(problems.join("; "));
  }

  NST.verdict = { show, save, read, everybody };
})();

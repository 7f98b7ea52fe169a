// @ts-check
// Ratings and votes as values: checked, merged, as CSV, and counted.
(function () {
  "use strict";

  const MAX_NAME = 100;
  const MAX_ID = 1000;
  const PICKS = ["favourite", "rejected"];
  const RESULTS = ["a", "b", "same"];
  const HEADS = ["kind", "voter", "name", "id", "other", "better", "rating", "pick", "note", "at"];
  // Of the normal distribution, for 95 %.
  const Z = 1.959963984540054;

  /**
   * The voters of a file that a gallery has saved, JSON or CSV, and which of them saved it: empty where
   * it does not say. Raises an Error that says what is wrong.
   * @param {string} text
   * @returns {{me: string, voters: Voter[]}}
   */
  function parse(text) {
    const plain = text.replace(/^\ufeff/, "");
    if (!/^\s*[{[]/.test(plain)) return { me: "", voters: fromCsv(plain) };
    const found = json(plain);
    if (found?.format !== NST.opinions.FORMAT || !Array.isArray(found.voters)) throw new Error('expected a file of ratings and votes that a gallery has saved, with "format": "' + NST.opinions.FORMAT + '"; found other JSON');
    /** @type {Voter[]} */
    const voters = found.voters.map(checked);
    return { me: voters.find(({ voter }) => voter === found.me)?.voter ?? "", voters };
  }

  /** @param {string} text @returns {any} */
  function json(text) {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error("expected JSON, found a file that is damaged or cut short");
    }
  }

  /** @param {any} given @param {number} index @returns {Voter} */
  function checked(given, index) {
    const where = "voter " + (index + 1) + ": ";
    /** @param {boolean} isRight @param {string} what */
    const expect = (isRight, what) => {
      if (!isRight) throw new Error(where + "expected " + what);
    };
    const isText = (/** @type {unknown} */ value, /** @type {number} */ most) => typeof value === "string" && value.length <= most;
    const isTime = (/** @type {unknown} */ value) => Number.isSafeInteger(value) && Number(value) >= 0;
    expect(given !== null && typeof given === "object" && isText(given.voter, MAX_NAME) && given.voter !== "", "an object with a voter");
    expect(isText(given.name ?? "", MAX_NAME), "a name of at most " + MAX_NAME + " characters");
    expect(given.opinions !== null && typeof given.opinions === "object" && Array.isArray(given.votes), "opinions and votes");
    const opinions = Object.entries(given.opinions).map(([id, each]) => {
      expect(id.length <= MAX_ID && each !== null && typeof each === "object", "opinions of pictures");
      const { rating, pick, note, at = 0 } = /** @type {any} */ (each);
      expect(rating === undefined || (Number.isInteger(rating) && rating >= 1 && rating <= 5), "a rating from 1 to 5 of " + id);
      expect(pick === undefined || PICKS.includes(pick), "favourite or rejected for " + id);
      expect(note === undefined || isText(note, NST.opinions.MAX_NOTE), "a note of at most " + NST.opinions.MAX_NOTE + " characters of " + id);
      expect(isTime(at), "a time of the opinion of " + id);
      return [id, { ...(rating && { rating }), ...(pick && { pick }), ...(note && { note }), at }];
    });
    const votes = given.votes.map((/** @type {any} */ each) => {
      expect(each !== null && typeof each === "object" && isText(each.a, MAX_ID) && isText(each.b, MAX_ID) && RESULTS.includes(each.better), "votes, each of two pictures with better: a, b or same");
      expect(isTime(each.at ?? 0), "a time of each vote");
      return { a: each.a, b: each.b, better: each.better, at: each.at ?? 0 };
    });
    return { voter: given.voter, name: given.name ?? "", opinions: Object.fromEntries(opinions), votes };
  }

  /**
   * Both lists of voters as one. Of one voter: of each picture the later opinion, and every vote once.
   * @param {Voter[]} some @param {Voter[]} others
   */
  function merged(some, others) {
    const found = new Map(some.map((each) => [each.voter, each]));
    for (const each of others) {
      const before = found.get(each.voter);
      found.set(each.voter, before ? both(before, each) : each);
    }
    return [...found.values()];
  }

  /** @param {Voter} one @param {Voter} other @returns {Voter} */
  function both(one, other) {
    const opinions = new Map(Object.entries(one.opinions));
    for (const [id, each] of Object.entries(other.opinions)) {
      if ((opinions.get(id)?.at ?? -1) < each.at) opinions.set(id, each);
    }
    const votes = new Map([...one.votes, ...other.votes].map((vote) => [JSON.stringify([vote.at, vote.a, vote.b]), vote]));
    return {
      voter: one.voter,
      name: one.name || other.name,
      opinions: Object.fromEntries(opinions),
      votes: [...votes.values()].sort((p, q) => p.at - q.at),
    };
  }

  /** The voters as the lines of a CSV file that `parse` reads. @param {Voter[]} voters */
  function toCsv(voters) {
    /** @param {Record<string, Value>} cells */
    const line = (cells) => HEADS.map((head) => NST.format.csvCell(cells[head] ?? null)).join(",") + "\r\n";
    const lines = voters.flatMap(({ voter, name, opinions, votes }) => [
      ...Object.entries(opinions).map(([id, { rating, pick, note, at }]) =>
        line({ kind: "opinion", voter, name, id, ...(rating && { rating }), ...(pick && { pick }), ...(note && { note }), at }),
      ),
      ...votes.map(({ a, b, better, at }) => line({ kind: "vote", voter, name, id: a, other: b, better: { a: "id", b: "other", same: "same" }[better], at })),
    ]);
    return HEADS.join(",") + "\r\n" + lines.join("");
  }

  /** @param {string} text */
  function fromCsv(text) {
    const [heads, ...lines] = rows(text);
    const missing = HEADS.filter((head) => !heads?.includes(head));
    if (missing.length) throw new Error("expected ratings and votes that a gallery has saved, as JSON or CSV; found a file without the column " + missing[0]);
    /** @type {Map<string, any>} */
    const found = new Map();
    lines.forEach((cells, index) => {
      const get = (/** @type {string} */ head) => (cells[heads.indexOf(head)] ?? "").replace(/^'(?=[=+\-@\t\r])/, "");
      const id = get("voter");
      if (!found.has(id)) found.set(id, { voter: id, name: get("name"), opinions: [], votes: [] });
      const { opinions, votes } = found.get(id);
      const at = Number(get("at"));
      if (get("kind") === "opinion") {
        const rating = get("rating") ? Number(get("rating")) : undefined;
        opinions.push([get("id"), { rating, pick: get("pick") || undefined, note: get("note") || undefined, at }]);
      } else if (get("kind") === "vote") {
        const better = { id: "a", other: "b", same: "same" }[get("better")];
        votes.push({ a: get("id"), b: get("other"), better, at });
      } else throw new Error("line " + (index + 2) + ": expected opinion or vote in the column kind, found " + JSON.stringify(get("kind")));
    });
    return [...found.values()].map((each, index) => checked({ ...each, opinions: Object.fromEntries(each.opinions) }, index));
  }

  /** The cells of a CSV file, RFC 4180; commas or semicolons between them. @param {string} text */
  function rows(text) {
    const separator = /^[^,;\r\n]*;/.test(text) ? ";" : ",";
    /** @type {string[][]} */
    const made = [];
    let cells = [];
    const pattern = /"((?:[^"]|"")*)"|([^",;\r\n]+)|(\r\n|\n|\r)|([,;])/g;
    let cell = "";
    for (const [, quoted, plain, end, mark] of text.matchAll(pattern)) {
      if (quoted !== undefined) cell += quoted.replaceAll('""', '"');
      else if (plain !== undefined) cell += plain;
      else if (mark && mark !== separator) cell += mark;
      else {
        cells.push(cell);
        cell = "";
        if (!end) continue;
        if (cells.length > 1 || cells[0]) made.push(cells);
        cells = [];
      }
    }
    if (cell || cells.length) made.push([...cells, cell]);
    return made;
  }

  /**
   * How often each value won against others, of the votes between pictures that differ in it.
   * @param {Vote[]} votes
   * @param {(id: string) => Value | null | undefined} valueOf undefined for a picture that is not there
   */
  function tally(votes, valueOf) {
    /** @type {Map<Value | null, Tally>} */
    const found = new Map();
    let others = 0;
    const of = (/** @type {Value | null} */ value) => {
      let made = found.get(value);
      if (!made) found.set(value, (made = { value, wins: 0, ties: 0, count: 0, share: 0, low: 0, high: 1 }));
      return made;
    };
    for (const { a, b, better } of votes) {
      const [first, second] = [valueOf(a), valueOf(b)];
      if (first === undefined || second === undefined || first === second) others++;
      else for (const [value, side] of /** @type {const} */ ([[first, "a"], [second, "b"]])) {
        const one = of(value);
        one.count++;
        if (better === "same") one.ties++;
        else if (better === side) one.wins++;
      }
    }
    const made = [...found.values()].map((each) => ({ ...each, ...wilson(each.wins + each.ties / 2, each.count) }));
    return { tallies: made.sort((p, q) => q.share - p.share), others };
  }

  /**
   * The share of `wins` among `count`, and between which shares the true one is at 95 %: Wilson's
   * score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209), with z = 1.96, p = wins / count:
   *   (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)
   * A vote for neither counts as half a win of both. It varies less than a vote for one of them, so
   * that the interval is then wider than need be, never narrower.
   * @param {number} wins @param {number} count
   */
  function wilson(wins, count) {
    if (!count) return { share: 0, low: 0, high: 1 };
    const share = wins / count;
    const square = (Z * Z) / count;
    const middle = share + square / 2;
    const half = Z * Math.sqrt((share * (1 - share)) / count + square / (4 * count));
    return { share, low: Math.max(0, (middle - half) / (1 + square)), high: Math.min(1, (middle + half) / (1 + square)) };
  }

  /** The same for a pair whichever way round. @param {string} a @param {string} b */
  const pairKey = (a, b) => JSON.stringify(a < b ? [a, b] : [b, a]);

  /**
   * The lines of a view with only those of its items that were made.
   * @param {Pick<View, "numLines" | "lines" | "items">} view
   * @param {Column} status
   */
  function made({ numLines, lines, items }, { values, codes }) {
    const ok = values.indexOf("ok");
    /** @type {number[]} */
    const kept = [];
    const ends = Array.from({ length: numLines }, (_, line) => {
      for (const item of items.subarray(lines[line], lines[line + 1])) if (codes[item] === ok) kept.push(item);
      return kept.length;
    });
    return { numLines, lines: Int32Array.from([0, ...ends]), items: Int32Array.from(kept) };
  }

  /**
   * Two places of one line of the view, in random order; null where no line has two.
   * @param {Pick<View, "numLines" | "lines" | "items">} view
   * @param {() => number} random from 0 up to but not including 1
   */
  function drawn({ numLines, lines, items }, random) {
    const several = [];
    for (let line = 0; line < numLines; line++) if (lines[line + 1] - lines[line] > 1) several.push(line);
    if (!several.length) return null;
    const line = several[Math.floor(random() * several.length)];
    const count = lines[line + 1] - lines[line];
    const first = Math.floor(random() * count);
    const second = (first + 1 + Math.floor(random() * (count - 1))) % count;
    return { a: items[lines[line] + first], b: items[lines[line] + second] };
  }

  NST.ballots = { parse, merged, toCsv, tally, wilson, made, drawn, pairKey };
})();

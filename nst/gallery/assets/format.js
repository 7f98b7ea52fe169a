// @ts-check
// Values as people read them.
(function () {
  "use strict";

  const MISSING = "–";

  /** @param {Value | null} value @param {number} [digits] */
  const short = (value, digits = 3) =>
    typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(digits))) : full(value);

  /** @param {Value | null} value */
  const full = (value) => (value === null ? MISSING : String(value));

  /**
   * `in/great-wave.jpg` -> `great wave`; several pictures with a plus between them.
   * @param {string} reference
   */
  function readable(reference) {
    return reference.split(" | ").map(one).join(" + ");
  }

  /** @param {string} reference */
  function one(reference) {
    const plain = decoded(reference).replace(/\/+$/, "");
    const last = plain.slice(plain.lastIndexOf("/") + 1);
    const dot = last.lastIndexOf(".");
    const stem = dot > 0 ? last.slice(0, dot) : last;
    return stem.replace(/[-_\s]+/g, " ").trim() || reference;
  }

  /** @param {string} text */
  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  /** @param {number} number @param {string} word @param {string} [many] */
  const count = (number, word, many) =>
    number.toLocaleString("en") + " " + (number === 1 ? word : many || word + "s");

  /**
   * A cell of a CSV file; what a spreadsheet would run as a formula is made text.
   * @param {Value | null} value
   */
  function csvCell(value) {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? "'" + value : value;
    // A spreadsheet of many a country has semicolons between its cells.
    return /[",;\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  NST.format = { short, full, readable, count, csvCell };
})();

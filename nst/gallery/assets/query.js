// @ts-check
// The search field: words, `field:part`, `field=one,other`, `field>0.3`, `field:none`, `is:failed`,
// each with a minus in front for its opposite.
(function () {
  "use strict";

  const TOKEN = /-?(?:[^\s"]|"[^"]*"?)+/g;
  const PARTS = /^(-?)("[^"]+"|[\p{L}_][\p{L}\p{N}_ .-]*?)(<=|>=|<|>|=|:)(.*)$/su;
  const PLAIN = /^[\p{L}_][\p{L}\p{N}_.-]*$/u;
  const PICKS = new Set(["favourite", "rejected"]);
  const SEARCHED = new Set(["input", "backbone", "run", "label", "status"]);

  /** @param {string} text */
  const tokens = (text) => text.match(TOKEN) || [];

  /**
   * @param {string} text
   * @param {Field[]} fields
   * @returns {Query}
   */
  function parse(text, fields) {
    /** @type {Query} */
    const query = { terms: [], problems: [] };
    for (const token of tokens(text)) {
      const term = parseToken(token, fields);
      if (typeof term === "string") query.problems.push(term);
      else query.terms.push(term);
    }
    return query;
  }

  /** @param {string} token @param {Field[]} fields @returns {Term | string} */
  function parseToken(token, fields) {
    const parts = PARTS.exec(token);
    const not = token.startsWith("-") && token.length > 1;
    const words = { field: "", not, op: /** @type {const} */ ("has"), values: [unquoted(not ? token.slice(1) : token)] };
    if (!parts) return words;
    const [, , given, op, rest] = parts;
    const name = unquoted(given);
    if (name === "is") {
      const said = unquoted(rest).toLowerCase();
      return { field: PICKS.has(said) ? "my_pick" : "status", not, op: "any", values: [said] };
    }
    const wanted = name.toLowerCase();
    const field = fields.find((each) => told(each.name) === wanted) ?? fields.find((each) => told(each.title).replaceAll(" ", "_") === wanted);
    // What is quoted may be words that have such a sign between them.
    if (!field) return given === name ? "there is no field " + name : words;
    const values = listed(rest);
    if (op === ":") {
      if (rest === "none") return { field: field.name, not, op: "none", values: [] };
      return { field: field.name, not, op: "has", values: [unquoted(rest)] };
    }
    if (op === "=") return { field: field.name, not, op: "any", values };
    if (field.kind !== "number" || !values.length || Number.isNaN(Number(values[0]))) {
      return token + " expects a number";
    }
    return { field: field.name, not, op: /** @type {Term["op"]} */ (op), values };
  }

  /** @param {string} text */
  const unquoted = (text) => text.replaceAll('"', "");

  /** A text as it is compared: a search has no way to say a quotation mark. @param {Value} value */
  const told = (value) => unquoted(String(value)).toLowerCase();

  /** @param {string} text */
  const listed = (text) => (text.match(/"[^"]*"?|[^,"]+/g) || []).map(unquoted);

  /**
   * The fields whose columns the query looks at.
   * @param {Query} query
   * @param {Field[]} fields
   */
  function fieldsOf(query, fields) {
    const names = new Set(query.terms.flatMap((term) => (term.field ? [term.field] : searched(fields))));
    return [...names];
  }

  /** @param {Field[]} fields */
  const searched = (fields) =>
    fields.filter((field) => SEARCHED.has(field.role) && field.kind === "text").map((field) => field.name);

  /**
   * 1 for each item that all terms let in.
   * @param {Query} query
   * @param {Map<string, Column>} columns
   * @param {Field[]} fields
   * @param {number} count
   */
  function mask(query, columns, fields, count) {
    const shown = new Uint8Array(count).fill(1);
    for (const term of query.terms) {
      const names = term.field ? [term.field] : searched(fields);
      const found = new Uint8Array(count);
      for (const name of names) {
        const column = columns.get(name);
        if (!column) continue;
        // Each distinct value is looked at once, each item only by its code.
        const table = tableOf(term, column.values);
        const { codes } = column;
        for (let i = 0; i < count; i++) found[i] |= table[codes[i]];
      }
      const wanted = term.not ? 0 : 1;
      for (let i = 0; i < count; i++) if (found[i] !== wanted) shown[i] = 0;
    }
    return shown;
  }

  /** @param {Term} term @param {Value[]} values */
  function tableOf(term, values) {
    const table = new Uint8Array(values.length + 1);
    const test = tester(term);
    values.forEach((value, code) => (table[code] = test(value) ? 1 : 0));
    table[values.length] = term.op === "none" ? 1 : 0;
    return table;
  }

  /** @param {Term} term @returns {(value: Value) => boolean} */
  function tester(term) {
    const limit = Number(term.values[0]);
    const part = (term.values[0] || "").toLowerCase();
    const wanted = new Set(term.values.map((value) => value.toLowerCase()));
    switch (term.op) {
      case "<":
        return (value) => Number(value) < limit;
      case ">":
        return (value) => Number(value) > limit;
      case "<=":
        return (value) => Number(value) <= limit;
      case ">=":
        return (value) => Number(value) >= limit;
      case "any":
        return (value) => wanted.has(told(value));
      case "none":
        return () => false;
      default:
        return (value) => {
          const text = told(value);
          // A name is searched as it is written and as it is shown.
          return text.includes(part) || text.replace(/[-_]/g, " ").includes(part);
        };
    }
  }

  /** @param {string} value */
  const quoted = (value) => (/[\s",]/.test(value) || value === "" ? '"' + value.replaceAll('"', "") + '"' : value);

  /** The name of a field as a search says it. @param {string} field */
  const named = (field) => (PLAIN.test(field) ? field : '"' + unquoted(field) + '"');

  /** @param {string} text @param {string} field */
  function chosen(text, field) {
    const start = named(field) + "=";
    const token = tokens(text).find((each) => each.startsWith(start));
    return { token, values: token ? listed(token.slice(start.length)) : [] };
  }

  /** @param {string} text @param {string} field @param {string} value */
  const has = (text, field, value) => chosen(text, field).values.includes(value.replaceAll('"', ""));

  /**
   * The query with a value added to those that a field may have, or removed from them.
   * @param {string} text
   * @param {string} field
   * @param {string} value
   */
  function toggled(text, field, value) {
    const plain = value.replaceAll('"', "");
    const { token, values } = chosen(text, field);
    const next = values.includes(plain) ? values.filter((each) => each !== plain) : [...values, plain];
    const others = tokens(text).filter((each) => each !== token);
    const made = next.length ? [named(field) + "=" + next.map(quoted).join(",")] : [];
    return [...others, ...made].join(" ");
  }

  NST.query = { tokens, parse, fieldsOf, mask, toggled, has, named };
})();

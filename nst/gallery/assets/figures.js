// @ts-check
// Which measures stand under a picture, which of them is the best of a row, what a column has of each.
(function () {
  "use strict";

  const CHIPS = ["style_loss", "content_loss", "lpips"];
  /** @type {Record<string, string>} */
  const TITLES = { style_loss: "style", content_loss: "content" };
  // A row of more is not loaded for a star.
  const MAX_MEMBERS = 60;
  // Known only of the pictures themselves, since each backbone has its own.
  const OF_WEIGHTS = "provenance";

  /** @param {Field} field */
  const titleOf = (field) => TITLES[field.name] || field.title;

  /** The measures under a picture: three, and that by which the pictures are ordered. @param {App} app */
  function shown(app) {
    const sort = app.state.sort.replace(/^-/, "");
    const names = app.store.field(sort)?.role === "metric" && !CHIPS.includes(sort) ? [...CHIPS, sort] : CHIPS;
    return names.flatMap((name) => app.store.field(name) ?? []);
  }

  /**
   * The pictures of a line's whole row, whatever a filter leaves of it, where they can be compared;
   * else none. They can where all that decides what is measured is a row's own.
   * @param {App} app
   * @param {number} item any of the row
   */
  function rivals(app, item) {
    const { state, store } = app;
    const isOwn = (/** @type {Field} */ field) => !field.decisive || field.role === OF_WEIGHTS || state.y.includes(field.name);
    if (!store.fields.every(isOwn)) return [];
    const { items } = app.rowOf(item);
    return items.length > 1 && items.length <= MAX_MEMBERS ? [...items] : [];
  }

  /** Whether the values of items can be compared. @param {Field[]} fields @param {Pick<Item, "get">[]} items */
  const comparable = (fields, items) =>
    fields.every(({ name, decisive }) => !decisive || new Set(items.map((item) => item.get(name))).size < 2);

  /**
   * The best of each measure among the pictures of a line's row; of none where they cannot be compared.
   * @param {App} app
   * @param {number} item
   * @returns {Map<string, number | null>}
   */
  function best(app, item) {
    const items = rivals(app, item).map((number) => app.store.peek(number));
    const known = items.filter((each) => each !== null);
    // What was not made has no weights, and takes no star from the others.
    const made = known.filter((each) => !each.failed && each.picture !== null);
    if (!made.length || known.length < items.length || !comparable(app.store.fields, made)) return new Map();
    return new Map(shown(app).map(({ name, better }) => [name, bestOf(known.map((each) => (each.failed ? null : each.get(name))), better)]));
  }

  /**
   * The best of several values, null where they are alike.
   * @param {(Value | null)[]} values
   * @param {number} better -1 where the least is best, 1 where the largest is
   */
  function bestOf(values, better) {
    const numbers = values.filter((value) => typeof value === "number");
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    return low === high || !better ? null : better < 0 ? low : high;
  }

  /** What a figure means, by how it is told. @param {App} app @param {string} text */
  function wordOn(app, text) {
    const field = shown(app).find((each) => text.startsWith(titleOf(each) + " "));
    return field ? field.title + ": " + (field.description ?? "") : "";
  }

  NST.figures = { wordOn, CHIPS, titleOf, shown, rivals, comparable, best, bestOf };
})();

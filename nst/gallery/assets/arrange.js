// @ts-check
// Rows and columns as the reader chooses them: by other fields, in another order, as a wall; and what
// the columns then have of a measure.
(function () {
  "use strict";

  const { laid, view } = NST.pivot;

  /**
   * @param {Column[]} fields whose values together make a row
   * @param {Column} column
   * @param {Uint8Array | null} mask
   * @param {Value[]} [order] of the columns, where it is not that of the values
   */
  function pivot(fields, column, mask, order) {
    const count = column.codes.length;
    const { rows, numRows } = numbered(fields, count, mask);
    /** @type {(Value | null)[]} */
    const values = [...(order || column.values), null];
    const placeOf = new Map(values.map((value, place) => [value, place]));
    const placeOfCode = [...column.values, null].map((value) => placeOf.get(value) ?? values.length - 1);
    const places = Int32Array.from(column.codes, (code) => placeOfCode[code]);
    return laid(rows, numRows, places, values, mask);
  }

  /**
   * Each item's row, numbered as they come.
   * @param {Column[]} fields
   * @param {number} count
   * @param {Uint8Array | null} mask
   */
  function numbered(fields, count, mask) {
    let rows = new Int32Array(count);
    let numRows = 1;
    for (const { values, codes } of fields) {
      /** @type {Map<number, number>} */
      const known = new Map();
      const next = new Int32Array(count);
      const base = values.length + 1;
      for (let i = 0; i < count; i++) {
        if (mask && !mask[i]) continue;
        const key = rows[i] * base + codes[i];
        let row = known.get(key);
        if (row === undefined) known.set(key, (row = known.size));
        next[i] = row;
      }
      rows = next;
      numRows = known.size;
    }
    return { rows, numRows };
  }

  /**
   * The same rows, by the least (or the largest) value that one of a row's items has; rows without
   * any come last either way.
   * @param {View} before
   * @param {Column} column
   * @param {boolean} descending
   */
  function sorted(before, column, descending) {
    const { rows, lines, items, places, numRows } = before;
    const missing = column.values.length;
    const keys = new Float64Array(numRows);
    for (let row = 0; row < numRows; row++) {
      let best = missing;
      for (let i = lines[rows[row]]; i < lines[rows[row + 1]]; i++) {
        const code = column.codes[items[i]];
        if (code === missing) continue;
        const rank = descending ? missing - 1 - code : code;
        if (rank < best) best = rank;
      }
      // The row's number behind its rank, so that rows alike stay in their order.
      keys[row] = best * numRows + row;
    }
    keys.sort();
    const newRows = new Int32Array(rows.length);
    const newLines = new Int32Array(lines.length);
    const newItems = new Int32Array(items.length);
    const newPlaces = new Int32Array(items.length);
    let line = 0;
    let written = 0;
    keys.forEach((key, i) => {
      const row = key % numRows;
      newRows[i] = line;
      for (let l = rows[row]; l < rows[row + 1]; l++) {
        newLines[line++] = written;
        for (let k = lines[l]; k < lines[l + 1]; k++, written++) {
          newItems[written] = items[k];
          newPlaces[written] = places[k];
        }
      }
    });
    newRows[numRows] = line;
    newLines[line] = written;
    return view(before.columns, newRows, newLines, newItems, newPlaces, before.total);
  }

  /**
   * The items of a view one after the other, so many in a line; by the values of a column if there is
   * one, those without any last.
   * @param {View} before
   * @param {number} count of a line
   * @param {Column | null} column
   * @param {boolean} descending
   */
  function wall(before, count, column, descending) {
    const items = column ? ordered(before.items, column, descending) : before.items;
    const lines = Math.ceil(items.length / count);
    const starts = Int32Array.from({ length: lines + 1 }, (_, line) => Math.min(line * count, items.length));
    const rows = Int32Array.from({ length: lines + 1 }, (_, line) => line);
    const places = Int32Array.from(items, (_, i) => i % count);
    return view(Array(count).fill(null), rows, starts, items, places, before.total);
  }

  /** @param {Int32Array} items @param {Column} column @param {boolean} descending */
  function ordered(items, { values, codes }, descending) {
    const missing = values.length;
    // An item's place behind its rank, so that those alike stay in their order.
    const keys = Float64Array.from(items, (item, i) => {
      const code = codes[item];
      return (descending && code !== missing ? missing - 1 - code : code) * items.length + i;
    });
    return keys.sort().length ? Int32Array.from(keys, (key) => items[key % items.length]) : items;
  }

  /**
   * For each column of a view the mean, the least and the largest of a field; null where it has none.
   * @param {View} view
   * @param {Column} column
   * @returns {(Span | null)[]}
   */
  function spans(view, { values, codes }) {
    const count = view.columns.length;
    const [sums, sizes] = [new Float64Array(count), new Uint32Array(count)];
    const [low, high] = [new Float64Array(count).fill(Infinity), new Float64Array(count).fill(-Infinity)];
    for (let i = 0; i < view.items.length; i++) {
      const value = values[codes[view.items[i]]];
      if (typeof value !== "number") continue;
      const place = view.places[i];
      sums[place] += value;
      sizes[place]++;
      if (value < low[place]) low[place] = value;
      if (value > high[place]) high[place] = value;
    }
    return Array.from(sizes, (size, i) => (size ? [sums[i] / size, low[i], high[i]] : null));
  }

  Object.assign(NST.pivot, { pivot, sorted, wall, spans });
})();

// @ts-check
// Items -> rows, columns and lines. Nothing of a table of rows x columns is ever made, since most of
// it is empty where either is a field of many values.
(function () {
  "use strict";

  /**
   * The rows as they are without a choice, from the spine alone.
   * @param {Spine} spine
   * @param {Uint8Array | null} mask 1 for each item that is shown
   */
  function initial(spine, mask) {
    const rows = new Int32Array(spine.num_items);
    const places = new Int32Array(spine.num_items);
    let item = 0;
    spine.row_patterns.forEach((code, row) => {
      for (const place of spine.patterns[code]) {
        rows[item] = row;
        places[item++] = place;
      }
    });
    return laid(rows, spine.row_patterns.length, places, spine.columns, mask);
  }

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
   * @param {Int32Array} rows of each item
   * @param {number} numRows
   * @param {Int32Array} places the column of each item
   * @param {(Value | null)[]} values of the columns; those without items are left out
   * @param {Uint8Array | null} mask
   */
  function laid(rows, numRows, places, values, mask) {
    const used = new Int32Array(values.length).fill(-1);
    const sizes = new Int32Array(numRows + 1);
    let shown = 0;
    for (let i = 0; i < rows.length; i++) {
      if (mask && !mask[i]) continue;
      used[places[i]] = 0;
      sizes[rows[i]]++;
      shown++;
    }
    const columns = values.filter((_, place) => used[place] === 0);
    let number = 0;
    for (let place = 0; place < used.length; place++) if (used[place] === 0) used[place] = number++;

    // The items row by row, in their order.
    const ends = new Int32Array(numRows);
    for (let row = 1; row < numRows; row++) ends[row] = ends[row - 1] + sizes[row - 1];
    const byRow = new Int32Array(shown);
    for (let i = 0; i < rows.length; i++) if (!mask || mask[i]) byRow[ends[rows[i]]++] = i;

    const starts = [];
    const lines = [];
    const items = new Int32Array(shown);
    const placed = new Int32Array(shown);
    const depth = new Int32Array(columns.length);
    let from = 0;
    let written = 0;
    for (let row = 0; row < numRows; row++) {
      const members = byRow.subarray(from, from + sizes[row]);
      from += sizes[row];
      if (!members.length) continue;
      starts.push(lines.length);
      const ranked = Array.from(members, (item) => {
        const column = used[places[item]];
        return { item, column, line: depth[column]++ };
      });
      ranked.sort((a, b) => a.line - b.line || a.column - b.column);
      let line = -1;
      for (const each of ranked) {
        depth[each.column] = 0;
        if (each.line !== line) lines.push(written);
        line = each.line;
        items[written] = each.item;
        placed[written++] = each.column;
      }
    }
    starts.push(lines.length);
    lines.push(written);
    return view(columns, Int32Array.from(starts), Int32Array.from(lines), items, placed, rows.length);
  }

  /**
   * @param {(Value | null)[]} columns
   * @param {Int32Array} rows
   * @param {Int32Array} lines
   * @param {Int32Array} items
   * @param {Int32Array} places
   * @param {number} total
   * @returns {View}
   */
  function view(columns, rows, lines, items, places, total) {
    return {
      columns,
      rows,
      lines,
      items,
      places,
      total,
      shown: items.length,
      numLines: lines.length - 1,
      numRows: rows.length - 1,
      at(line, column) {
        for (let i = lines[line]; i < lines[line + 1]; i++) if (places[i] === column) return items[i];
        return -1;
      },
      starts: (line) => rows[rowOf(rows, line)] === line,
    };
  }

  /** The last of the sorted `starts` that is not above `value`. @param {Int32Array} starts @param {number} value */
  function rowOf(starts, value) {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
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

  NST.pivot = { initial, pivot, sorted, wall, rowOf };
})();

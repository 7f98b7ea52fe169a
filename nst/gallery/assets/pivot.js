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

  // `arrange.js` adds what only a choice of the reader asks for.
  NST.pivot = /** @type {any} */ ({ initial, laid, view, rowOf });
})();

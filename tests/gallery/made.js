// Columns, fields and spines as the builder makes them, small.

/**
 * A column of these values, null where an item has none.
 * @param {(Value | null)[]} items
 * @returns {Column}
 */
export function column(items) {
  const values = [...new Set(items.filter((item) => item !== null))].sort((a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1,
  );
  return { values, codes: Uint16Array.from(items, (item) => (item === null ? values.length : values.indexOf(item))) };
}

/** @param {string} name @param {Partial<Field>} [more] @returns {Field} */
export const field = (name, more = {}) => ({
  name,
  title: name.replaceAll("_", " "),
  role: "setting",
  kind: "text",
  better: 0,
  size: 2,
  missing: 0,
  hash: "0",
  index: 0,
  ...more,
});

/** @param {Partial<Spine>} more @returns {Spine} */
export const spine = (more = {}) => ({
  version: 1,
  num_items: 0,
  num_failed: 0,
  num_manifest_rows: 0,
  num_lines: 0,
  chunk_items: 250,
  detail_items: 250,
  chunks: new Uint32Array(),
  details: new Uint32Array(),
  runs: [{ name: "one", base: "" }],
  metadata: ["metadata.parquet"],
  small_previews: true,
  fields: ["content", "style", "backbone", "style_weight", "label_a,b", "ssim"].map((name) => field(name)),
  row: ["content", "style"],
  column: "backbone",
  columns: ["vgg16", "vgg19"],
  patterns: [],
  row_patterns: new Uint8Array(0),
  run_diff: [],
  num_unmatched: 0,
  ...more,
});

// @ts-check
// The data of the gallery, each file loaded when it is first asked for.
(function () {
  "use strict";

  // Some 10,000 items; more would only fill the memory of who tours a large gallery.
  const MAX_CHUNKS = 40;
  const MAX_DETAILS = 8;
  const CURVES = /** @type {const} */ (["total", "content", "style", "tv", "detail"]);

  /**
   * A value for each key, made once, of which the last `limit` used ones are kept, and those on their way.
   * @template T
   * @param {number} limit
   * @param {(key: any) => Promise<T>} make
   */
  function cache(limit, make) {
    /** @type {Map<any, {promise: Promise<T>, value: T | null}>} */
    const kept = new Map();
    const made = {
      limit,
      /** @param {any} key @returns {Promise<T>} */
      get(key) {
        const found = kept.get(key);
        if (found) {
          kept.delete(key);
          kept.set(key, found);
          return found.promise;
        }
        const entry = { promise: make(key), value: /** @type {T | null} */ (null) };
        kept.set(key, entry);
        for (const [old, { value }] of kept) {
          if (kept.size <= made.limit) break;
          if (value !== null) kept.delete(old);
        }
        entry.promise.then(
          (value) => (entry.value = value),
          // Another try may find it.
          () => kept.delete(key),
        );
        return entry.promise;
      },
      /** @param {any} key @returns {T | null} */
      peek: (key) => kept.get(key)?.value ?? null,
    };
    return made;
  }

  /**
   * @param {string} path of the spine
   * @returns {Promise<Store>}
   */
  async function open(path) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    /** @type {Spine} */
    const spine = await NST.codec.load(path);
    NST.opinions.open(spine);
    const fields = spine.fields;
    fields.forEach((field, index) => (field.index = index));
    const byName = new Map(fields.map((field) => [field.name, field]));

    const columns = cache(fields.length + 1, async (name) => {
      const field = byName.get(name);
      if (field?.hash) return NST.codec.load(folder + "col-" + field.index + "." + field.hash + ".js");
      const value = field?.value ?? null;
      const codes = new Uint8Array(spine.num_items);
      return { values: value === null ? [] : [value], codes };
    });
    const chunks = cache(MAX_CHUNKS, async (number) => {
      const name = "rows-" + String(number).padStart(4, "0");
      return chunk(await NST.codec.load(folder + name + "." + hex(spine.chunks[number]) + ".js"), store);
    });
    const details = cache(MAX_DETAILS, (number) => {
      const name = "detail-" + String(number).padStart(4, "0");
      return NST.codec.load(folder + name + "." + hex(spine.details[number]) + ".js");
    });

    /** @type {Store} */
    const store = {
      folder,
      spine,
      fields,
      field: (name) => byName.get(name),
      column: (name) => (byName.get(name)?.own ? NST.opinions.column(store, name) : columns.get(name)),
      keep(items) {
        const needed = new Set(items.map((index) => Math.floor(index / spine.chunk_items)));
        chunks.limit = Math.max(MAX_CHUNKS, needed.size);
      },
      peek(index) {
        const found = chunks.peek(Math.floor(index / spine.chunk_items));
        return found ? found(index) : null;
      },
      async item(index) {
        return (await chunks.get(Math.floor(index / spine.chunk_items)))(index);
      },
      async detail(item) {
        const number = Math.floor(item.detail / spine.detail_items);
        const packed = await details.get(number);
        const index = item.detail - packed.first;
        return { curve: decodeCurve(packed, index), layers: packed.layers[index] || [] };
      },
      async find(id) {
        const { values, codes } = await columns.get("id");
        const code = values.indexOf(id);
        return code < 0 ? -1 : codes.indexOf(code);
      },
    };
    return store;
  }

  /** The digest in the name of a file. @param {number} number */
  const hex = (number) => number.toString(16).padStart(8, "0");

  /**
   * The items of a chunk by their number in the gallery.
   * @param {any} packed
   * @param {Store} store
   */
  function chunk(packed, store) {
    /** @type {Item[]} */
    const made = [];
    /** @param {Column} column @param {number} offset @returns {any} */
    const at = (column, offset) => column.values[column.codes[offset]] ?? null;

    return (/** @type {number} */ index) => {
      const offset = index - packed.first;
      return (made[offset] ||= makeItem(offset));
    };

    /** @param {number} offset @returns {Item} */
    function makeItem(offset) {
      const base = store.spine.runs[packed.run ? packed.run[offset] : 0].base;
      /** @param {Column} column */
      const url = (column) => {
        const path = at(column, offset);
        return path === null ? null : base + path;
      };
      /** @param {string} name @returns {Value | null} */
      const get = (name) => {
        const field = store.field(name);
        if (!field) return null;
        if (field.own) return NST.opinions.value(String(get("id")), name);
        const column = packed.fields[field.index];
        return column ? at(column, offset) : (field.value ?? null);
      };
      const style = String(get("style") ?? "");
      const names = style.split(" | ");
      const stems = String(at(packed.style_preview, offset) ?? "").split(" ");
      return {
        index: packed.first + offset,
        id: String(get("id")),
        get,
        failed: get("status") === "failed",
        picture: url(packed.picture),
        thumb: url(packed.thumb),
        color: at(packed.color, offset),
        width: packed.width[offset],
        height: packed.height[offset],
        content: preview(String(get("content") ?? ""), at(packed.content_preview, offset), base),
        styles: names.map((name, i) => preview(name, stems[i] || null, base)),
        detail: packed.detail[offset],
      };
    }

    /** @param {string} reference @param {string | null} stem @param {string} base @returns {Preview} */
    function preview(reference, stem, base) {
      const large = stem && base + stem + ".jpg";
      const small = stem && store.spine.small_previews ? base + stem + "-256.webp" : large;
      return { name: NST.format.readable(reference), title: reference, small, large };
    }
  }

  /**
   * The loss curve of the item at `index` in a detail file: logarithms, each as the difference to
   * the one before it.
   * @param {any} packed
   * @param {number} index
   * @returns {CurvePoint[]}
   */
  function decodeCurve(packed, index) {
    let start = 0;
    for (let i = 0; i < index; i++) start += packed.counts[i];
    const sums = { total: 0, content: 0, style: 0, tv: 0, detail: 0 };
    return Array.from({ length: packed.counts[index] }, (_, i) => {
      const point = /** @type {CurvePoint} */ ({ evaluation: packed.evaluations[start + i] });
      for (const name of CURVES) {
        const curve = packed.curves[name];
        if (curve) {
          sums[name] = ((sums[name] + curve[start + i]) << 16) >> 16;
          point[name] = sums[name] === -32768 ? 0 : 2 ** (sums[name] / 256);
        } else point[name] = 0;
      }
      return point;
    });
  }

  NST.store = { open, decodeCurve };
})();

// @ts-check
// Data files: the text of a script, gzip in base64, to a value with typed arrays.
(function () {
  "use strict";

  const KINDS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i2: Int16Array };

  /** @type {Map<string, (payload: string) => void>} */
  const awaited = new Map();

  /**
   * The value that a container holds: its JSON with `{"$": [kind, offset, count]}` as typed arrays.
   * @param {Uint8Array} bytes
   */
  function revive(bytes) {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const start = bytes.byteOffset + 4 + length;
    return walk(JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))));

    /** @param {any} value @returns {any} */
    function walk(value) {
      // Arrays hold no typed arrays, and may be long.
      if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
      if (value.$) {
        const [kind, offset, count] = value.$;
        const Kind = KINDS[/** @type {keyof typeof KINDS} */ (kind)];
        return new Kind(/** @type {ArrayBuffer} */ (bytes.buffer), start + offset, count);
      }
      for (const name of Object.keys(value)) value[name] = walk(value[name]);
      return value;
    }
  }

  /** @param {string} payload */
  async function unpack(payload) {
    const packed = atob(payload);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return revive(new Uint8Array(await new Response(stream).arrayBuffer()));
  }

  /**
   * What a data file holds. Only a script can be read from a disk as well as from a server.
   * @param {string} path
   */
  function load(path) {
    const key = path.slice(path.lastIndexOf("/") + 1).split(".")[0];
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const fail = () => {
        awaited.delete(key);
        reject(new Error("expected the gallery's file " + path + ", found none; if the gallery was rebuilt, reload the page"));
      };
      awaited.set(key, (payload) => unpack(payload).then(resolve, reject));
      script.onerror = fail;
      script.onload = () => {
        script.remove();
        if (awaited.has(key)) fail();
      };
      script.src = path;
      document.head.append(script);
    });
  }

  globalThis.nstGallery = (key, payload) => {
    const take = awaited.get(key);
    awaited.delete(key);
    if (take) take(payload);
  };

  globalThis.NST = globalThis.NST || /** @type {any} */ ({});
  NST.codec = { unpack, revive, load };
})();

// The shipped scripts in Node: classic ones, so they run here as they do in a page, and meet on NST.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const ASSETS = new URL("../../nst/gallery/assets/", import.meta.url);

/**
 * NST, once the scripts of these names have run, in this order.
 * @param {...string} names
 * @returns {NSTNamespace}
 */
export function load(...names) {
  for (const name of names) {
    const file = new URL(`${name}.js`, ASSETS);
    runInThisContext(readFileSync(file, "utf8"), { filename: file.pathname });
  }
  return globalThis.NST;
}

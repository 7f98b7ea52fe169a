// Seeded random numbers, so that a test that fails fails again.

/** Numbers from 0 up to but not including 1 (mulberry32). @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** @template T @param {() => number} next @param {T[]} values @returns {T} */
export const pick = (next, values) => values[Math.floor(next() * values.length)];

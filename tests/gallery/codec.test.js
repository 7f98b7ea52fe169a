import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { load } from "./scripts.js";

const { codec } = load("codec");

/** A container as its format is written down, not as the builder makes it. @param {any} json @param {ArrayBufferView[]} arrays */
function container(json, arrays) {
  let text = JSON.stringify(json);
  while ((4 + Buffer.byteLength(text)) % 8) text += " ";
  const head = Buffer.alloc(4);
  head.writeUInt32LE(Buffer.byteLength(text));
  const parts = arrays.flatMap((array) => {
    const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
    return [bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)];
  });
  return Buffer.concat([head, Buffer.from(text), ...parts]);
}

test("typed arrays stand where the JSON names them", async () => {
  const small = Uint8Array.of(1, 2, 255);
  const signed = Int16Array.of(-32768, 0, 32767);
  const large = Uint32Array.of(4294967295);
  const packed = container(
    { name: "Bäume \u2028 <b>", deep: { codes: { $: ["u1", 0, 3] }, curve: { $: ["i2", 8, 3] } }, list: [{ $: 1 }], last: { $: ["u4", 16, 1] } },
    [small, signed, large],
  );
  const value = await codec.unpack(gzipSync(packed).toString("base64"));
  assert.deepEqual(value.deep.codes, small);
  assert.deepEqual(value.deep.curve, signed);
  assert.deepEqual(value.last, large);
  assert.equal(value.name, "Bäume \u2028 <b>");
  assert.deepEqual(value.list, [{ $: 1 }]);
});

test("what is no gzip is refused", async () => {
  await assert.rejects(codec.unpack(Buffer.from("no gzip").toString("base64")));
});

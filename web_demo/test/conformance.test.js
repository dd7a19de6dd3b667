/** The page's arithmetic reproduces the vectors in conformance/, exactly. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { classShares, shareText } from "../../keras_bisenet/web/page/legend.js";
import { classIdsFromLogits, classIdsFromMap, Fit } from "../../keras_bisenet/web/page/letterbox.js";
import { asRgba, readPng } from "./png.js";

const FOLDER = new URL("../../conformance/", import.meta.url);
const ARRAYS = { int8: Int8Array, uint8: Uint8Array, int32: Int32Array, float32: Float32Array };

const read = (name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));
const png = (name) => readPng(new URL(name, FOLDER));

for (const { image, network, content, output } of read("letterbox.json")) {
  test(`letterbox: ${image} into ${network.join("x")}`, () => {
    const picture = png(image);
    const fit = Fit.of([picture.height, picture.width], network);
    assert.deepEqual(fit.contentSize, content);
    assert.deepEqual(fit.place(asRgba(picture)), png(output).data);
  });
}

for (const vector of read("class_ids.json")) {
  const { kind, logits, image_size, network_size, content_size, class_ids } = vector;
  test(`class ids: ${class_ids}, from ${kind} of ${logits.shape.join("x")} ${logits.dtype}`, () => {
    const fit = Fit.of(image_size, network_size);
    assert.deepEqual(fit.contentSize, content_size);
    const bytes = new Uint8Array(Buffer.from(logits.base64, "base64"));
    const values = new ARRAYS[logits.dtype](bytes.buffer);
    const toIds = kind === "logits" ? classIdsFromLogits : classIdsFromMap;
    assert.deepEqual(toIds(values, logits.shape, fit), png(class_ids).data);
  });
}

const { names, palette, cases } = read("legend.json");
assert.equal(names.length, palette.length);
for (const { class_ids, shares, texts } of cases) {
  test(`legend: ${class_ids}`, () => {
    const found = classShares(png(class_ids).data);
    assert.deepEqual(found, shares);
    assert.deepEqual(
      found.map(([id, share]) => shareText(id, share, names)),
      texts,
    );
  });
}

test("halves of a percent are rounded to the even digit, as in Python", () => {
  const shown = [0.125, 0.135, 0.145, 0.0025, 0.0075, 0.01, 0.0099, 0.995, 1, 0.00049, 0.00025];
  assert.deepEqual(
    shown.map((share) => shareText(0, share, ["a"])),
    ["12", "14", "14", "0.2", "0.8", "1", "1.0", "100", "100", "0.0", "0.0"].map((p) => `a ${p}%`),
  );
});

test("a class id that the model has no name for is void", () => {
  const fit = Fit.of([1, 3], [1, 3]);
  assert.deepEqual([...classIdsFromMap(Int32Array.of(0, 11, -1), [1, 3], fit, 11)], [0, 255, 255]);
});

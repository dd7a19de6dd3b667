/** The self-test's verdict, on answers made up for it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { compare, verdict } from "../../keras_bisenet/web/page/golden.js";

const OUTPUT = { kind: "logits", shape: [1, 1, 200, 2] };
const golden = Uint8Array.from({ length: 400 }, (_, i) => [128, 0][i % 2]); // class 0 everywhere
golden.set([100, 98], 0); // in the first pixel class 1 all but wins: the range is 128

function answers(changes) {
  const answer = golden.slice();
  for (const [place, value] of changes) {
    answer[place] = value;
  }
  return verdict([compare(answer, golden, OUTPUT)]);
}

test("the same bytes", () => {
  assert.deepEqual(answers([]), { passed: true, text: "The same bytes: 1 inputs, 400 values." });
});

test("another winner that all but won is no other class", () => {
  assert.deepEqual(answers([[1, 101]]), {
    passed: true,
    text:
      "The same classes, not the same bytes: 1 inputs, 400 values; 0.25% of them differ, by 3 at " +
      "most; same class, or one that all but won: 100.00% of the pixels.",
  });
});

test("one pixel in 200 may have another class, two may not", () => {
  assert.equal(answers([[3, 200]]).passed, true);
  assert.deepEqual(answers([[3, 200], [5, 129]]), {
    passed: false,
    text:
      "Other answers: 1 inputs, 400 values; 0.50% of them differ, by 200 at most; " +
      "same class, or one that all but won: 99.00% of the pixels.",
  });
});

test("class ids are the same or not", () => {
  const output = { kind: "class_ids", shape: [1, 2, 2] };
  const [one, other] = [Int32Array.of(1, 2, 3, 4), Int32Array.of(1, 2, 3, 5)];
  assert.deepEqual(compare(one, other, output), {
    values: 4,
    differing: 1,
    largest: 1,
    agreement: 0.75,
  });
});

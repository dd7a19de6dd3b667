/**
 * The self-test: does this browser give the answers that the model gave where it was made?
 *
 * The inputs and answers are those of the golden file that `keras-bisenet convert` writes beside
 * a model. As in tools/check_tflite.py, kernels that round in their own way must give each pixel
 * of the output the same class, or one that all but won, for 99.5% of the pixels.
 */

const LEAST_AGREEMENT = 0.995;
const TIE = 1 / 64; // of the answer's range

/** An array of a file, which is compressed (gzip) or not. */
export async function fetchArray(address, Type) {
  const answer = await fetch(address);
  if (!answer.ok) {
    throw new Error(`${address.split("/").pop()}: ${answer.status} ${answer.statusText}`);
  }
  let content = await answer.arrayBuffer();
  const [first, second] = new Uint8Array(content, 0, 2);
  if (first === 0x1f && second === 0x8b) {
    const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
    content = await new Response(stream).arrayBuffer();
  }
  return new Type(content);
}

/**
 * Compares an answer with the golden one.
 *
 * @param {TypedArray} answer
 * @param {TypedArray} golden
 * @param {{kind: string, shape: number[]}} output
 */
export function compare(answer, golden, { kind, shape }) {
  const classes = kind === "logits" ? shape.at(-1) : 1;
  const pixels = golden.length / classes;
  const tie = TIE * range(golden);
  let [differing, largest, agreeing] = [0, 0, 0];
  for (let i = 0; i < golden.length; i++) {
    const difference = Math.abs(answer[i] - golden[i]);
    differing += difference > 0;
    largest = Math.max(largest, difference);
  }
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (kind !== "logits") {
      agreeing += answer[pixel] === golden[pixel];
      continue;
    }
    const start = pixel * classes;
    const best = Math.max(...golden.subarray(start, start + classes));
    const here = answer.subarray(start, start + classes);
    const winner = here.indexOf(Math.max(...here));
    agreeing += best - golden[start + winner] <= tie;
  }
  return { values: golden.length, differing, largest, agreement: agreeing / pixels };
}

/** Whether answers pass, and what to say of them: { passed, text }. */
export function verdict(results) {
  const values = results.reduce((sum, result) => sum + result.values, 0);
  const differing = results.reduce((sum, result) => sum + result.differing, 0);
  const largest = Math.max(...results.map((result) => result.largest));
  const agreement = Math.min(...results.map((result) => result.agreement));
  const inputs = `${results.length} inputs, ${values.toLocaleString("en")} values`;
  if (differing === 0) {
    return { passed: true, text: `The same bytes: ${inputs}.` };
  }
  const percent = (share) => `${(100 * share).toFixed(2)}%`;
  const passed = agreement >= LEAST_AGREEMENT;
  return {
    passed,
    text:
      `${passed ? "The same classes, not the same bytes" : "Other answers"}: ${inputs}; ` +
      `${percent(differing / values)} of them differ, by ${Number(largest.toPrecision(3))} at most; ` +
      `same class, or one that all but won: ${percent(agreement)} of the pixels.`,
  };
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high - low;
}

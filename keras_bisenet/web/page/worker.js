/**
 * The page's worker: it holds the runtime and the model, and answers one request at a time.
 *
 * Requests: {id, what: "open" | "segment" | "selfTest", ...}; answers: {id, result} or
 * {id, error}, and while the model is loading {progress}. A classic worker, since LiteRT.js
 * loads its WebAssembly with `importScripts`.
 */

"use strict";

let segmenter;
let golden;

const actions = {
  /** Loads runtime and model: {site, base, accelerator, threads}. */
  async open({ site, base, accelerator, threads }) {
    const [{ openLiteRt }, { fetchModel, PageError, reasonOf, Segmenter }] = await Promise.all([
      import("./litert.js"),
      import("./segmenter.js"),
    ]);
    const content = await fetchModel(new URL(site.model.file, base).href, site.model, (share) =>
      postMessage({ progress: share }),
    );
    const address = new URL(site.runtime.address, base).href;
    let runtime;
    try {
      runtime = await openLiteRt(address, { threads, webgpu: accelerator === "webgpu" });
    } catch (error) {
      throw new PageError(`LiteRT.js cannot be loaded from ${address}: ${reasonOf(error)}.`);
    }
    segmenter = await Segmenter.open(runtime, content, site.model, { accelerator, threads });
    golden = { ...site.golden, base };
    return {
      isFullyAccelerated: segmenter.isFullyAccelerated,
      loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    };
  },

  /** {bitmap} -> {ids, timings, bitmap}, the ids at the bitmap's size. */
  async segment({ bitmap }) {
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const { ids, timings } = await segmenter.segment(image);
    return { ids, timings, bitmap, transfer: [ids.buffer, bitmap] };
  },

  /** Replays the golden inputs: {passed, text}. */
  async selfTest() {
    const { compare, fetchArray, verdict } = await import("./golden.js");
    const { input, output } = segmenter.info;
    const types = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };
    const [inputs, answers] = await Promise.all([
      fetchArray(new URL(golden.inputs, golden.base).href, types[input.dtype]),
      fetchArray(new URL(golden.answers, golden.base).href, types[output.dtype]),
    ]);
    const results = [];
    for (let i = 0; i < golden.count; i++) {
      const answer = await segmenter.invoke(part(inputs, i, golden.count));
      results.push(compare(answer, part(answers, i, golden.count), segmenter.output));
    }
    return { ...verdict(results), results };
  },
};

function part(array, i, count) {
  const length = array.length / count;
  return array.slice(i * length, (i + 1) * length);
}

self.onmessage = async ({ data: { id, what, ...request } }) => {
  try {
    const { transfer = [], ...result } = await actions[what](request);
    postMessage({ id, result }, transfer);
  } catch (error) {
    // The page's own errors are whole sentences. Others come from the runtime.
    const text = error?.message ? error.message.split("\n")[0] : String(error);
    postMessage({ id, error: text });
  }
};

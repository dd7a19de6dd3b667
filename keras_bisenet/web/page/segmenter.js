/** From an image to its class ids with a `.tflite` file. */

import { classIdsFromLogits, classIdsFromMap, Fit } from "./letterbox.js";

/** What a user can be told in one line. */
export class PageError extends Error {}

/** More than this does not fit beside itself in the memory that WebAssembly may have. */
const MAX_MODEL_BYTES = 512 * 2 ** 20;

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };

/**
 * Fetches a model, and sees that it is the one that the page was made with.
 *
 * @param {string} address
 * @param {{bytes: number, sha256: string}} expected
 * @param {(share: number) => void} progress Called with the share that is there, 0 to 1.
 * @return {Promise<Uint8Array>}
 */
export async function fetchModel(address, expected, progress = () => {}) {
  const name = address.split("/").pop();
  if (expected.bytes > MAX_MODEL_BYTES) {
    throw new PageError(
      `${name} is too large for a browser: ${Math.round(expected.bytes / 2 ** 20)} MiB, ` +
        `${MAX_MODEL_BYTES / 2 ** 20} at most. Make a smaller model.`,
    );
  }
  const answer = await fetch(address).catch((error) => {
    throw new PageError(`${name} cannot be loaded (${error.message}). Reload the page.`);
  });
  if (!answer.ok) {
    throw new PageError(`${name} cannot be loaded (${answer.status} ${answer.statusText}).`);
  }
  const content = new Uint8Array(expected.bytes);
  const reader = answer.body.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    if (length + value.length > content.length) {
      await reader.cancel();
      throw damaged(name, `more than the ${content.length} bytes of the page's model`);
    }
    content.set(value, length);
    length += value.length;
    progress(length / content.length);
  }
  if (length < content.length) {
    throw damaged(name, `${length} bytes of ${content.length}`);
  }
  if (String.fromCharCode(...content.subarray(4, 8)) !== "TFL3") {
    throw damaged(name, "it is no .tflite file");
  }
  // Pages that came without encryption, except from this machine itself, cannot hash.
  if (globalThis.crypto?.subtle) {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== expected.sha256) {
      throw damaged(name, "its content is not that of the page's model");
    }
  }
  return content;
}

function damaged(name, reason) {
  return new PageError(`${name} is damaged (${reason}). Copy the folder of this page again.`);
}

/** Segments images of any size. */
export class Segmenter {
  /**
   * @param {object} runtime The exports of LiteRT.js, loaded.
   * @param {object} info The model as site.json describes it.
   * @param {object} compiled The model as LiteRT.js compiled it.
   */
  constructor(runtime, info, compiled) {
    this._runtime = runtime;
    this._compiled = compiled;
    this.info = info;
    this.isFullyAccelerated = compiled.isFullyAccelerated;
  }

  /**
   * @param {object} runtime The exports of LiteRT.js, loaded.
   * @param {Uint8Array} content The `.tflite` file.
   * @param {object} info The model as site.json describes it.
   * @param {{accelerator: string, threads: number}} options
   * @throws {PageError} When it cannot run here, or is another kind of model.
   */
  static async open(runtime, content, info, { accelerator, threads }) {
    let compiled;
    try {
      compiled = await runtime.loadAndCompile(content, {
        accelerator,
        cpuOptions: { numThreads: threads },
      });
    } catch (error) {
      throw new PageError(`The model cannot run in this browser: ${reasonOf(error)}.`);
    }
    const ends = [
      [compiled.getInputDetails(), info.input],
      [compiled.getOutputDetails(), info.output],
    ];
    for (const [tensors, expected] of ends) {
      const isExpected =
        tensors.length === 1 &&
        tensors[0].dtype === expected.dtype &&
        String(Array.from(tensors[0].shape)) === String(expected.shape);
      if (!isExpected) {
        const shown = tensors.map((t) => `${Array.from(t.shape).join("x")} ${t.dtype}`).join(", ");
        compiled.delete();
        throw new PageError(
          `The model is of another kind than this page is for: ${shown} where ` +
            `${expected.shape.join("x")} ${expected.dtype} was expected.`,
        );
      }
    }
    return new Segmenter(runtime, info, compiled);
  }

  /**
   * The class id of every pixel.
   *
   * @param {ImageData} image
   * @return {Promise<{ids: Uint8Array, timings: object}>} Timings of the stages in milliseconds.
   */
  async segment(image) {
    const start = performance.now();
    const fit = Fit.of([image.height, image.width], this.info.input.shape.slice(1, 3));
    const input = this.encode(fit.place(image.data));
    const prepared = performance.now();
    const output = await this.invoke(input);
    const invoked = performance.now();
    const ids = this.finish(output, fit);
    const finished = performance.now();
    const timings = {
      prepare: prepared - start,
      invoke: invoked - prepared,
      finish: finished - invoked,
    };
    return { ids, timings };
  }

  /** The input tensor's values for RGB pixels. */
  encode(pixels) {
    const { dtype, table } = this.info.input;
    return table ? ARRAYS[dtype].from(pixels, (pixel, i) => table[3 * pixel + (i % 3)]) : pixels;
  }

  /**
   * The network's raw output for the values of its input tensor. Where that is one channel, the
   * background's is put before it: the threshold.
   */
  async invoke(values) {
    const output = await this._run(values);
    const { threshold } = this.info.output;
    if (threshold === null) {
      return output;
    }
    return output.constructor.from({ length: 2 * output.length }, (_, i) =>
      i % 2 ? output[(i - 1) / 2] : threshold,
    );
  }

  /** What `invoke` gives: "logits" or "class_ids", of which shape. */
  get output() {
    const { kind, shape, threshold } = this.info.output;
    return { kind, shape: threshold === null ? shape : [...shape.slice(0, 3), 2] };
  }

  async _run(values) {
    const { Tensor } = this._runtime;
    const input = new Tensor(values, this.info.input.shape);
    try {
      const [output] = await this._compiled.run([input]);
      try {
        return await output.data();
      } finally {
        output.delete();
      }
    } finally {
      input.delete();
    }
  }

  /** The class ids at the image's own size. */
  finish(output, fit) {
    const { kind, shape } = this.output;
    return kind === "logits"
      ? classIdsFromLogits(output, shape.slice(1), fit)
      : classIdsFromMap(output, shape.slice(1, 3), fit, this.info.classes.length);
  }
}

/** An error of the runtime in one line, without a full stop. */
export function reasonOf(error) {
  const text = String(error?.message ?? error).split("\n")[0].trim();
  return text.replace(/\.$/, "") || "no reason given";
}

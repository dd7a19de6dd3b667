/**
 * Letterbox: how an image of any size meets a network of a fixed size, and the way back.
 *
 * The rules of keras_bisenet/imaging/letterbox.py; conformance/ in the repository holds the vectors
 * that both reproduce. All sizes are [height, width] in pixels.
 */

/** The class id of pixels without a class, the ignore index. */
export const VOID = 255;

/** Where an image lies in a network's input: scaled to fit, at the top left, black around it. */
export class Fit {
  constructor(imageSize, networkSize, contentSize) {
    this.imageSize = imageSize;
    this.networkSize = networkSize;
    this.contentSize = contentSize;
  }

  /** The largest scale that fits the image into the network's input. */
  static of(imageSize, networkSize) {
    const scale = Math.min(networkSize[0] / imageSize[0], networkSize[1] / imageSize[1]);
    const content = imageSize.map((side) => Math.max(1, roundHalfEven(side * scale)));
    return new Fit([...imageSize], [...networkSize], content);
  }

  /**
   * The network's input of an image.
   *
   * @param {Uint8ClampedArray} rgba The image as a canvas gives it, [h, w, 4].
   * @return {Uint8Array} RGB, [H, W, 3].
   */
  place(rgba) {
    const [height, width] = this.contentSize;
    const [networkHeight, networkWidth] = this.networkSize;
    const content = resize(rgba, this.imageSize, this.contentSize);
    if (height === networkHeight && width === networkWidth) {
      return content;
    }
    const placed = new Uint8Array(networkHeight * networkWidth * 3);
    for (let y = 0; y < height; y++) {
      placed.set(content.subarray(y * width * 3, (y + 1) * width * 3), y * networkWidth * 3);
    }
    return placed;
  }
}

/** Python's `round`: halves go to the even number. */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) {
    return Math.round(value);
  }
  return floor % 2 === 0 ? floor : floor + 1;
}

// Resampling with a triangle filter that widens when it shrinks an image, so that nothing aliases:
// along rows, then along columns, each pass rounded to 8 bits with weights of 22 binary digits.

const WEIGHT_BITS = 22;
const HALF = 1 << (WEIGHT_BITS - 1);

/** An RGBA image, [h, w, 4], as RGB of another size. */
function resize(rgba, [height, width], [newHeight, newWidth]) {
  const rows = triangle(height, newHeight);
  const columns = triangle(width, newWidth);
  const across = new Uint8Array(height * newWidth * 3);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      const end = columns.start[x] + columns.length[x];
      let [red, green, blue] = [HALF, HALF, HALF];
      let weight = x * columns.taps;
      let pixel = (y * width + columns.start[x]) * 4;
      for (let tap = columns.start[x]; tap < end; tap++, pixel += 4) {
        const share = columns.weights[weight++];
        red += rgba[pixel] * share;
        green += rgba[pixel + 1] * share;
        blue += rgba[pixel + 2] * share;
      }
      across[at++] = red >> WEIGHT_BITS;
      across[at++] = green >> WEIGHT_BITS;
      across[at++] = blue >> WEIGHT_BITS;
    }
  }
  if (height === newHeight) {
    return across;
  }
  const line = newWidth * 3;
  const resized = new Uint8Array(newHeight * line);
  const sums = new Int32Array(line);
  for (let y = 0; y < newHeight; y++) {
    sums.fill(HALF);
    for (let tap = 0; tap < rows.length[y]; tap++) {
      const share = rows.weights[y * rows.taps + tap];
      const source = (rows.start[y] + tap) * line;
      for (let i = 0; i < line; i++) {
        sums[i] += across[source + i] * share;
      }
    }
    for (let i = 0; i < line; i++) {
      resized[y * line + i] = sums[i] >> WEIGHT_BITS;
    }
  }
  return resized;
}

/**
 * For each place along a side of its new length: which of the old places it is a mean of, from
 * `start` on, and with what `weights`, `taps` apart from one place to the next.
 */
function triangle(length, newLength) {
  const scale = length / newLength;
  const halfWidth = Math.max(1, scale);
  const taps = length === newLength ? 1 : Math.ceil(halfWidth) * 2 + 1;
  const filter = {
    taps,
    start: new Int32Array(newLength),
    length: new Int32Array(newLength),
    weights: new Int32Array(newLength * taps),
  };
  for (let i = 0; i < newLength; i++) {
    if (length === newLength) {
      filter.start[i] = i;
      filter.length[i] = 1;
      filter.weights[i] = 1 << WEIGHT_BITS;
      continue;
    }
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - halfWidth + 0.5));
    const end = Math.min(length, Math.trunc(centre + halfWidth + 0.5));
    const weights = [];
    for (let k = start; k < end; k++) {
      weights.push(Math.max(0, 1 - Math.abs((k - centre + 0.5) / halfWidth)));
    }
    const sum = weights.reduce((a, b) => a + b, 0);
    filter.start[i] = start;
    filter.length[i] = weights.length;
    weights.forEach((weight, k) => {
      filter.weights[i * taps + k] = Math.trunc(0.5 + (weight / sum) * (1 << WEIGHT_BITS));
    });
  }
  return filter;
}

/**
 * The most likely class of every pixel of the image.
 *
 * Bilinear interpolation (half-pixel centers, edges clamped) in single precision, then argmax.
 * Where one class wins in all four cells around a pixel it wins the pixel, so only the pixels on
 * the borders between classes are interpolated.
 *
 * @param {TypedArray} logits [rows, columns, classes], quantized or not.
 * @param {number[]} shape Of the logits.
 * @param {Fit} fit How the image was placed.
 * @return {Uint8Array} [h, w]. Of equal classes the lowest id wins.
 */
export function classIdsFromLogits(logits, [rows, columns, classes], fit) {
  const [height, width] = fit.imageSize;
  const down = taps(rows, fit, 0);
  const across = taps(columns, fit, 1);
  const winners = new Uint8Array(rows * columns);
  for (let cell = 0; cell < winners.length; cell++) {
    winners[cell] = highest(logits, cell * classes, classes);
  }

  const ids = new Uint8Array(height * width);
  const line = new Float32Array(columns * classes); // the row's logits, between two rows of cells
  const values = new Float32Array(classes);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const top = down.low[y] * columns;
    const bottom = down.high[y] * columns;
    let lineIsThere = false;
    for (let x = 0; x < width; x++) {
      const left = across.low[x];
      const right = across.high[x];
      const winner = winners[top + left];
      if (
        winner === winners[top + right] &&
        winner === winners[bottom + left] &&
        winner === winners[bottom + right]
      ) {
        ids[at++] = winner;
        continue;
      }
      if (!lineIsThere) {
        mix(logits, top * classes, bottom * classes, down.weight[y], line);
        lineIsThere = true;
      }
      mixPixel(line, left * classes, right * classes, across.weight[x], values);
      ids[at++] = highest(values, 0, classes);
    }
  }
  return ids;
}

/**
 * The nearest class id for every pixel of the image.
 *
 * @param {TypedArray} cells [rows, columns] class ids over the network's whole input.
 * @param {number[]} shape Of the cells.
 * @param {Fit} fit How the image was placed.
 * @param {number} classes How many there are: any other id becomes VOID.
 * @return {Uint8Array} [h, w].
 */
export function classIdsFromMap(cells, [rows, columns], fit, classes = VOID) {
  const [height, width] = fit.imageSize;
  const down = places(rows, fit, 0).map((place) => Math.floor(place + 0.5));
  const across = places(columns, fit, 1).map((place) => Math.floor(place + 0.5));
  const ids = new Uint8Array(height * width);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const id = Number(cells[down[y] * columns + across[x]]);
      ids[at++] = id >= 0 && id < classes ? id : VOID;
    }
  }
  return ids;
}

/** Where the image's pixels lie along an axis, counted in cells; the first cell's centre is 0. */
function places(cells, fit, axis) {
  const length = fit.imageSize[axis];
  const scale = (fit.contentSize[axis] * cells) / (fit.networkSize[axis] * length);
  return Float64Array.from({ length }, (_, i) => (i + 0.5) * scale - 0.5);
}

/** The cells on either side of each pixel along an axis, and the second one's weight. */
function taps(cells, fit, axis) {
  const at = places(cells, fit, axis).map((place) => Math.min(Math.max(place, 0), cells - 1));
  const low = Int32Array.from(at, Math.trunc);
  return {
    low,
    high: low.map((cell) => Math.min(cell + 1, cells - 1)),
    weight: Float32Array.from(at, (place, i) => place - low[i]),
  };
}

/** `low + (high - low) * weight` in single precision, for a whole row of cells. */
function mix(logits, low, high, weight, into) {
  for (let i = 0; i < into.length; i++) {
    const base = Math.fround(logits[low + i]);
    const step = Math.fround(Math.fround(logits[high + i]) - base);
    into[i] = base + Math.fround(step * weight);
  }
}

function mixPixel(line, low, high, weight, into) {
  for (let i = 0; i < into.length; i++) {
    const base = line[low + i];
    into[i] = base + Math.fround(Math.fround(line[high + i] - base) * weight);
  }
}

/** The place, counted from `start`, of the highest of `count` values; the first of equal ones. */
function highest(values, start, count) {
  let best = 0;
  for (let i = 1; i < count; i++) {
    if (values[start + i] > values[start + best]) {
      best = i;
    }
  }
  return best;
}

/** Reads the PNG files of conformance/: 8 bits, grey or RGB, not interlaced. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";

/** @return {{height: number, width: number, channels: number, data: Uint8Array}} */
export function readPng(path) {
  const file = readFileSync(path);
  const parts = [];
  let header;
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const content = file.subarray(at + 8, at + 8 + length);
    const kind = file.toString("latin1", at + 4, at + 8);
    if (kind === "IHDR") {
      header = content;
    } else if (kind === "IDAT") {
      parts.push(content);
    }
    at += length + 12;
  }
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth, colourType, , , interlaced] = header.subarray(8);
  assert.deepEqual([depth, interlaced], [8, 0], String(path));
  const channels = { 0: 1, 2: 3 }[colourType];
  assert.ok(channels, `${path}: colour type ${colourType}`);
  const line = width * channels;
  const raw = inflateSync(Buffer.concat(parts));
  const data = new Uint8Array(height * line);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (line + 1)];
    for (let x = 0; x < line; x++) {
      const left = x < channels ? 0 : data[y * line + x - channels];
      const above = y === 0 ? 0 : data[(y - 1) * line + x];
      const corner = x < channels || y === 0 ? 0 : data[(y - 1) * line + x - channels];
      const guess = [0, left, above, (left + above) >> 1, nearest(left, above, corner)][filter];
      data[y * line + x] = raw[y * (line + 1) + 1 + x] + guess;
    }
  }
  return { height, width, channels, data };
}

/** Whichever of three is nearest to the plane through them (the filter named after Paeth). */
function nearest(left, above, corner) {
  const plane = left + above - corner;
  const distances = [left, above, corner].map((value) => Math.abs(plane - value));
  return [left, above, corner][distances.indexOf(Math.min(...distances))];
}

/** An RGB picture as a canvas would give it. */
export function asRgba({ height, width, data }) {
  const rgba = new Uint8ClampedArray(height * width * 4).fill(255);
  for (let pixel = 0; pixel < height * width; pixel++) {
    rgba.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
  }
  return rgba;
}

/** The legend of an answer: how much of the image each class takes, and how that is written. */

import { VOID } from "./letterbox.js";

const LONGEST_NAME = 28;

/** [class id, share of the pixels] of what a mask holds, the largest share first. */
export function classShares(ids) {
  const counts = new Int32Array(256);
  for (const id of ids) {
    counts[id]++;
  }
  return Array.from(counts, (count, id) => [id, count / ids.length])
    .filter(([, share]) => share > 0)
    .sort((a, b) => b[1] - a[1]); // stable: of equal ones the lowest id first
}

/** A class's name as a legend has room for it. */
export function className(id, names) {
  const letters = [...(id === VOID ? "void" : names[id])];
  const isLong = letters.length > LONGEST_NAME;
  return isLong ? `${letters.slice(0, LONGEST_NAME - 1).join("")}…` : letters.join("");
}

/** A share in percent: whole from 1 on, else with one decimal. */
export function percentText(share) {
  const percent = 100 * share;
  return `${percent >= 1 ? fixed(percent, 0) : fixed(percent, 1)}%`;
}

/** A class's entry in a legend: `Road 21%`. */
export function shareText(id, share, names) {
  return `${className(id, names)} ${percentText(share)}`;
}

/** `toFixed` with halves rounded to the even digit, as Python formats numbers. */
function fixed(value, digits) {
  const shifted = value * 10 ** digits;
  const isHalf = shifted % 1 === 0.5 && Number.isInteger(value * 8); // else the half is a rounding
  return isHalf ? (2 * Math.round(shifted / 2) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}

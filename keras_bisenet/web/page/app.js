/** The page: what is on it, and what happens when. The work is done in worker.js. */

import { Camera } from "./camera.js";
import { Client } from "./client.js";
import { className, classShares, percentText, shareText } from "./legend.js";
import { VOID } from "./letterbox.js";
import { keepForOffline } from "./offline.js";

/** Larger pictures are scaled down first: no browser has larger canvases for sure. */
const MAX_PIXELS = 2 ** 24;

const element = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((node) => [node.id, node]),
);

let site; // site.json: the model, its classes, its golden answers
let client; // the worker that has the model
let camera = null;
let latest = 0; // the number of the newest picture asked for

// === Start ===

async function start() {
  site = await (await fetch("site.json", { cache: "no-cache" })).json();
  describe();
  offerThreads();
  element.accelerator.querySelector("[value=webgpu]").disabled = !navigator.gpu;
  const loaded = await open();
  const files = [...site.files, site.model.file, site.golden.inputs, site.golden.answers];
  const kept = await keepForOffline([...files.map(absolute), ...loaded]);
  element.offline.textContent = kept ? "It works offline from now on." : "";
}

/** Opens the model with the chosen processor, in a new worker. Returns what that has loaded. */
async function open() {
  ready(false);
  stopCamera();
  tell("Loading the model …");
  client?.close();
  client = new Client((share) => tell(`Loading the model … ${Math.round(100 * share)}%`));
  const { value: accelerator } = element.accelerator;
  const threads = accelerator === "wasm" ? Number(element.threads.value) : 1;
  try {
    const message = { site, base: document.baseURI, accelerator, threads };
    const opened = await client.request("open", message);
    element.processor.textContent = processorNote(accelerator, opened.isFullyAccelerated);
    tell("Ready: open a picture, use the camera, or choose a sample.");
    ready(true);
    return opened.loaded;
  } catch (error) {
    if (accelerator === "wasm" && threads === 1) {
      throw error;
    }
    // The one choice that every browser has.
    element.accelerator.value = "wasm";
    element.threads.value = "1";
    const loaded = await open();
    element.processor.textContent = `Back to one thread of the CPU. ${error.message}`;
    return loaded;
  }
}

function describe() {
  const { facts, classes, input } = site.model;
  const [, height, width] = input.shape;
  const parts = [facts.name, `${height}x${width} (height x width)`, ...facts.details];
  element.model.textContent = parts.join(" · ");
  element["made-by"].textContent = `Made by ${site.generator}; runs on LiteRT.js ${site.runtime.version}`;
  for (const [text, address] of site.links) {
    const link = document.createElement("a");
    link.href = address;
    link.textContent = text;
    element["made-by"].append(" · ", link);
  }
  element.samples.replaceChildren(
    ...site.samples.map(({ file, name }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.disabled = true;
      const image = new Image();
      image.src = file;
      image.alt = name;
      button.append(image);
      button.addEventListener("click", () => attempt(() => segmentAddress(file)));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  showLegend(classes.map((_, id) => [id, null]));
}

function offerThreads() {
  const sameHost = new URL(site.runtime.address, document.baseURI).origin === location.origin;
  const most = crossOriginIsolated && sameHost ? Math.min(4, navigator.hardwareConcurrency) : 1;
  element.threads.replaceChildren(
    ...Array.from({ length: most }, (_, i) => new Option(String(i + 1))),
  );
  element.threads.value = String(most);
}

function processorNote(accelerator, isFullyAccelerated) {
  if (accelerator === "webgpu") {
    return isFullyAccelerated
      ? "WebGPU computes in floating point: some values differ from the file’s own by a step or " +
          "two. The self-test counts them. The first picture takes longer."
      : "WebGPU cannot take the whole of this model, so it runs on the CPU.";
  }
  if (element.threads.length > 1) {
    return "";
  }
  return crossOriginIsolated || !navigator.serviceWorker
    ? "One thread."
    : "One thread; more from the next visit on, where this browser can.";
}

// === Pictures ===

async function segmentFile(file) {
  await segmentBlob(file, file.name);
}

async function segmentAddress(address) {
  const answer = await fetch(address);
  await segmentBlob(await answer.blob(), address.split("/").pop());
}

async function segmentBlob(blob, name) {
  stopCamera();
  const number = ++latest;
  tell(`Segmenting ${name} …`);
  let bitmap;
  try {
    bitmap = await decode(blob);
  } catch {
    throw new Error(`${name} is no picture that this browser can read: choose a JPEG or a PNG file.`);
  }
  const answer = await client.request("segment", { bitmap }, [bitmap]);
  if (number !== latest) {
    return; // another was chosen meanwhile
  }
  const shares = classShares(answer.ids);
  showAnswer(answer, shares);
  showLegend(shares);
  const { names } = classesOf(site);
  const largest = shares.slice(0, 3).map(([id, share]) => shareText(id, share, names));
  tell(`${name}: ${largest.join(", ")}${shares.length > 3 ? " …" : ""}`);
}

/** Pixels as the file has them, turned upright as its EXIF data asks. */
async function decode(blob) {
  const options = { colorSpaceConversion: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(blob, options);
  const pixels = bitmap.width * bitmap.height;
  if (pixels <= MAX_PIXELS) {
    return bitmap;
  }
  const scale = Math.sqrt(MAX_PIXELS / pixels);
  return createImageBitmap(bitmap, {
    resizeWidth: Math.floor(bitmap.width * scale),
    resizeHeight: Math.floor(bitmap.height * scale),
    resizeQuality: "high",
  });
}

// === The camera ===

async function toggleCamera() {
  if (camera) {
    stopCamera();
    tell("The camera is off.");
    return;
  }
  const number = ++latest;
  const [, height, width] = site.model.input.shape;
  tell("Starting the camera …");
  element.camera.disabled = true;
  try {
    camera = await Camera.open([height, width]);
  } finally {
    element.camera.disabled = false;
  }
  element.camera.setAttribute("aria-pressed", "true");
  element.camera.textContent = "Stop the camera";
  tell("Segmenting what the camera sees.");
  const own = camera;
  try {
    await segmentFrames(own, () => own.isOpen && number === latest);
  } finally {
    own.close();
    if (camera === own) {
      stopCamera();
    }
  }
}

async function segmentFrames(source, goesOn) {
  const ends = []; // of the answers of the last two seconds
  let answered = 0;
  while (goesOn()) {
    const bitmap = await source.newest();
    if (!bitmap) {
      break;
    }
    const answer = await client.request("segment", { bitmap }, [bitmap]);
    if (!goesOn()) {
      break;
    }
    // The legend keeps its order, so that it can be read while the shares change.
    const shares = new Map(classShares(answer.ids));
    showAnswer(answer, [...shares]);
    showLegend(site.model.classes.map((_, id) => [id, shares.get(id) ?? 0]));

    answered += 1;
    ends.push(performance.now());
    while (ends.at(-1) - ends[0] > 2000) {
      ends.shift();
    }
    const rate = (1000 * (ends.length - 1)) / (ends.at(-1) - ends[0] || Infinity);
    const dropped = Math.max(0, source.shown - answered);
    element.rate.hidden = false;
    element.rate.textContent =
      `${rate.toFixed(1)} frames a second; ${answered} of ${answered + dropped} frames segmented, ` +
      "the others came too fast";
    // Lets the page draw, whatever the camera's pace.
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  latest += 1;
  camera?.close();
  camera = null;
  element.camera.setAttribute("aria-pressed", "false");
  element.camera.textContent = "Use the camera";
  element.rate.hidden = true;
}

// === The answer ===

function showAnswer({ bitmap, ids, timings }, shares) {
  const { names, colours } = classesOf(site);
  const { width, height } = bitmap;
  for (const canvas of [element.photo, element.mask]) {
    canvas.width = width;
    canvas.height = height;
  }
  element.photo.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();

  const mask = new ImageData(width, height);
  const pixels = new Uint32Array(mask.data.buffer);
  for (let i = 0; i < ids.length; i++) {
    pixels[i] = colours[ids[i]];
  }
  element.mask.getContext("2d").putImageData(mask, 0, 0);
  element.hint.hidden = true;
  const texts = shares.map(([id, share]) => shareText(id, share, names));
  element.picture.setAttribute("aria-label", `The picture, coloured by class: ${texts.join(", ")}`);

  for (const [stage, time] of Object.entries(timings)) {
    element[stage].textContent = `${time.toFixed(1)} ms`;
  }
  const total = timings.prepare + timings.invoke + timings.finish;
  element.total.textContent = `${total.toFixed(1)} ms`;
}

/** The classes' names, and their colours as the 32 bits of a canvas' pixel, by id. */
function classesOf({ model: { classes } }) {
  const bytes = new Uint8Array(256 * 4);
  bytes.fill(255);
  for (let id = 0; id < 256; id++) {
    bytes.set(classes[id]?.color ?? [0, 0, 0], id * 4);
  }
  return { names: classes.map(({ name }) => name), colours: new Uint32Array(bytes.buffer) };
}

/** Rows of the classes; their shares, where they have one. */
function showLegend(shares) {
  const { names } = classesOf(site);
  element.legend.replaceChildren(
    ...shares.map(([id, share]) => {
      const row = document.createElement("li");
      const swatch = part("span", "swatch");
      const colour = id === VOID ? [0, 0, 0] : site.model.classes[id].color;
      swatch.style.background = `rgb(${colour})`;
      const bar = part("span", "share");
      bar.append(part("span", ""));
      bar.firstChild.style.width = `${100 * (share ?? 0)}%`;
      const percent = share === null ? "" : percentText(share);
      row.append(swatch, part("span", "name", className(id, names)), bar);
      row.append(part("span", "percent", percent));
      return row;
    }),
  );
}

function part(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

// === Self-test ===

async function selfTest() {
  stopCamera();
  element.verdict.className = "";
  element.verdict.textContent = "Replaying …";
  try {
    const { passed, text } = await client.request("selfTest", {});
    element.verdict.className = passed ? "passed" : "failed";
    element.verdict.textContent = `${text} Compared with ${site.golden.runtime} on ${site.golden.machine}.`;
  } catch (error) {
    if (!error) {
      element.verdict.textContent = "";
      return;
    }
    element.verdict.className = "failed";
    element.verdict.textContent = `The self-test did not end: ${error.message}`;
  }
}

// === What the page says, and what may be pressed ===

function tell(text) {
  forgive();
  element.status.textContent = text;
}

function forgive() {
  element.error.hidden = true;
  element.error.textContent = "";
}

function fail(error) {
  element.status.textContent = "";
  element.error.textContent = error.message;
  element.error.hidden = false;
}

function ready(isReady) {
  for (const name of ["file", "camera", "self-test", "accelerator"]) {
    element[name].disabled = !isReady;
  }
  element.threads.disabled = !isReady || element.threads.length < 2;
  for (const button of element.samples.querySelectorAll("button")) {
    button.disabled = !isReady;
  }
}

/** Does it, and says in one line what went wrong. */
async function attempt(action) {
  forgive();
  try {
    await action();
  } catch (error) {
    if (error) {
      fail(error);
    }
  }
}

function absolute(address) {
  return new URL(address, document.baseURI).href;
}

element.file.addEventListener("change", () => {
  const [file] = element.file.files;
  element.file.value = ""; // so that the same file can be chosen again
  if (file) {
    attempt(() => segmentFile(file));
  }
});
element.camera.addEventListener("click", () => attempt(toggleCamera));
element["self-test"].addEventListener("click", () => attempt(selfTest));
element.accelerator.addEventListener("change", () => attempt(open));
element.threads.addEventListener("change", () => attempt(open));
element.opacity.addEventListener("input", () => {
  element.mask.style.opacity = element.opacity.value / 100;
  element["opacity-shown"].textContent = `${element.opacity.value}%`;
});

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragged", name === "dragenter" || name === "dragover");
    const [file] = event.dataTransfer?.files ?? [];
    if (name === "drop" && file && !element.file.disabled) {
      attempt(() => segmentFile(file));
    }
  });
}

attempt(start);

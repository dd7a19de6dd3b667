"use strict";
// Pulls a picture with its mask, shows both, and only then pulls the next: a slow client sees
// fewer pictures, never older ones.

const find = (id) => document.getElementById(id);
const picture = find("picture"), mask = find("mask"), notice = find("notice");
const drawPicture = picture.getContext("2d"), drawMask = mask.getContext("2d");
const scratch = document.createElement("canvas");
const drawScratch = scratch.getContext("2d", { willReadFrequently: true });

let classes = null; // [{name, color, row, box, share}]
const hidden = new Set();
let newest = 0, isPaused = false, ids = null, shownAt = performance.now();
const shownTimes = [];

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(20000) });
  if (answer.status === 401) throw new Error("the token is missing: open the printed address");
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  return answer;
}

async function pull() {
  for (let pause = 250; ; ) {
    if (isPaused || document.hidden) { await wait(100); continue; }
    try {
      const answer = await get(`/frame.jpg?after=${newest}&ids=1`);
      if (answer.status === 204) { tell("no new pictures come from the camera"); continue; }
      const arrived = performance.now();
      const number = Number(answer.headers.get("X-Frame"));
      const age = Number(answer.headers.get("X-Age-Ms"));
      const bytes = Number(answer.headers.get("X-Picture-Bytes"));
      const both = await answer.blob(); // a JPEG, and the PNG of its class ids
      const bitmap = await createImageBitmap(both.slice(0, bytes, "image/jpeg"));
      const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
      const grey = await createImageBitmap(both.slice(bytes, both.size, "image/png"), exact);
      if (isPaused) continue;
      show(bitmap, grey);
      newest = number;
      pause = 250;
      tell("");
      find("age").textContent = `${Math.round(age + performance.now() - arrived)} ms`;
      count();
    } catch (error) {
      tell(`no connection (${error.message}): trying again`);
      newest = 0; // a server that was started anew counts from the start
      await wait(pause);
      pause = Math.min(2 * pause, 4000);
    }
  }
}

function show(bitmap, grey) {
  if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
    picture.width = mask.width = scratch.width = bitmap.width;
    picture.height = mask.height = scratch.height = bitmap.height;
  }
  drawPicture.drawImage(bitmap, 0, 0);
  drawScratch.drawImage(grey, 0, 0);
  const pixels = drawScratch.getImageData(0, 0, scratch.width, scratch.height).data;
  ids = new Uint8Array(scratch.width * scratch.height);
  for (let i = 0; i < ids.length; i++) ids[i] = pixels[4 * i];
  bitmap.close();
  grey.close();
  paint();
}

function paint() {
  if (!ids || !classes) return;
  const colours = new Uint32Array(256); // 0: nothing is drawn, as for void
  classes.forEach(({ color: [r, g, b] }, i) => {
    if (!hidden.has(i)) colours[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  });
  const image = drawMask.createImageData(mask.width, mask.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < ids.length; i++) pixels[i] = colours[ids[i]];
  drawMask.putImageData(image, 0, 0);
}

function count() {
  shownAt = performance.now();
  shownTimes.push(shownAt);
  while (shownTimes[0] < shownAt - 5000) shownTimes.shift();
  const seconds = Math.max(shownAt - shownTimes[0], 1) / 1000;
  if (shownTimes.length > 1) {
    find("page-rate").textContent = `${((shownTimes.length - 1) / seconds).toFixed(1)} /s`;
  }
}

function tell(text) {
  if (notice.textContent !== text) notice.textContent = text;
}

async function watch() {
  for (;;) {
    if (!document.hidden) {
      try { tellStatus(await (await get("/status.json")).json()); } catch { /* pull tells */ }
    }
    await wait(1000);
  }
}

function tellStatus(status) {
  if (!classes) list(status.classes);
  if (!isPaused) {
    status.classes.forEach(({ share }, i) => {
      const { row } = classes[i];
      const percent = 100 * share;
      row.querySelector(".share").textContent =
        percent === 0 ? "" : percent >= 1 ? `${percent.toFixed(0)}%` : `${percent.toFixed(1)}%`;
      row.classList.toggle("absent", percent === 0);
    });
  }
  const dropped = status.per_second.dropped >= 0.1 ? `, ${status.per_second.dropped.toFixed(1)} left out` : "";
  find("rate").textContent = `${status.per_second.written.toFixed(1)} /s`;
  find("camera-rate").textContent = `${status.per_second.read.toFixed(1)} /s${dropped}`;
  find("network").textContent = `${status.network_ms.p50.toFixed(0)} ms`;
  find("latency").textContent = `${status.latency_ms.p50.toFixed(0)} ms`;
  find("source").textContent = status.source;
  find("about").textContent = `${status.model}, ${status.runtime}`;
  if (!status.healthy && status.frame && !isPaused) tell("no new pictures come from the camera");
}

function list(found) {
  classes = found;
  for (const [i, entry] of classes.entries()) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      box.checked ? hidden.delete(i) : hidden.add(i);
      paint();
    });
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.backgroundColor = `rgb(${entry.color.join(" ")})`;
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = name.title = entry.name;
    const share = document.createElement("span");
    share.className = "share";
    label.append(box, swatch, name, share);
    const row = document.createElement("li");
    row.append(label);
    find("classes").append(row);
    Object.assign(entry, { row, box });
  }
  paint();
}

function setAll(isShown) {
  classes?.forEach(({ box }, i) => {
    box.checked = isShown;
    isShown ? hidden.delete(i) : hidden.add(i);
  });
  paint();
}

function setOpacity() {
  mask.style.opacity = find("opacity").value / 100;
  document.querySelector("#blend output").textContent = `${find("opacity").value}%`;
}

function snapshot() {
  const both = document.createElement("canvas");
  both.width = picture.width;
  both.height = picture.height;
  const draw = both.getContext("2d");
  draw.drawImage(picture, 0, 0);
  draw.globalAlpha = find("opacity").value / 100;
  draw.drawImage(mask, 0, 0);
  both.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `snapshot-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
}

find("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  find("pause").setAttribute("aria-pressed", String(isPaused));
  find("pause").textContent = isPaused ? "Go on" : "Pause";
});
find("snapshot").addEventListener("click", snapshot);
find("opacity").addEventListener("input", setOpacity);
find("all").addEventListener("click", () => setAll(true));
find("none").addEventListener("click", () => setAll(false));
setOpacity();
pull();
watch();

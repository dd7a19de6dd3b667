/**
 * How long the packaged model takes in Chromium and in the native runtime, in one run: the two
 * take turns, so that whatever else the machine does meets both. `node bench.js [ROUNDS]`.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { launch, makeFixtures, openPage, python, serve, settled, whyNot } from "./test/browser.js";

const RUNS = 10; // of each in a round
const THREADS = [1, 2];
const STAGES = { invoke: "network alone", total: "image to mask" };

const reason = whyNot();
if (reason) {
  console.error(reason);
  process.exit(1);
}
const rounds = Number(process.argv[2] ?? 5);
const fixtures = makeFixtures();
const server = await serve(join(fixtures.folder, "site"));
const browser = await launch();
try {
  const page = await isolatedPage();
  const timings = Object.fromEntries(
    THREADS.flatMap((threads) => ["native", "Chromium"].map((where) => [key(where, threads), []])),
  );
  for (let round = 0; round < rounds; round++) {
    for (const threads of THREADS) {
      timings[key("native", threads)].push(native(threads));
      timings[key("Chromium", threads)].push(await inChromium(page, threads));
    }
  }
  print(timings);
} finally {
  await browser.close();
  server.stop();
  fixtures.remove();
}

/** The page at its second visit, when it may have threads. */
async function isolatedPage() {
  const { page } = await openPage(await browser.newContext(), server.address);
  await settled(page);
  await page.waitForFunction(() => document.getElementById("offline").textContent);
  await page.reload();
  await settled(page);
  return page;
}

/** A round of `keras-bisenet bench`: its median and its fastest run. */
function native(threads) {
  const json = join(fixtures.folder, "bench.json");
  const model = join(fixtures.folder, "site", "model.tflite");
  const image = join(fixtures.folder, "site", "samples", "street_2.jpg");
  python(
    ...["-c", "from keras_bisenet.cli import main; main()", "bench", model, "--image", image],
    ...["--threads", threads, "--runs", RUNS, "--warmup", 3, "--json", json].map(String),
  );
  const [figures] = JSON.parse(readFileSync(json)).models;
  return figures;
}

/** The same in the page, in a worker of its own. */
async function inChromium(page, threads) {
  const all = await page.evaluate(
    async ([threads, runs]) => {
      const { Client } = await import("./client.js");
      const site = await (await fetch("site.json")).json();
      const client = new Client(() => {});
      await client.request("open", { site, base: document.baseURI, accelerator: "wasm", threads });
      const image = await (await fetch("samples/street_2.jpg")).blob();
      const timings = [];
      for (let run = 0; run < runs + 3; run++) {
        const bitmap = await createImageBitmap(image);
        const answer = await client.request("segment", { bitmap }, [bitmap]);
        timings.push(answer.timings);
      }
      client.close();
      return timings.slice(3);
    },
    [threads, RUNS],
  );
  const summary = (values) => ({ median: median(values), min: Math.min(...values) });
  return {
    invoke: summary(all.map(({ invoke }) => invoke)),
    total: summary(all.map(({ prepare, invoke, finish }) => prepare + invoke + finish)),
  };
}

function print(timings) {
  console.log(`${rounds} rounds of ${RUNS} runs each, in ms: median of the rounds' medians; fastest run`);
  console.log("| threads | | native | Chromium | ratio |\n|---|---|---|---|---|");
  for (const threads of THREADS) {
    for (const [stage, name] of Object.entries(STAGES)) {
      const [here, there] = ["native", "Chromium"].map((where) => {
        const figures = timings[key(where, threads)].map((round) => round[stage]);
        const fastest = Math.min(...figures.map(({ min }) => min));
        return [median(figures.map((figure) => figure.median)), fastest];
      });
      const ratios = here.map((time, i) => there[i] / time);
      const cells = [here, there, ratios].map((pair) => pair.map((v) => v.toFixed(1)).join("; "));
      console.log(`| ${[threads, name, ...cells].join(" | ")} |`);
    }
  }
}

function key(where, threads) {
  return `${where}, ${threads}`;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

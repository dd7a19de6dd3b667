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

/** The medians of a round of `keras-bisenet bench`. */
function native(threads) {
  const json = join(fixtures.folder, "bench.json");
  const model = join(fixtures.folder, "site", "model.tflite");
  const image = join(fixtures.folder, "site", "samples", "street_2.jpg");
  python(
    ...["-c", "from keras_bisenet.cli import main; main()", "bench", model, "--image", image],
    ...["--threads", threads, "--runs", RUNS, "--warmup", 3, "--json", json].map(String),
  );
  const [figures] = JSON.parse(readFileSync(json)).models;
  return { invoke: figures.invoke.median, total: figures.total.median };
}

/** The medians of a round in a worker of its own. */
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
      client.close("done");
      return timings.slice(3);
    },
    [threads, RUNS],
  );
  return {
    invoke: median(all.map(({ invoke }) => invoke)),
    total: median(all.map(({ prepare, invoke, finish }) => prepare + invoke + finish)),
  };
}

function print(timings) {
  console.log(`${rounds} rounds of ${RUNS}; medians of the rounds' medians, in ms`);
  console.log("| threads | | native | Chromium | ratio |\n|---|---|---|---|---|");
  for (const threads of THREADS) {
    for (const [stage, name] of Object.entries(STAGES)) {
      const [here, there] = ["native", "Chromium"].map((where) =>
        median(timings[key(where, threads)].map((round) => round[stage])),
      );
      const cells = [threads, name, here.toFixed(1), there.toFixed(1), (there / here).toFixed(1)];
      console.log(`| ${cells.join(" | ")} |`);
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

/** The page in Chromium, as a user meets it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
  cameraFrom,
  launch,
  makeFixtures,
  openPage,
  serve,
  settled,
  SOFTWARE_GPU,
  whyNot,
} from "./browser.js";
import { readPng } from "./png.js";

const CONFORMANCE = new URL("../../conformance/", import.meta.url);
const NPM = new URL("../node_modules/@litertjs/", import.meta.url);

const SAME_BYTES =
  "The same bytes: 3 inputs, 158,400 values. Compared with ai-edge-litert 2.3.0 on x86_64.";

describe("the page", { skip: whyNot() }, () => {
  let fixtures;
  let server;
  let browser;
  let shared;

  before(async () => {
    fixtures = makeFixtures();
    server = await serve(fixtures.folder);
    const camera = cameraFrom(join(fixtures.folder, "camera.y4m"));
    browser = await launch("--disable-gpu", ...camera);
  });

  after(async () => {
    await browser?.close();
    server?.stop();
    fixtures?.remove();
  });

  /** Opens the page in a browser context of its own. */
  async function visit({ site = "site", routes = {}, inBrowser = browser, ...options }) {
    const context = await inBrowser.newContext({ serviceWorkers: "block", ...options });
    for (const [file, body] of Object.entries(routes)) {
      await context.route(`**/${file}`, (route) => route.fulfill({ body }));
    }
    await context.route("https://litert.example/npm/**", (route) => {
      const name = new URL(route.request().url()).pathname.slice("/npm/".length);
      const headers = { "access-control-allow-origin": "*" };
      return route.fulfill({ path: fileURLToPath(new URL(name, NPM)), headers });
    });
    const opened = await openPage(context, `${server.address}${site}/`);
    await settled(opened.page);
    return { ...opened, context };
  }

  /** Does it on a page of its own, and wants no error in the console. */
  async function onPage(options, action) {
    const { page, complaints, context } = await visit(options);
    try {
      await action(page, context);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  }

  /** Does it on a page that several tests share. */
  async function onSharedPage(action) {
    shared ??= await visit({});
    await action(shared.page);
    assert.deepEqual(shared.complaints, []);
  }

  const textOf = (page, name) => page.locator(`#${name}`).innerText();

  async function verdict(page, timeout = 60_000) {
    await page.click("#self-test");
    await page.waitForSelector("#verdict.passed, #verdict.failed", { timeout });
    return textOf(page, "verdict");
  }

  async function answered(page, name) {
    await page.waitForFunction(
      (start) =>
        document.getElementById("status").textContent.startsWith(start) ||
        !document.getElementById("error").hidden,
      `${name}: `,
      { timeout: 60_000 },
    );
    assert.equal(await textOf(page, "error"), "");
  }

  /** The class ids behind the colours that the page shows: {height, width, ids}. */
  function idsOf(page) {
    return page.evaluate(async () => {
      const { model } = await (await fetch("site.json")).json();
      const ids = new Map(model.classes.map(({ color }, id) => [String(color), id]));
      const { width, height } = document.getElementById("mask");
      const context = document.getElementById("mask").getContext("2d");
      const { data } = context.getImageData(0, 0, width, height);
      const found = Array.from({ length: width * height }, (_, i) =>
        ids.get(String(data.slice(4 * i, 4 * i + 3))),
      );
      return { width, height, ids: found };
    });
  }

  test("the self-test gives the golden bytes", () =>
    onSharedPage(async (page) => {
      assert.equal(
        await textOf(page, "model"),
        "camvid_int8.tflite · 480x640 (height x width) · bisenetv2, int8 · trained on camvid · " +
          "mIoU 86.4% on its val (trained on) split (the float32 model)",
      );
      assert.equal(await verdict(page), SAME_BYTES);
    }));

  test("a photograph has the classes that Python gives it", () =>
    onSharedPage(async (page) => {
      const { photo } = JSON.parse(readFileSync(join(fixtures.folder, "fixtures.json")));
      await page.setInputFiles("#file", join(fixtures.folder, "photo.jpg"));
      await answered(page, "photo.jpg");
      const found = await idsOf(page);
      assert.deepEqual([found.height, found.width], [photo.height, photo.width]);
      const expected = readFileSync(join(fixtures.folder, "photo.ids"));
      const same = found.ids.filter((id, i) => id === expected[i]).length / expected.length;
      console.log(`class ids as Python's: ${(100 * same).toFixed(2)}% of the photograph`);
      assert.ok(same >= 0.995, `${same} of the pixels`);
    }));

  test("the answers in conformance/, with a runtime from another host", () =>
    onPage({ site: "tiny" }, async (page) => {
      const { cases } = JSON.parse(readFileSync(new URL("answers.json", CONFORMANCE)));
      for (const { image, class_ids } of cases) {
        await page.setInputFiles("#file", fileURLToPath(new URL(image, CONFORMANCE)));
        await answered(page, image.split("/").pop());
        const { ids, height, width } = await idsOf(page);
        const expected = readPng(new URL(class_ids, CONFORMANCE));
        assert.deepEqual([height, width], [expected.height, expected.width]);
        const same = ids.filter((id, i) => id === expected.data[i]).length / ids.length;
        assert.ok(same >= 0.999, `${image}: ${same} of the pixels`);
      }
      assert.match(await verdict(page), /^The same bytes: 3 inputs, 3,168 values\./);
    }));

  test("another program's model of one channel", () =>
    onPage({ site: "binary" }, async (page) => {
      assert.match(await verdict(page), /^The same (classes, not the same )?bytes: 3 inputs/);
      await page.setInputFiles("#file", fileURLToPath(new URL("images/c.png", CONFORMANCE)));
      await answered(page, "c.png");
      const { ids } = await idsOf(page);
      const expected = readFileSync(join(fixtures.folder, "binary.ids"));
      assert.deepEqual(new Set(expected), new Set([0, 1]));
      const same = ids.filter((id, i) => id === expected[i]).length / expected.length;
      assert.ok(same >= 0.995, `${same} of the pixels`);
    }));

  test("a sample shows its classes, and how long it took", () =>
    onSharedPage(async (page) => {
      await page.getByRole("button", { name: "Generated street 2" }).click();
      await answered(page, "street_2.jpg");
      const rows = await page.locator("#legend li").allInnerTexts();
      assert.match(rows[0], /^Road\s+4\d%$/);
      const label = await page.getAttribute("#picture", "aria-label");
      assert.match(label, /^The picture, coloured by class: Road 4\d%, Tree \d+%/);
      assert.match(await textOf(page, "total"), /^\d+\.\d ms$/);
      await page.locator("#opacity").fill("80");
      assert.equal(await page.locator("#mask").evaluate((mask) => mask.style.opacity), "0.8");
      assert.equal(await textOf(page, "opacity-shown"), "80%");
    }));

  test("what is no picture is said in one line, and the page goes on", () =>
    onSharedPage(async (page) => {
      const path = join(fixtures.folder, "notes.txt");
      writeFileSync(path, "no picture");
      await page.setInputFiles("#file", path);
      await page.waitForSelector("#error:not([hidden])");
      assert.equal(
        await textOf(page, "error"),
        "notes.txt is no picture that this browser can read: choose a JPEG or a PNG file.",
      );
      await page.getByRole("button", { name: "Generated street 1" }).click();
      await answered(page, "street_1.jpg");
    }));

  test("the camera runs, and frames that come too fast are dropped", () =>
    onPage({ permissions: ["camera"] }, async (page) => {
      await page.click("#camera");
      await page.waitForSelector("#camera[aria-pressed=true]");
      await page.waitForFunction(
        () => parseInt(document.getElementById("rate").textContent.split("; ")[1]) >= 4,
        null,
        { timeout: 60_000 },
      );
      const rate = await textOf(page, "rate");
      const [, answers, frames] = rate.match(/; (\d+) of (\d+) frames segmented/).map(Number);
      assert.ok(frames > answers, rate); // 30 a second are more than a processor's threads take
      const names = await page.locator("#legend .name").allInnerTexts();
      assert.deepEqual(names.slice(0, 3), ["Sky", "Building", "Pole"]); // in a fixed order
      await page.click("#camera");
      assert.equal(await textOf(page, "status"), "The camera is off.");
      await page.getByRole("button", { name: "Generated street 3" }).click();
      await answered(page, "street_3.jpg");
    }));

  test("a camera that is not allowed is said in one line", () =>
    onSharedPage(async (page) => {
      await page.click("#camera");
      await page.waitForSelector("#error:not([hidden])");
      assert.equal(
        await textOf(page, "error"),
        "The camera was not allowed: allow it for this page, and try again.",
      );
      assert.equal(await page.getAttribute("#camera", "aria-pressed"), "false");
    }));

  test("a model that does not run is said in one line", async () => {
    const file = (name) => readFileSync(join(fixtures.folder, "site", name));
    const model = file("model.tflite");
    const flipped = Buffer.from(model);
    flipped[1_000_000] ^= 1;
    const cases = [
      [model.subarray(0, 2_000_000), {}, /^model\.tflite is damaged \(2000000 bytes of \d+\)/],
      [Buffer.concat([model, model]), {}, /^model\.tflite is damaged \(more than the \d+ bytes/],
      [flipped, {}, /^model\.tflite is damaged \(its content is not that of the page's model\)/],
      [Buffer.alloc(model.length), {}, /^model\.tflite is damaged \(it is no \.tflite file\)/],
      [model, { bytes: 2 ** 30 }, /^model\.tflite is too large for a browser: 1024 MiB, 512 at/],
      [
        model,
        { output: { kind: "logits", shape: [1, 30, 40, 11], dtype: "uint8", threshold: null } },
        /^The model is of another kind than this page is for: 1x60x80x11 uint8 where 1x30x40x11/,
      ],
      [Buffer.concat([model.subarray(0, 64), Buffer.alloc(4096, 255)]), null, /^The model cannot run/],
    ];
    for (const [content, changes, expected] of cases) {
      const site = JSON.parse(file("site.json"));
      // Of the last, even the hash is right.
      const hash = createHash("sha256").update(content).digest("hex");
      Object.assign(site.model, changes ?? { bytes: content.length, sha256: hash });
      const routes = { "model.tflite": content, "site.json": JSON.stringify(site) };
      await onPage({ routes }, async (page) => {
        const shown = await textOf(page, "error");
        assert.match(shown, expected);
        assert.equal(shown.split("\n").length, 1);
        assert.ok(await page.locator("#samples button").first().isDisabled());
      });
    }
  });

  const slow = process.env.SLOW ? undefined : "it takes longer: set SLOW=1";

  test("WebGPU, in software, gives the same classes", { skip: slow }, async (t) => {
    const inBrowser = await launch(...SOFTWARE_GPU);
    try {
      await onPage({ inBrowser }, async (page) => {
        if (!(await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter())))) {
          t.skip("no WebGPU in this Chromium");
          return;
        }
        await page.selectOption("#accelerator", "webgpu");
        await settled(page);
        assert.match(await textOf(page, "processor"), /^WebGPU computes in floating point/);
        const text = await verdict(page, 600_000);
        console.log(`WebGPU: ${text}`);
        assert.match(text, /^The same (classes, not the same )?bytes: /);
      });
    } finally {
      await inBrowser.close();
    }
  });

  test("a processor chosen while the camera runs ends it without a word", () =>
    onPage({ permissions: ["camera"] }, async (page) => {
      await page.click("#camera");
      await page.waitForSelector("#rate:not([hidden])");
      await page.selectOption("#accelerator", "webgpu"); // and back, since there is none
      await page.waitForFunction(() =>
        document.getElementById("processor").textContent.startsWith("Back to"),
      );
      assert.ok(await page.isHidden("#error"));
      assert.equal(await page.getAttribute("#camera", "aria-pressed"), "false");
      await page.getByRole("button", { name: "Generated street 1" }).click();
      await answered(page, "street_1.jpg");
    }));

  test("once loaded it works offline; from the second visit on, with threads", async () => {
    await onPage({ serviceWorkers: "allow" }, async (page, context) => {
      assert.equal(await page.evaluate(() => crossOriginIsolated), false);
      const kept = "It works offline from now on.";
      const isKept = (text) => document.getElementById("offline").textContent === text;
      await page.waitForFunction(isKept, kept, { timeout: 60_000 });

      await context.setOffline(true);
      await page.reload();
      await settled(page);
      // The threads' files were not loaded before.
      assert.match(await textOf(page, "processor"), /^Back to one thread of the CPU\./);
      assert.equal(await verdict(page), SAME_BYTES);

      await context.setOffline(false);
      await page.reload();
      await settled(page);
      assert.equal(await page.evaluate(() => crossOriginIsolated), true);
      assert.ok(Number(await page.inputValue("#threads")) > 1);
      assert.equal(await verdict(page), SAME_BYTES);

      await page.waitForFunction(isKept, kept, { timeout: 60_000 });
      await context.setOffline(true);
      await page.reload();
      await settled(page);
      assert.ok(Number(await page.inputValue("#threads")) > 1);
      assert.equal(await textOf(page, "error"), "");

      // Another page at this address is not meddled with.
      await context.setOffline(false);
      const index = join(fixtures.folder, "site", "index.html");
      const own = readFileSync(index);
      writeFileSync(index, '<title>Another page</title><link rel="icon" href="data:,">');
      try {
        await page.reload();
        assert.equal(await page.title(), "Another page");
        const left = await page.evaluate(async () => [
          crossOriginIsolated,
          (await navigator.serviceWorker.getRegistrations()).length,
          (await caches.keys()).length,
        ]);
        assert.deepEqual(left, [false, 0, 0]);
      } finally {
        writeFileSync(index, own);
      }
    });
  });

  for (const colorScheme of ["light", "dark"]) {
    test(`a phone's width, ${colorScheme}: nothing overflows, and axe finds no fault`, () =>
      onPage({ colorScheme, viewport: { width: 360, height: 740 } }, async (page) => {
        await page.getByRole("button", { name: "Generated street 2" }).click();
        await answered(page, "street_2.jpg");
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
        const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
        await page.addScriptTag({ path: axe });
        const { violations } = await page.evaluate(() => window.axe.run());
        assert.deepEqual(
          violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`),
          [],
        );
      }));
  }

  test("the keyboard reaches everything", () =>
    onPage({}, async (page) => {
      const reached = [];
      for (let i = 0; i < 11; i++) {
        await page.keyboard.press("Tab");
        reached.push(
          await page.evaluate(() => {
            const { activeElement: at } = document;
            return at.id || at.querySelector?.("img")?.alt || at.textContent;
          }),
        );
      }
      assert.deepEqual(reached, [
        "Skip to the answer",
        "file",
        "camera",
        "Generated street 1",
        "Generated street 2",
        "Generated street 3",
        "opacity",
        "self-test",
        "accelerator",
        "Model card",
        "Licences",
      ]);
      await page.focus("#samples button");
      await page.keyboard.press("Enter");
      await answered(page, "street_1.jpg");
    }));
});

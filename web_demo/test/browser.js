/** Starts what the page's tests need: the files that Python makes, a server, Chromium. */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = join(HERE, "..", "..");

const CHROMIUM = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find((path) => path && existsSync(path));

const PYTHON = [process.env.PYTHON, join(ROOT, ".venv", "bin", "python")].find(
  (path) => path && existsSync(path),
) ?? "python3";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Why the page cannot be driven here; undefined where it can. */
export function whyNot() {
  if (!CHROMIUM) {
    return "no Chromium here: install it, or name it in CHROMIUM";
  }
  if (!existsSync(join(HERE, "..", "node_modules", "playwright-core"))) {
    return "no playwright-core here: npm ci";
  }
  try {
    python("-c", "import keras_bisenet.cli.web, keras_bisenet.web.site");
  } catch {
    return `${PYTHON} has no keras-bisenet: name one that has it in PYTHON`;
  }
  return undefined;
}

export function python(...command) {
  const environment = { ...process.env, PYTHONPATH: ROOT };
  return execFileSync(PYTHON, command, { env: environment, encoding: "utf8", stdio: "pipe" });
}

/** A new folder with what fixtures.py makes. */
export function makeFixtures() {
  const folder = mkdtempSync(join(tmpdir(), "keras-bisenet-web-"));
  python(join(HERE, "fixtures.py"), folder);
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}

/** Python's own file server, as a user starts it. */
export async function serve(folder) {
  const port = await freePort();
  const command = ["-m", "http.server", String(port), "--bind", "127.0.0.1", "-d", folder];
  const server = spawn(PYTHON, command, { stdio: "ignore" });
  const address = `http://127.0.0.1:${port}/`;
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      await fetch(address);
      break;
    } catch {
      await new Promise((done) => setTimeout(done, 50));
    }
  }
  return { address, stop: () => server.kill() };
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Chromium, with more flags. */
export async function launch(...flags) {
  const { chromium } = createRequire(import.meta.url)("playwright-core");
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...flags] });
}

/** Flags for a camera that plays a y4m file. */
export function cameraFrom(file) {
  return ["--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${file}`];
}

/** Flags for WebGPU in software. */
export const SOFTWARE_GPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--ignore-gpu-blocklist",
];

/** A page, and the errors in its console. */
export async function openPage(context, address) {
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (line) => {
    if (line.type() === "error") {
      complaints.push(line.text());
    }
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(address);
  return { page, complaints };
}

/** Waits until the model is loaded, or cannot be. */
export async function settled(page) {
  await page.waitForFunction(
    () =>
      !document.getElementById("camera").disabled || !document.getElementById("error").hidden,
    null,
    { timeout: 60_000 },
  );
}

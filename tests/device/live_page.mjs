// Opens the live page in Chromium, uses it, and prints what was seen, as JSON.
//     node live_page.mjs URL CHROMIUM FOLDER-WITH-PLAYWRIGHT [FOLDER-FOR-SCREENSHOTS]
import { createRequire } from "node:module";

const [url, executablePath, library, screenshots] = process.argv.slice(2);
const { chromium } = createRequire(`${library}/package.json`)("playwright-core");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const seen = { errors: [], requests: [], methods: new Set() };

async function open(options) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.on("console", (line) => { if (line.type() === "error") seen.errors.push(line.text()); });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    seen.requests.push(request.url());
    seen.methods.add(request.method());
  });
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector("#picture").width > 16, null, { timeout: 20000 });
  await page.waitForFunction(() => document.querySelectorAll("#classes li").length > 0);
  return page;
}

// The left edge of both canvases, as bits: the frame's number, and which columns have an answer.
const bits = (page, id) => page.evaluate((id) => {
  const canvas = document.querySelector(id);
  const row = canvas.getContext("2d").getImageData(0, 4, canvas.width, 1).data;
  return Array.from({ length: 16 }, (_, bit) => {
    const at = 4 * Math.floor((2 * bit + 1) * canvas.width / 32);
    return [row[at], row[at + 3]];
  });
}, id);
const number = async (page) => (await bits(page, "#picture")).reduce(
  (sum, [grey], bit) => sum + (grey > 127 ? 2 ** bit : 0), 0);
const painted = async (page) => (await bits(page, "#mask")).filter(([, alpha]) => alpha > 0).length;

const page = await open({ viewport: { width: 1280, height: 800 } });
seen.numbers = [];
for (let i = 0; i < 4; i++) { seen.numbers.push(await number(page)); await page.waitForTimeout(400); }
seen.size = await page.evaluate(() => [picture.height, picture.width, mask.height, mask.width]);
seen.classes = await page.$$eval("#classes .name", (names) => names.map((name) => name.textContent));
await page.waitForFunction(() => document.querySelector("#page-rate").textContent.includes("/s"));
seen.shares = await page.$$eval("#classes .share", (shares) => shares.map((share) => share.textContent));

await page.click("#pause");
await page.waitForTimeout(500);
seen.paused = [await number(page)];
await page.waitForTimeout(700);
seen.paused.push(await number(page));
seen.painted = [await painted(page)];
await page.click("#none");
seen.painted.push(await painted(page));
await page.click("#classes li:nth-child(1) input");
seen.painted.push(await painted(page));
await page.click("#all");
seen.painted.push(await painted(page));
await page.fill("#opacity", "20");
seen.opacity = await page.evaluate(() => getComputedStyle(mask).opacity);
const downloading = page.waitForEvent("download");
await page.click("#snapshot");
seen.snapshot = (await downloading).suggestedFilename();
await page.fill("#opacity", "50");
await page.click("#pause");
await page.waitForTimeout(700);
seen.resumed = await number(page);
if (screenshots) {
  await page.screenshot({ path: `${screenshots}/desktop.png` });
}
for (const [name, options] of Object.entries({
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  "phone-dark": { viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true },
})) {
  const other = await open(options);
  await other.waitForTimeout(1200);
  seen[name] = await other.evaluate(() => [document.documentElement.scrollWidth, innerWidth,
    getComputedStyle(document.body).backgroundColor]);
  if (screenshots) await other.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
  await other.context().close();
}
await browser.close();
console.log(JSON.stringify({ ...seen, methods: [...seen.methods] }));

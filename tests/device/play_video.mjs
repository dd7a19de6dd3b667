// Plays a video file in Chromium, and prints what it made of it, as JSON.
//     node play_video.mjs FILE CHROMIUM FOLDER-WITH-PLAYWRIGHT
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [file, executablePath, library] = process.argv.slice(2);
const { chromium } = createRequire(`${library}/package.json`)("playwright-core");
const args = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"];
const browser = await chromium.launch({ executablePath, args });
const page = await browser.newPage();
await page.goto(pathToFileURL(file).href);
const seen = await page.evaluate(async () => {
  const video = document.querySelector("video");
  video.pause();
  const times = [];
  const ended = new Promise((done) => {
    video.addEventListener("ended", () => done("ended"));
    video.addEventListener("error", () => done(`error: ${video.error.message}`));
    setTimeout(() => done("not ended in 20 s"), 20000);
  });
  const note = (_, { mediaTime }) => {
    times.push(mediaTime);
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  video.currentTime = 0;
  video.muted = false;
  await video.play().catch((error) => times.push(String(error)));
  return {
    end: await ended, times, duration: video.duration,
    size: [video.videoHeight, video.videoWidth],
    sound: video.webkitAudioDecodedByteCount, error: video.error && video.error.message,
  };
});
await browser.close();
console.log(JSON.stringify(seen));

/**
 * The page's service worker: the page works without a network once it has been loaded, and on
 * any static host it is cross-origin isolated from its second visit on, which threads need.
 *
 * The network comes first, so that a new version shows at once; what was kept answers where there
 * is none. Should another page take this one's address, the service worker removes itself.
 */

"use strict";

const CACHE = `keras-bisenet ${self.registration.scope}`;
const MARK = 'content="keras-bisenet web"';

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("message", (event) => {
  event.waitUntil(keep(event.data.keep, event.ports[0]));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") {
    return;
  }
  if (request.mode === "navigate") {
    if (request.url.split(/[?#]/)[0].replace(/index\.html$/, "") === self.registration.scope) {
      event.respondWith(page(request));
    }
  } else {
    event.respondWith(file(request));
  }
});

async function keep(addresses, port) {
  const cache = await caches.open(CACHE);
  try {
    await Promise.all(addresses.map((address) => cache.add(address)));
    port.postMessage({ kept: true });
  } catch (error) {
    port.postMessage({ kept: false, reason: String(error) });
  }
}

async function page(request) {
  let answer;
  try {
    answer = await fetch(request);
  } catch (error) {
    const kept = await fromCache(self.registration.scope);
    if (!kept) {
      throw error;
    }
    return isolated(kept);
  }
  if (answer.ok && !(await answer.clone().text()).includes(MARK)) {
    await caches.delete(CACHE);
    await self.registration.unregister();
    return answer;
  }
  return isolated(answer);
}

async function file(request) {
  const kept = await fromCache(request.url);
  if (!kept) {
    return fetch(request);
  }
  const answer = await fetch(request).catch(() => kept);
  return request.destination === "worker" ? isolated(answer) : answer;
}

function fromCache(address) {
  return caches.match(address, { cacheName: CACHE, ignoreVary: true });
}

/** The answer with the headers that a page, and a worker in it, are isolated by. */
function isolated(answer) {
  if (answer.type === "opaqueredirect" || answer.redirected) {
    return answer;
  }
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  const { status, statusText } = answer;
  return new Response(answer.body, { status, statusText, headers });
}

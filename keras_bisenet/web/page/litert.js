/**
 * Opens LiteRT.js (npm's @litertjs/core) in a worker, from the files of its npm packages as they
 * are: `core/dist/index.js`, `core/wasm/` and `wasm-utils/dist/index.js` under one address.
 *
 * The worker must be a classic one: the packages load their WebAssembly with `importScripts`.
 */

const THREADED = "litert_wasm_threaded_internal";

/**
 * @param {string} address Where the packages lie; ends in "/".
 * @param {{threads: number, webgpu: boolean}} options More threads than one need a page that is
 *     cross-origin isolated.
 * @return {Promise<object>} The package's exports, its WebAssembly loaded.
 */
export async function openLiteRt(address, { threads, webgpu }) {
  const utils = await moduleAddress(`${address}wasm-utils/dist/index.js`);
  const core = await moduleAddress(`${address}core/dist/index.js`, {
    "@litertjs/wasm-utils": utils,
  });
  const runtime = await import(core);
  const wasm = `${address}core/wasm/`;
  if (threads > 1) {
    // A thread whose files are not there would be waited for in vain.
    await Promise.all(["js", "wasm"].map((end) => fetched(`${wasm}${THREADED}.${end}`)));
  }
  self.Module = {
    // Without it the files would be looked for beside the worker.
    locateFile: (name) => wasm + name,
    // What each thread starts with.
    mainScriptUrlOrBlob: `${wasm}${THREADED}.js`,
    // All that its C++ logs, good news included.
    printErr: (line) => console.debug(line),
  };
  const warn = console.warn;
  if (!webgpu) {
    // It would open the graphics processor in any case, and warn where there is none.
    Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
    console.warn = (...line) => console.debug(...line);
  }
  try {
    // WebAssembly has to wait for the graphics processor: JSPI, JavaScript promise integration.
    await runtime.loadLiteRt(wasm, { threads: threads > 1, jspi: webgpu });
  } finally {
    console.warn = warn;
  }
  return runtime;
}

/**
 * A module's address for `import`, the packages' names in it replaced by addresses: a worker has
 * no import map.
 */
async function moduleAddress(address, packages = {}) {
  let source = await (await fetched(address)).text();
  for (const [name, replacement] of Object.entries(packages)) {
    source = source.replaceAll(JSON.stringify(name), JSON.stringify(replacement));
  }
  return URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) {
    throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  }
  return answer;
}

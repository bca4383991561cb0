// The page's side of the Python frame: fills the frame and hands it the runtime.
//
// The page itself fetches everything, with its own service worker and cache, because a sandboxed frame
// has neither: so Python works without a network too, on hosts that send no headers, and the frame
// needs no connection.

const FILES = ['pyodide.js', 'pyodide.asm.mjs', 'pyodide.asm.wasm', 'python_stdlib.zip'];
const FILE_LIMIT = 64 * 1024 * 1024; // bytes
const LISTEN_LIMIT = 30_000; // ms

async function answer(address) {
  const response = await fetch(address).catch(() => undefined);
  if (response?.ok) return response;
  const found = response ? `HTTP ${response.status}` : 'no answer';
  throw new Error(`${address.pathname} can't be had (${found}); Python needs it.`);
}

async function download(address, entry, report) {
  const response = await answer(address);
  const bytes = new Uint8Array(entry.bytes);
  let filled = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > bytes.length) throw new Error(`${address.pathname} is longer than ${entry.bytes} bytes.`);
    bytes.set(value, filled);
    filled += value.length;
    report(value.length);
  }
  // Neither half a file nor one of another version may start.
  const hash = globalThis.crypto?.subtle && new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const hex = hash && Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if (filled !== entry.bytes || (hex && hex !== entry.sha256)) {
    throw new Error(`${address.pathname} is not the file that python/runtime.json describes; reload the page.`);
  }
  return bytes.buffer;
}

function listening(frame) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      clearTimeout(timer);
      removeEventListener('message', heard);
      settle(value);
    };
    const heard = ({ source, data }) => {
      if (source === frame.contentWindow && data?.type === 'listening') end(resolve);
    };
    const timer = setTimeout(
      () => end(reject, new Error(`The Python frame did not start within ${LISTEN_LIMIT / 1000} s.`)),
      LISTEN_LIMIT,
    );
    addEventListener('message', heard);
  });
}

/**
 * Fills `frame`, an iframe in the document without `src`, and hands it the runtime (13 MB, fetched
 * here). Once the promise is fulfilled the frame takes the messages that frame.js lists; rejected, the
 * error's message is one sentence.
 *
 * `progress(bytes, total)` is called while files arrive.
 */
export async function mountPython(frame, progress = () => {}) {
  frame.setAttribute('sandbox', 'allow-scripts');
  const base = new URL('./python/', document.baseURI);
  const [html, described] = await Promise.all([
    answer(new URL('frame.html', base)).then((response) => response.text()),
    answer(new URL('runtime.json', base)).then((response) => response.json()),
  ]);
  const entries = FILES.map((name) => {
    const entry = described.files?.find((file) => file.name === name);
    if (!(Number.isInteger(entry?.bytes) && entry.bytes > 0 && entry.bytes <= FILE_LIMIT)) {
      throw new Error(`python/runtime.json does not describe ${name}.`);
    }
    return entry;
  });
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  let arrived = 0;
  const report = (bytes) => progress((arrived += bytes), total);
  const ready = listening(frame);
  // An error of the downloads comes first; this one must not go unheard then.
  ready.catch(() => {});
  frame.srcdoc = html;
  const files = {};
  await Promise.all(
    entries.map(async (entry) => {
      files[entry.name] = await download(new URL(`pyodide/${entry.name}`, base), entry, report);
    }),
  );
  await ready;
  frame.contentWindow.postMessage({ type: 'runtime', files }, '*', Object.values(files));
}

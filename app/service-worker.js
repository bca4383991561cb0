// The page's service worker. It does two things, for any static host:
//
// - It gives responses the headers that isolate the page (COOP, COEP, CORP), where the host sends none.
// - It keeps a copy of the page's own files, and answers with it where the network doesn't.
//
// The network comes first: file names carry no hashes, so copies that came first could mix two builds.
// That also makes a new build take over at the next load, and this worker replaceable at any time.
// Weights are none of its business (the engine keeps them itself), nor are requests for ranges, nor
// anything of another origin: those pass as if it were not there.

const CACHE_PREFIX = 'codingspot-page-';
// Copies of several sites on one origin stay apart.
const CACHE = `${CACHE_PREFIX}1 ${registration.scope}`;

// What the page needs and may not have asked for before this worker saw its requests; what a site
// lacks is skipped.
const CORE = [
  './', 'boot.js', 'register.js', 'page.js', 'page_bg.wasm', 'engine-boot.js', 'engine.js', 'engine_bg.wasm',
  'styles.css', 'charts.css', 'models/index.json', 'problems.json', 'snippets.json', 'recorded-run.json',
];

const KEPT_FILES = /\.(html|m?js|css|json|wasm|svg|png|ico|woff2)$/;
const PYTHON_LIBRARY = /\/python\/pyodide\/[^/]+\.zip$/;

/** The key under which a copy is kept, or undefined for what is not kept. */
function keyOf(url, navigates) {
  if (url.origin !== location.origin || !url.href.startsWith(registration.scope)) return undefined;
  // The page reads its query and fragment itself: one copy serves all of them.
  if (navigates) return url.origin + url.pathname;
  if (url.search) return undefined;
  const isFile = KEPT_FILES.test(url.pathname) || PYTHON_LIBRARY.test(url.pathname);
  return isFile || url.pathname.endsWith('/') ? url.origin + url.pathname : undefined;
}

/** The response with what isolates the page; the host's own headers stay. */
function isolated(response) {
  // Opaque responses and redirects can't be rebuilt.
  if (response.status === 0 || response.redirected) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of [
    ['Cross-Origin-Opener-Policy', 'same-origin'],
    ['Cross-Origin-Embedder-Policy', 'require-corp'],
    ['Cross-Origin-Resource-Policy', 'same-origin'],
  ]) {
    if (!headers.has(name)) headers.set(name, value);
  }
  // The body is decoded already, and longer than what was sent.
  if (headers.has('Content-Encoding')) {
    headers.delete('Content-Encoding');
    headers.delete('Content-Length');
  }
  const empty = [101, 204, 205, 304].includes(response.status);
  return new Response(empty ? null : response.body, { status: response.status, statusText: response.statusText, headers });
}

const keepable = (response) => response.status === 200 && response.type === 'basic' && !response.redirected;

/** Keeps a copy; a full disk or a connection that breaks leaves the one before. */
async function keep(key, response) {
  try {
    const cache = await caches.open(CACHE);
    await cache.put(key, response);
  } catch {
    // The page works without a copy.
  }
}

async function kept(key, navigates) {
  try {
    const cache = await caches.open(CACHE);
    return (await cache.match(key)) ?? (navigates ? await cache.match(registration.scope) : undefined);
  } catch {
    return undefined;
  }
}

async function answer(event, key) {
  const navigates = event.request.mode === 'navigate';
  let response;
  try {
    response = await fetch(event.request);
  } catch (error) {
    const copy = await kept(key, navigates);
    if (copy) return isolated(copy);
    throw error;
  }
  if (keepable(response)) event.waitUntil(keep(key, response.clone()));
  return isolated(response);
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || request.headers.has('Range')) return;
  const key = keyOf(new URL(request.url), request.mode === 'navigate');
  if (key) event.respondWith(answer(event, key));
});

/** Fetches and keeps what there is no copy of yet. */
async function keepAll(addresses) {
  for (const address of addresses) {
    const key = keyOf(new URL(address, registration.scope), false);
    if (!key || (await kept(key, false))) continue;
    const response = await fetch(key).catch(() => undefined);
    if (response && keepable(response)) await keep(key, response);
  }
}

self.addEventListener('message', (event) => {
  if (event.data?.type === 'keep' && Array.isArray(event.data.addresses)) {
    event.waitUntil(keepAll([...CORE, ...event.data.addresses.slice(0, 200).map(String)]));
  }
});

self.addEventListener('install', () => {
  self.skipWaiting();
});

self.addEventListener('activate', (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) {
      const mine = name.startsWith(CACHE_PREFIX) && name.endsWith(` ${registration.scope}`);
      if (mine && name !== CACHE) await caches.delete(name);
    }
  };
  event.waitUntil(Promise.all([clean().catch(() => {}), self.clients.claim()]));
});

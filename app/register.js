// Registers the service worker (service-worker.js). Where there is none to be had (a page from a file, an
// unsafe connection, a browser that refuses), the page is what it is without.

const RELOADED = 'codingspot-isolation-reload';
const RELOAD_WITHIN = 10_000; // ms after the navigation; later somebody may be at work
const KEEP_AFTER = 3_000; // ms, so that what the page needs now comes first

// A host without COOP and COEP: they come with the worker, from the next load on. Once in a tab, so
// that a browser that stays unisolated is not reloaded for ever.
function reloadForIsolation() {
  if (crossOriginIsolated || performance.now() > RELOAD_WITHIN) return;
  try {
    if (sessionStorage.getItem(RELOADED)) return;
    sessionStorage.setItem(RELOADED, '1');
  } catch {
    // No memory of having reloaded: then not at all.
    return;
  }
  location.reload();
}

// The first load's files arrived before the worker did: it is told of them.
function keepFiles() {
  const addresses = performance
    .getEntriesByType('resource')
    .map(({ name }) => name)
    .filter((name) => new URL(name).origin === location.origin);
  navigator.serviceWorker.controller?.postMessage({ type: 'keep', addresses });
}

async function register() {
  if (!isSecureContext || !navigator.serviceWorker || !location.protocol.startsWith('http')) return;
  navigator.serviceWorker.addEventListener('controllerchange', reloadForIsolation);
  // The script itself is always asked of the host, so that a new one is found at the next load.
  await navigator.serviceWorker.register(new URL('./service-worker.js', import.meta.url), { updateViaCache: 'none' });
  await navigator.serviceWorker.ready;
  setTimeout(keepFiles, KEEP_AFTER);
}

register().catch(() => {
  // Refused (a private window, a policy): see above.
});

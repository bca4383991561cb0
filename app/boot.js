// Starts the page's program. A file of its own, as the page allows no inline script.

// The chosen theme, before anything is drawn.
try {
  const theme = JSON.parse(localStorage.getItem('codingspot.theme'));
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing has no choice of theme.
}

// Python is fetched when it is asked for, by a module of its own.
globalThis.mountPython = async (frame, progress) => (await import('./python/client.js')).mountPython(frame, progress);

import('./register.js').catch(() => {});

try {
  const { default: init } = await import('./page.js');
  await init({ module_or_path: new URL('./page_bg.wasm', import.meta.url) });
} catch (error) {
  const place = document.querySelector('#app .boot');
  if (place) {
    place.setAttribute('role', 'alert');
    place.textContent =
      `The page's program could not start (${error.message ?? error}). Reload the page, or take a current browser.`;
  }
  throw error;
}

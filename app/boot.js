// Starts the page's program. A file of its own, as the page allows no inline script.
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

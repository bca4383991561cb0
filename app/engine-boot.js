// Starts the worker's program.
import init from './engine.js';

// A worker's messages are delivered, to whoever listens, from the moment when this script has run:
// those that come before the program listens are kept for it.
const early = [];
const keep = (event) => early.push(event.data);
self.addEventListener('message', keep);

// Rejections stay inside a worker, errors don't: only these tell the page.
const tell = (error) =>
  setTimeout(() => {
    throw error;
  });
self.addEventListener('unhandledrejection', (event) => tell(event.reason));

init({ module_or_path: new URL('./engine_bg.wasm', import.meta.url) }).then(({ memory }) => {
  // For who measures how large it is.
  self.engineMemory = memory;
  self.removeEventListener('message', keep);
  for (const data of early) self.dispatchEvent(new MessageEvent('message', { data }));
}, tell);

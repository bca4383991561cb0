// How much memory the page takes while a web pack loads.
//
//   node tests/bench/heap.mjs PACK [--minutes 20] [--cpu] [--keep]
//
// Serves `dist` (tests/build-page) and the pack on a loopback port, loads it in headless Chromium, and samples once a second: the
// WebAssembly memory of the worker, what the browser counts for page and worker together, and the page's heap. With --keep the pack
// is kept in the browser's storage, as the page does; without, disks that hold it once suffice.
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './lib/chromium.mjs';
import { serve } from './lib/server.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '20' }, cpu: { type: 'boolean' }, keep: { type: 'boolean' } },
});
if (positionals.length !== 1) throw new Error('name one pack: node tests/bench/heap.mjs PACK');
const here = import.meta.dirname;
const server = await serve({ pack: resolve(positionals[0]), peers: join(here, 'peers'), dist: resolve(here, '../../dist') });
const browser = await launch({});
const page = await browser.newPage();
await page.goto(server.address);
const done = page.evaluate(
  async ([cpu, keep]) => {
    globalThis.peer = await import('/peers/codingspot/page.js');
    const started = performance.now();
    const { adapter } = await globalThis.peer.load({ directory: '/pack/', pack: true, encoding: null, cpu, keep });
    return { adapter, seconds: (performance.now() - started) / 1000 };
  },
  [options.cpu ?? false, options.keep ?? false],
);
let ended = null;
done.then((value) => (ended = value), (error) => (ended = { error: String(error) }));
const peak = { wasm: 0, agent: 0, page: 0 };
// Everything that page and worker hold in JavaScript and WebAssembly; the browser answers when it next collects garbage.
const measureAgent = () => page.evaluate(async () => (await performance.measureUserAgentSpecificMemory()).bytes);
let measuring = null;
const until = Date.now() + 60_000 * Number(options.minutes);
const sample = async () => {
  for (const worker of page.workers()) {
    // engine-boot.js keeps the memory where it is found.
    peak.wasm = Math.max(peak.wasm, await worker.evaluate(() => self.engineMemory?.buffer.byteLength ?? 0));
  }
  measuring ??= measureAgent().then((bytes) => {
    peak.agent = Math.max(peak.agent, bytes);
    measuring = null;
  }, () => (measuring = null));
  peak.page = Math.max(peak.page, await page.evaluate(() => performance.memory.usedJSHeapSize));
};
while (!ended && Date.now() < until) {
  await sample().catch(() => {});
  await new Promise((next) => setTimeout(next, 1000));
}
await sample();
console.log(JSON.stringify({ pack: positionals[0], ...ended, peak_bytes: peak }));
await browser.close();
server.close();

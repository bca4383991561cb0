// The service worker in headless Chromium: isolation on a host without headers, and no host at all.
//
//   node --test tests/e2e/offline.test.mjs
//
// Needs CHROMIUM (see tests/setup), and npm's registry once for the Python runtime. The built page in
// dist/ is tried too where it is there.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { serveFolder } from './static-site.mjs';

const root = resolve(import.meta.dirname, '../..');
const minutes = 60_000;

const PAGE = `<!doctype html>
<link rel="icon" href="data:,">
<title>Offline</title>
<p id="text">nothing ran</p>
<iframe data-testid="py-frame" sandbox="allow-scripts" title="Python"></iframe>
<script type="module" src="./boot.js"></script>`;
// As the page does: its files, a worker of its own, the catalogue, and ranges of weights.
const BOOT = `
import './register.js';
import { version } from './version.js';
import { mountPython } from './python/client.js';
const json = await (await fetch('./models/index.json')).json();
const worker = new Worker('./worker.js', { type: 'module' });
const answer = await new Promise((done, failed) => { worker.onmessage = ({ data }) => done(data); worker.onerror = failed; });
window.mountPython = mountPython;
document.querySelector('#text').textContent = [version, json.models.length, answer].join(' ');
`;
const WORKER = 'fetch("./models/figures.json").then((response) => response.json()).then((json) => postMessage(json.worker), () => postMessage("no figures"));';

let folder, browser;
const opened = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'codingspot-offline-'));
  execFileSync(join(root, 'tests/python-runtime'), [folder], { stdio: 'inherit' });
  for (const name of ['register.js', 'service-worker.js']) cpSync(join(root, 'app', name), join(folder, name));
  for (const [name, text] of [['index.html', PAGE], ['boot.js', BOOT], ['worker.js', WORKER]]) {
    writeFileSync(join(folder, name), text);
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--host-resolver-rules=MAP plain.test 127.0.0.1'],
  });
}, { timeout: 2 * minutes });

after(async () => {
  await browser?.close();
  await Promise.all(opened.map((site) => site.close().catch(() => {})));
  if (folder) rmSync(folder, { recursive: true, force: true });
});

async function open({ isolated = false, files = {}, from = folder, ...options } = {}) {
  const site = await serveFolder(from, {
    isolated,
    files: {
      '/version.js': 'export const version = "first";',
      '/models/index.json': '{"models":[1]}',
      '/models/figures.json': '{"worker":"figures"}',
      '/models/model.safetensors': 'weights'.repeat(1000),
      ...files,
    },
  });
  opened.push(site);
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const navigations = [];
  page.on('framenavigated', (frame) => frame === page.mainFrame() && navigations.push(frame.url()));
  return { site, context, page, navigations };
}

const shows = (page, text) =>
  page.waitForFunction((wanted) => document.querySelector('#text')?.textContent === wanted, text);
const keptFiles = (page) =>
  page.evaluate(async () => {
    const kept = [];
    for (const cache of await caches.keys()) {
      for (const { url } of await (await caches.open(cache)).keys()) kept.push(new URL(url).pathname + new URL(url).search);
    }
    return kept;
  });
async function keeps(page, path) {
  for (const until = Date.now() + minutes; !(await keptFiles(page)).includes(path); ) {
    assert.ok(Date.now() < until, `${path} is not kept`);
    await page.waitForTimeout(100);
  }
}
// Opens a site without headers, and waits until the page is isolated and its files are kept.
async function settle(page, address) {
  await page.goto(address);
  await page.waitForFunction(() => crossOriginIsolated && navigator.serviceWorker.controller);
  await shows(page, 'first 1 figures');
  await keeps(page, '/models/figures.json');
}

test('on a host without headers the page is isolated from the second load on, after one reload', async () => {
  const { site, page, navigations } = await open();
  await settle(page, site.address);
  // Time for a loop, if there were one.
  await page.waitForTimeout(2_000);
  assert.ok(navigations.length <= 2, `${navigations.length} navigations`);
  await page.reload();
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  await shows(page, 'first 1 figures');
  assert.equal(navigations.length, 3);
});

test('without the host the page and its worker are there, whatever the query', async () => {
  const { site, page } = await open();
  await settle(page, site.address);
  await site.close();
  for (const address of [site.address, `${site.address}?model=other#v=1`, `${site.address}index.html`]) {
    await page.goto('about:blank');
    await page.goto(address);
    await shows(page, 'first 1 figures');
    assert.ok(await page.evaluate(() => crossOriginIsolated), address);
  }
});

test('a page that was isolated all along is kept after one load', async () => {
  const { site, page, navigations } = await open({ isolated: true });
  await page.goto(site.address);
  await shows(page, 'first 1 figures');
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  for (const name of ['/', '/boot.js', '/version.js', '/models/index.json']) await keeps(page, name);
  assert.equal(navigations.length, 1, 'no reload');
  await site.close();
  await page.reload();
  await page.waitForFunction(() => document.querySelector('#text').textContent.startsWith('first 1 '));
  const [response] = await Promise.all([page.waitForResponse((one) => one.url() === site.address), page.reload()]);
  assert.match(response.headers()['content-security-policy'], /worker-src 'self' blob:/);
});

test('weights and ranges pass, and are never kept', async () => {
  const { site, page } = await open();
  await settle(page, site.address);
  const found = await page.evaluate(async () => {
    const range = await fetch('./models/model.safetensors', { headers: { Range: 'bytes=7-13' } });
    const ofJson = await fetch('./models/figures.json', { headers: { Range: 'bytes=0-0' } });
    const whole = await fetch('./models/model.safetensors');
    const other = await fetch('./models/index.json?at=1');
    await fetch('./models/missing.json');
    return {
      statuses: [range.status, ofJson.status, whole.status, other.status],
      text: await range.text(), length: (await whole.text()).length,
    };
  });
  assert.deepEqual(found.statuses, [206, 206, 200, 200]);
  assert.deepEqual([found.text, found.length], ['weights', 7000]);
  const kept = await keptFiles(page);
  for (const path of kept) assert.doesNotMatch(path, /safetensors|missing|\?/);
  assert.ok(kept.includes('/models/index.json'), kept.join(' '));
});

test('a new build is shown at the next load', async () => {
  const { site, page } = await open();
  await settle(page, site.address);
  site.files['/version.js'] = 'export const version = "second";';
  site.files['/models/index.json'] = '{"models":[1,2]}';
  await page.reload();
  await shows(page, 'second 2 figures');
  await site.close();
  await page.reload();
  await shows(page, 'second 2 figures');
});

test('where isolation does not come the page reloads once and stays', async () => {
  // A worker that takes over, and whose responses isolate nothing.
  const idle = 'addEventListener("install", () => skipWaiting()); addEventListener("activate", (event) => event.waitUntil(clients.claim())); addEventListener("fetch", () => {});';
  const { site, page, navigations } = await open({ files: { '/service-worker.js': idle } });
  await page.goto(site.address);
  await shows(page, 'first 1 figures');
  await page.waitForTimeout(3_000);
  assert.ok(navigations.length <= 2, `${navigations.length} navigations`);
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  // Each new worker takes over, and asks for no reload either.
  site.files['/service-worker.js'] = `${idle} // another`;
  const until = navigations.length;
  await page.reload();
  await page.waitForTimeout(3_000);
  assert.equal(navigations.length, until + 1);
});

test('without service workers the page is what it was', async () => {
  const { site, page, navigations } = await open();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(site.address.replace('127.0.0.1', 'plain.test'));
  await shows(page, 'first 1 figures');
  assert.equal(await page.evaluate(() => isSecureContext), false);
  // Nor where the script of the worker is missing.
  const second = await open({ files: { '/service-worker.js': 'not a script (' } });
  second.page.on('pageerror', (error) => problems.push(String(error)));
  await second.page.goto(second.site.address);
  await shows(second.page, 'first 1 figures');
  await page.waitForTimeout(1_000);
  assert.equal(navigations.length, 1);
  assert.equal(second.navigations.length, 1);
  assert.deepEqual(problems, []);
});

test('Python runs on a host without headers, and without the host once it was used', { timeout: 4 * minutes }, async () => {
  const { site, page } = await open();
  const verdict = () =>
    page.evaluate(async () => {
      const frame = document.querySelector('iframe');
      await window.mountPython(frame);
      const heard = (id) =>
        new Promise((done) =>
          addEventListener('message', ({ source, data }) => {
            if (source === frame.contentWindow && data.id === id && data.type !== 'output') done(data);
          }));
      const end = heard('run');
      frame.contentWindow.postMessage(
        { type: 'run', id: 'run', program: 'def f(): return 1', tests: 'def check(f): assert f() == 1', entry_point: 'f' }, '*');
      return end;
    });
  await settle(page, site.address);
  assert.deepEqual(await verdict(), { type: 'result', id: 'run', verdict: 'passed', message: '' });
  await keeps(page, '/python/pyodide/python_stdlib.zip');
  await keeps(page, '/python/pyodide/pyodide.asm.wasm');
  await site.close();
  await page.reload();
  await shows(page, 'first 1 figures');
  assert.deepEqual(await verdict(), { type: 'result', id: 'run', verdict: 'passed', message: '' });
});

const built = process.env.CODINGSPOT_DIST ?? join(root, 'dist');
test('the built page comes up without its host', { skip: !existsSync(join(built, 'register.js')) && 'dist/ has no built page', timeout: 4 * minutes }, async () => {
  const { site, page } = await open({ isolated: true, from: built });
  await page.goto(site.address);
  const app = page.locator('main[data-testid=app], main[data-state]').first();
  await app.waitFor({ timeout: 2 * minutes });
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  for (const name of ['/', '/page_bg.wasm', '/engine.js', '/engine_bg.wasm']) await keeps(page, name);
  await site.close();
  await page.reload();
  await app.waitFor({ timeout: 2 * minutes });
});

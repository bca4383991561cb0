// What the page's tests share: the served page in headless Chromium, and its states.
//
// Needs `target/release/codingspot`, the built page in `dist`, and CHROMIUM (see tests/setup); or
// CODINGSPOT_ADDRESS, where the page is served already. Screenshots go to target/e2e.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const root = resolve(import.meta.dirname, '../..');
export const minutes = 60_000;
const shots = join(root, 'target/e2e');
const axeSource = readFileSync(join(import.meta.dirname, 'node_modules/axe-core/axe.min.js'), 'utf8');
const shared = process.env.CODINGSPOT_SHARED ?? join(root, '../shared');
/** A model whose authors publish what it says, if it is there. */
export const stories = join(shared, 'models/stories260K');

/** What the page's list says of the bundled model. */
export const demo = JSON.parse(readFileSync(join(root, 'demo/models.json'), 'utf8')).models.find((model) => model.name === 'demo');

/** How many of the bundled model's parameters are `percent` of those that are no gains of norms, as the page writes it. */
export function countOf(percent) {
  const bytes = readFileSync(join(root, 'demo/model/model.safetensors'));
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))));
  const matrices = Object.values(header).filter((tensor) => tensor.shape?.length === 2);
  const parameters = matrices.reduce((sum, { shape: [rows, cols] }) => sum + rows * cols, 0);
  return Math.round((percent / 100) * parameters).toLocaleString('en');
}

/** The command line's program. */
export const program = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'release/codingspot');

/** Serves the page and starts a browser; `close` ends both. `prepare` adds to the folder that is served. */
export async function start(prepare = () => {}) {
  mkdirSync(shots, { recursive: true });
  let address = process.env.CODINGSPOT_ADDRESS;
  let server, folder;
  if (!address) {
    folder = mkdtempSync(join(tmpdir(), 'codingspot-e2e-'));
    cpSync(join(root, 'dist'), folder, { recursive: true });
    if (existsSync(stories)) cpSync(stories, join(folder, 'models/stories260K'), { recursive: true });
    prepare(folder);
    server = spawn(program, ['serve', folder, '--port', '0']);
    for await (const line of createInterface(server.stdout)) {
      address = line.trim();
      break;
    }
  }
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan', '--use-vulkan=swiftshader',
    ],
  });
  return {
    browser,
    address,
    open: (query = '', options = {}) => open(browser, address + query, options),
    close: async () => {
      await browser.close();
      server?.kill();
      if (folder) rmSync(folder, { recursive: true, force: true });
    },
  };
}

// A page of its own storage whose console stays clean: a blocked script or a panic in the worker is a failure.
async function open(browser, url, { allow = [], ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
    // The page's own caches and workers stay out of tests that count its requests.
    serviceWorkers: 'block',
    ...options,
  });
  const page = await context.newPage();
  const problems = [];
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => {
    if (message.type() === 'error' && !allow.some((known) => known.test(message.text()))) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(url);
  const at = (id) => page.getByTestId(id);
  return { page, context, problems, requests, at, close: () => context.close() };
}

/** Waits for one of the states of `main`. */
export async function state({ page }, names, timeout = 3 * minutes) {
  const list = Array.isArray(names) ? names : [names];
  await page.locator(list.map((name) => `main[data-state=${name}]`).join(',')).waitFor({ timeout });
}

/** Waits until the worker listens and the catalogue is there. */
export async function idle(view) {
  await state(view, 'idle', 2 * minutes);
  await view.page.waitForFunction(
    () => /Load model \(\d/.test(document.querySelector('[data-testid=load]')?.textContent ?? ''),
    undefined,
    { timeout: minutes },
  );
}

/** Loads the model that is chosen. */
export async function load(view) {
  await idle(view);
  await view.at('load').click();
  await state(view, 'ready', 4 * minutes);
}

/** Waits until arms have finished, and gives the ids of their tokens. */
export async function finished({ page }, arms) {
  for (const arm of arms) {
    await page.locator(`[data-testid=${arm}][data-arm-state=finished]`).waitFor({ state: 'attached', timeout: 8 * minutes });
  }
  return Promise.all(arms.map((arm) => tokens(page, arm)));
}

/** The ids of an arm's tokens. */
export const tokens = (page, arm) =>
  page.locator(`[data-testid=${arm}-text] [data-token]`).evaluateAll((all) => all.map((one) => one.dataset.token));

/** Waits for the end of the run that a change of k begins, of the ablated arms. */
export async function rerun(view, change) {
  const { page } = view;
  const epoch = await page.evaluate(() => {
    const pane = document.querySelector('[data-testid=arm-random]');
    window.sawRerun = false;
    const watch = new MutationObserver(() => {
      if (pane.dataset.armState !== 'finished') window.sawRerun = true;
    });
    watch.observe(pane, { attributes: true, attributeFilter: ['data-arm-state'] });
    return true;
  });
  assert.ok(epoch);
  await change();
  await page.waitForFunction(
    () => window.sawRerun && document.querySelector('[data-testid=arm-random]').dataset.armState === 'finished',
    undefined,
    { timeout: 8 * minutes },
  );
  await state(view, 'ready');
}

/** Sets the longest continuation. */
export async function maxTokens({ at }, count) {
  if (!(await at('max-tokens').isVisible())) await at('settings').locator('summary').click();
  await at('max-tokens').fill(String(count));
}

/** Unfolds the choice of models. */
export async function openModels({ at }) {
  if (!(await at('model-select').isVisible())) await at('models').locator('summary').first().click();
  await at('model-select').waitFor();
}

/** Takes pictures of the whole page: as it is, and as wide as a phone. */
export async function shot({ page }, name) {
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  const size = page.viewportSize();
  if (size.width <= 390) return;
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: join(shots, `${name}-390.png`), fullPage: true });
  await page.setViewportSize(size);
}

/** Nothing that axe calls serious or critical, in both themes. */
export async function accessible({ page }, where) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axeSource);
  for (const theme of ['light', 'dark']) {
    await page.evaluate((name) => (document.documentElement.dataset.theme = name), theme);
    const found = await page.evaluate(() =>
      window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    const bad = found.violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.target.join(' ')).join('; ')}`);
    assert.deepEqual(bad, [], `${where}, ${theme}`);
  }
  await page.evaluate(() => delete document.documentElement.dataset.theme);
}

/** The page does not scroll sideways. */
export async function noOverflow({ page }) {
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(sideways <= 0, `the page is ${sideways} pixels wider than the window`);
}

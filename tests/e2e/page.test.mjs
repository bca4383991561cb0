// The served page in headless Chromium, from the first byte to ablated code.
//
//   node --test tests/e2e
//
// Needs `target/release/codingspot`, the built page in `dist`, and CHROMIUM (see tests/setup).
// Screenshots go to target/e2e.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const root = resolve(import.meta.dirname, '../..');
const shots = join(root, 'target/e2e');
const shared = process.env.CODINGSPOT_SHARED ?? join(root, '../shared');
const stories = join(shared, 'models/stories260K');
const minutes = 60_000;

let server, address, browser, folder;

before(async () => {
  mkdirSync(shots, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), 'codingspot-e2e-'));
  cpSync(join(root, 'dist'), folder, { recursive: true });
  if (existsSync(stories)) cpSync(stories, join(folder, 'models/stories260K'), { recursive: true });
  server = spawn(join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'release/codingspot'), ['serve', folder, '--port', '0']);
  for await (const line of createInterface(server.stdout)) {
    address = line.trim();
    break;
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
      '--enable-features=Vulkan', '--use-vulkan=swiftshader',
    ],
  });
});

after(async () => {
  await browser?.close();
  server?.kill();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

// A page whose console stays clean: a blocked script or a panic in the worker is a failure.
async function open(query = '', options = {}) {
  const page = await browser.newPage(options);
  const problems = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(address + query);
  return { page, problems, at: (id) => page.getByTestId(id) };
}

async function load({ page, at }) {
  await page.locator('main[data-state=idle]').waitFor({ timeout: 2 * minutes });
  assert.match(await at('load').innerText(), /Load model \(\d/);
  await at('load').click();
}

async function finished({ page, at }, arms) {
  for (const arm of arms) {
    await page.locator(`[data-testid=${arm}][data-arm-state=finished]`).waitFor({ timeout: 8 * minutes });
  }
  return Promise.all(arms.map((arm) => at(`${arm}-text`).textContent()));
}

async function maxTokens({ page, at }, count) {
  if (!(await at('max-tokens').isVisible())) await at('settings').locator('summary').click();
  await at('max-tokens').fill(String(count));
}

test('a model loads on WebGPU, and ablation changes its code and nothing else', async () => {
  const view = await open('', { viewport: { width: 1280, height: 900 } });
  const { page, at, problems } = view;
  await load(view);
  await page.locator('main[data-state=ready]').waitFor({ timeout: 3 * minutes });
  assert.match(await at('backend').innerText(), /WebGPU/);
  await maxTokens(view, 16);

  // k = 0: two equal panes.
  await at('generate').click();
  const [original, untouched] = await finished(view, ['arm-original', 'arm-spot']);
  assert.ok(original.trim().length > 10, original);
  assert.equal(untouched, original);

  // The slider itself, by key, then a preset of the paper's.
  await at('k-slider').focus();
  await page.keyboard.press('ArrowRight');
  assert.match(await at('k-slider').getAttribute('aria-valuetext'), /1 parameter/);
  await finished(view, ['arm-spot']);
  await at('k-preset-0.25').click();
  await page.waitForFunction(
    (before) => {
      const pane = document.querySelector('[data-testid=arm-spot]');
      const text = document.querySelector('[data-testid=arm-spot-text]').textContent;
      return pane.dataset.armState === 'finished' && text !== before;
    },
    original,
    { timeout: 8 * minutes },
  );
  assert.match(await at('k-value').innerText(), /0\.25 %.*13,496 parameters/);
  assert.equal(await at('arm-original-text').textContent(), original, 'the original stays');
  await page.screenshot({ path: join(shots, 'page-desktop.png'), fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.ok(!overflow, 'the page scrolls sideways on a phone');
  await page.screenshot({ path: join(shots, 'page-phone.png'), fullPage: true });

  // Back to 0: the original again, without loading anything.
  await at('k-slider').focus();
  await page.keyboard.press('Home');
  await page.waitForFunction(
    (text) => {
      const pane = document.querySelector('[data-testid=arm-spot]');
      return pane.dataset.armState === 'finished' &&
        document.querySelector('[data-testid=arm-spot-text]').textContent === text;
    },
    original,
    { timeout: 8 * minutes },
  );
  assert.deepEqual(problems, []);
  await page.close();
});

test('without WebGPU the page says why and computes on the CPU', async () => {
  const view = await open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await page.locator('main[data-state=ready]').waitFor({ timeout: 3 * minutes });
  assert.equal(await at('backend').getAttribute('data-backend'), 'cpu');
  assert.match(await at('backend').innerText(), /CPU/);
  await maxTokens(view, 8);
  await at('k-preset-0.25').click();
  await at('generate').click();
  const [original, spot] = await finished(view, ['arm-original', 'arm-spot']);
  assert.ok(original.length > 0 && spot !== original);
  assert.deepEqual(problems, []);
  await page.close();
});

test('loading can be cancelled and begun again', async () => {
  const view = await open('?cpu=1');
  const { page, at, problems } = view;
  // Slow ranges, so that there is a time in which to cancel.
  await page.route('**/model.safetensors', async (route) => {
    if (route.request().method() === 'GET') await new Promise((done) => setTimeout(done, 1500));
    await route.continue().catch(() => {});
  });
  await load(view);
  await at('cancel').click();
  await page.locator('main[data-state=cancelled]').waitFor({ timeout: 10_000 });
  await page.unroute('**/model.safetensors');
  await at('load').click();
  await page.locator('main[data-state=ready]').waitFor({ timeout: 3 * minutes });
  assert.deepEqual(problems, []);
  await page.close();
});

test('what a study found is shown before anything is loaded, in the scope that is chosen', async () => {
  for (const width of [1280, 390]) {
    const { page, problems, at } = await open('', { viewport: { width, height: 900 } });
    const findings = at('findings');
    await findings.waitFor({ timeout: 1 * minutes });
    assert.equal(await findings.getAttribute('data-source'), 'recorded');
    const figure = (name) => at(`figure-${name}-no-norm`);
    for (const name of ['dose-code', 'dose-gap', 'location', 'matrix']) {
      const drawn = figure(name).locator('svg[role=img]:visible');
      assert.equal(await drawn.count(), 1, `${name} is drawn once at ${width}`);
      assert.match(await figure(name).locator('figcaption').innerText(), /\d/);
      // The values as a table, too.
      await figure(name).locator('summary').click();
      assert.ok((await figure(name).locator('table td:visible').count()) > 3);
    }
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(sideways <= 0, `the page is ${sideways} pixels wider than the window`);
    await page.screenshot({ path: join(shots, `findings-${width}.png`), fullPage: true });
    assert.deepEqual(problems, []);
    await page.close();
  }
});

test('a damaged model is refused in words', async () => {
  const { page, at } = await open('?cpu=1');
  await page.route('**/model.safetensors', (route) =>
    route.fulfill({ status: 200, body: 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n' }));
  await page.locator('main[data-state=idle]').waitFor({ timeout: 2 * minutes });
  await at('load').click();
  await at('alert').waitFor({ timeout: 30_000 });
  assert.match(await at('alert').innerText(), /Git LFS pointer/);
  assert.equal(await page.locator('main').getAttribute('data-state'), 'failed');
  await page.close();
});

test('stories260K says in the browser what its authors published', { skip: !existsSync(stories) && 'the model is not there' }, async () => {
  const published = readFileSync(join(stories, 'stories260K.md'), 'utf8');
  const start = published.indexOf('Once upon a time, there was a little girl named Lily.');
  const expected = published.slice(start).split('\n```')[0].trim();
  const view = await open('?model=stories260K');
  const { page, at } = view;
  await load(view);
  // It has no spot here, and the page says so; the original alone can be run.
  await page.locator('main[data-state=failed]').waitFor({ timeout: 3 * minutes });
  assert.match(await at('backend').innerText(), /WebGPU/);
  await maxTokens(view, 256);
  await at('prompt').fill('');
  await at('generate').click();
  const [text] = await finished(view, ['arm-original']);
  assert.equal(text.trim(), expected);
  await page.close();
});

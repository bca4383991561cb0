// Ablate: three arms, k by keys and presets, both modes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, countOf, finished, load, maxTokens, minutes, noOverflow, rerun, shot, start, state } from './harness.mjs';

const arms = ['arm-original', 'arm-spot', 'arm-random'];
let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

test('a model loads on WebGPU, and ablation changes its code and nothing else', async () => {
  const view = await site.open();
  const { page, at, problems } = view;
  await load(view);
  assert.equal(await at('backend').getAttribute('data-backend'), 'webgpu');
  await accessible(view, 'ready');
  await shot(view, 'ready');
  await maxTokens(view, 12);

  // k = 0: equal arms.
  await at('generate').click();
  await state(view, 'generating', minutes);
  assert.match(await at('status-line').innerText(), /Generating: original/);
  const [original, spot, random] = await finished(view, arms);
  await state(view, 'ready');
  assert.equal(await at('ab-panel').getAttribute('data-source'), 'live');
  assert.ok(original.length > 4);
  assert.deepEqual(spot, original);
  assert.deepEqual(random, original);
  assert.equal(await at('delta-nll').innerText(), '0.00');
  for (const arm of arms) assert.match(await at(arm).getAttribute('data-stop'), /^(eos|length)$/);

  // By keys: labels follow, and the slider says what it stands for.
  const value = await at('k-value').innerText();
  await at('k-slider').focus();
  await rerun(view, () => page.keyboard.press('ArrowRight'));
  assert.notEqual(await at('k-value').innerText(), value);
  assert.match(await at('k-slider').getAttribute('aria-valuetext'), /%, 1 parameter$/);
  await rerun(view, () => page.keyboard.press('PageUp'));
  assert.equal(await at('k-slider').inputValue(), '11');

  // Same text: the tokens stay, the loss rises, and far more than by the control.
  await rerun(view, () => at('k-preset-0.25').click());
  assert.ok((await at('k-value').innerText()).includes(`0.25 %, ${countOf(0.25)} parameters`));
  assert.deepEqual((await finished(view, ['arm-spot']))[0], original);
  const number = async (id) => Number((await at(id).innerText()).replace('\u2212', '-'));
  assert.ok((await number('delta-nll')) > (await number('delta-nll-random')) + 0.5);
  assert.match(await at('arm-random').innerText(), /seed 0/);

  // The detail of a token, by keys.
  await at('arm-spot-text').focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  const detail = await at('token-detail').innerText();
  assert.match(detail, /Token 2/);
  assert.ok((await at('token-detail').locator('.top li').count()) >= 12, 'five alternatives of three arms');
  await accessible(view, 'after a run');
  await shot(view, 'same-text');

  // Own text: it writes another text, and differences end where it leaves the original's.
  await rerun(view, () => at('mode-own').check());
  const [own] = await finished(view, ['arm-spot']);
  assert.notDeepEqual(own, original);
  assert.equal(await at('arm-spot').getByTestId('divergence-mark').count(), 1);
  assert.deepEqual((await finished(view, ['arm-original']))[0], original, 'the original stays');
  await accessible(view, 'own text');
  await shot(view, 'own-text');
  await page.setViewportSize({ width: 390, height: 844 });
  await noOverflow(view);
  await accessible(view, 'own text, narrow');
  await shot(view, 'own-text-390');
  await page.setViewportSize({ width: 1280, height: 900 });

  // Back to 0: the original again, to the token.
  await at('k-slider').focus();
  await rerun(view, () => page.keyboard.press('Home'));
  assert.deepEqual((await finished(view, ['arm-spot']))[0], original);
  assert.equal(await at('delta-nll').innerText(), '0.00');
  assert.deepEqual(problems, []);
  await view.close();
});

test('dragging changes labels only, and the end of it tells the worker once', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await page.addInitScript(() => {
    const post = Worker.prototype.postMessage;
    window.sent = [];
    Worker.prototype.postMessage = function (data, ...rest) {
      // The first byte of a message is its kind.
      if (Array.isArray(data)) window.sent.push(new Uint8Array(data[0])[0]);
      return post.call(this, data, ...rest);
    };
  });
  await page.reload();
  await load(view);
  const SET_MASK = 6;
  const masks = () => page.evaluate((kind) => window.sent.filter((one) => one === kind).length, SET_MASK);
  await page.waitForTimeout(500);
  const before = await masks();
  const text = await at('k-value').innerText();
  const box = await at('k-slider').boundingBox();
  await page.mouse.move(box.x + 20, box.y + box.height / 2);
  await page.mouse.down();
  for (let step = 1; step <= 10; step++) await page.mouse.move(box.x + 20 + step * 30, box.y + box.height / 2);
  assert.notEqual(await at('k-value').innerText(), text);
  assert.equal(await masks(), before, 'nothing is sent while dragging');
  await page.mouse.up();
  await page.waitForTimeout(500);
  assert.equal(await masks(), before + 1);
  assert.deepEqual(problems, []);
  await view.close();
});

test('without WebGPU the page says why and computes on the CPU', async () => {
  const view = await site.open('?cpu=1');
  const { at, problems } = view;
  await load(view);
  assert.equal(await at('backend').getAttribute('data-backend'), 'cpu');
  assert.match(await at('backend').innerText(), /No WebGPU here \(.+\)\. Running on the CPU/);
  await at('why').click();
  assert.match(await at('backend').innerText(), /cpu=1/);
  await maxTokens(view, 6);
  await at('k-preset-0.25').click();
  await at('mode-own').check();
  await at('generate').click();
  const [original, spot] = await finished(view, arms);
  assert.ok(original.length > 0);
  assert.notDeepEqual(spot, original);
  assert.match(await at('backend').innerText(), /Running on the CPU at [\d.]+ tokens per second\./);
  await accessible(view, 'cpu');
  assert.deepEqual(problems, []);
  await view.close();
});

test('a run stops by Esc and goes on by Continue; Ctrl+Enter begins it', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await maxTokens(view, 200);
  await at('prompt').focus();
  await page.keyboard.press('Control+Enter');
  await page.waitForFunction(() => Number(document.querySelector('[data-testid=arm-original]').dataset.tokenCount) > 1, undefined, { timeout: 2 * minutes });
  const began = Date.now();
  await page.keyboard.press('Escape');
  await state(view, 'stopped', 20_000);
  assert.ok(Date.now() - began < 5000);
  assert.match(await at('status-line').innerText(), /^Stopped at token \d+\. Partial runs are left out of averages\.$/);
  assert.equal(await at('arm-original-nll').innerText(), '–');
  await accessible(view, 'stopped');
  await shot(view, 'stopped');
  await maxTokens(view, 6);
  await at('continue').click();
  await state(view, 'generating');
  await at('stop').click();
  await state(view, 'stopped');
  assert.deepEqual(problems, []);
  await view.close();
});

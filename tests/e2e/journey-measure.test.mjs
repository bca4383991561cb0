// Measure: losses by language, and Python's tests.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, load, minutes, shot, start, state } from './harness.mjs';

let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

test('losses are measured for every language and arm', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await at('k-preset-0.25').click();
  await at('nll-run').click();
  await state(view, 'measuring');
  await state(view, 'ready', 9 * minutes);
  for (const language of ['python', 'rust', 'cpp', 'csharp', 'english']) {
    const row = at(`nll-row-${language}`);
    assert.equal(await row.getAttribute('data-source'), 'live');
    const cells = await row.locator('td').allInnerTexts();
    for (const cell of cells.slice(0, 3)) assert.match(cell, /^\d+\.\d\d ± \d+\.\d\d$/);
    assert.ok(Number(cells[3]) > 20);
    const [original, spot] = cells.map((cell) => parseFloat(cell));
    if (language !== 'english') assert.ok(spot > original + 0.3, `${language}: ${cells}`);
  }
  assert.equal(await page.locator('[data-testid^=nll-row-]').count(), 12);
  await accessible(view, 'languages');
  await shot(view, 'languages');
  assert.deepEqual(problems, []);
  await view.close();
});

test('one\'s own problem is written by every arm and tested in a closed frame', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await at('own-problem').locator('summary').first().click();
  // The model goes on within the loop; its program is Python, and what loops in any case is the test.
  await at('own-prompt').fill('def forever(x):\n    while True:\n        x = x + 1\n');
  await at('own-tests').fill('def check(candidate):\n    while True: pass\n');
  assert.equal(await at('py-frame').count(), 0, 'Python is not fetched before it is asked for');
  await at('own-run').click();
  await at('py-frame').waitFor({ state: 'attached' });
  assert.equal(await at('py-frame').getAttribute('sandbox'), 'allow-scripts');
  const row = at('py-result-own');
  await row.locator('[data-verdict="timed out"]').first().waitFor({ timeout: 5 * minutes });
  // While the others run, the page answers.
  const answered = await page.evaluate(async () => {
    const box = document.querySelector('[data-testid=mode-own]');
    const began = performance.now();
    box.click();
    await new Promise((done) => requestAnimationFrame(done));
    return performance.now() - began;
  });
  assert.ok(answered <= 100, `answered after ${answered} ms`);
  await row.locator('summary').first().click();
  assert.match(await row.getByTestId('py-detail').first().innerText(), /Timed out after 5 s/);
  await accessible(view, 'tests');
  assert.deepEqual(problems, []);
  await view.close();
});

test('the problems that come with the page get verdicts', async () => {
  const view = await site.open('?cpu=1');
  const { at, problems } = view;
  await load(view);
  await at('k-preset-0.25').click();
  await at('py-run').click();
  // The first of them is enough.
  for (const arm of ['arm-original', 'arm-spot', 'arm-random']) {
    const done = ['passed', 'failed', 'syntax error', 'timed out'].map((word) => `[data-verdict="${word}"]`).join(',');
    await at('py-result-codingspot-0').locator(`[data-arm=${arm}]:is(${done})`).waitFor({ timeout: 9 * minutes });
  }
  await at('stop').click();
  await state(view, 'stopped');
  await shot(view, 'tests');
  assert.deepEqual(problems, []);
  await view.close();
});

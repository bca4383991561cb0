// Bring files, share, return.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { accessible, countOf, demo, idle, load, maxTokens, minutes, openModels, root, shot, start, state } from './harness.mjs';

let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

const model = (name) => join(root, 'demo/model', name);

// A spot file with the fingerprint of another model.
function foreignSpot() {
  const bytes = readFileSync(model('spot-no-norm.safetensors'));
  const from = bytes.indexOf(demo.fingerprint.slice(0, 8));
  assert.ok(from > 0);
  bytes.write('aaaabbbb', from);
  return { name: 'foreign.safetensors', mimeType: 'application/octet-stream', buffer: bytes };
}

test('a link brings every choice back, and downloads nothing', async () => {
  const view = await site.open();
  const { page, at, problems } = view;
  await idle(view);
  await at('scope-all').check();
  await at('k-preset-0.01').click();
  await at('k-slider').focus();
  await page.keyboard.press('ArrowRight');
  await at('mode-own').check();
  await at('prompt').fill('# ünïcode & "quotes"\ndef f(x):\n');
  await maxTokens(view, 17);
  await at('seed').fill('7');
  const k = await at('k-slider').getAttribute('aria-valuetext');
  await at('copy-link').click();
  await at('link-said').getByText('Link copied.').waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(link, /#v=1&model=demo&spot=all&n=\d+&mode=own&seed=7&/);
  const fresh = await site.open(link.slice(site.address.length));
  await idle(fresh);
  assert.ok(await fresh.at('scope-all').isChecked());
  assert.ok(await fresh.at('mode-own').isChecked());
  assert.equal(await fresh.at('k-slider').getAttribute('aria-valuetext'), k);
  assert.equal(await fresh.at('prompt').inputValue(), '# ünïcode & "quotes"\ndef f(x):\n');
  await fresh.at('settings').locator('summary').click();
  assert.equal(await fresh.at('seed').inputValue(), '7');
  assert.equal(await fresh.at('max-tokens').inputValue(), '17');
  assert.deepEqual(fresh.requests.filter((url) => /safetensors|tokenizer\.json/.test(url)), []);
  assert.deepEqual(problems.concat(fresh.problems), []);
  await fresh.close();
  await view.close();
});

test('files of this computer load, and a spot of another model is refused without a trace', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await idle(view);
  await openModels(view);
  await shot(view, 'models');
  await accessible(view, 'models');
  await at('file-input').setInputFiles(['config.json', 'tokenizer.json', 'model.safetensors'].map(model));
  await page.waitForFunction(() => document.querySelector('[data-testid=model-name]').textContent === 'model.safetensors');
  await at('load').click();
  await state(view, 'ready', 4 * minutes);
  assert.ok(!view.requests.some((url) => url.endsWith('model.safetensors')), 'nothing is fetched');
  await at('file-input').setInputFiles(model('spot-no-norm.safetensors'));
  await at('spot-other').waitFor({ timeout: minutes });
  await at('k-preset-0.25').click();
  await page.locator('[data-testid=heat][data-source=live]').waitFor({ timeout: minutes });
  await page.waitForFunction((count) => document.querySelector('[data-testid=heat]').textContent.includes(count), countOf(0.25), { timeout: minutes });
  const map = await at('heatmap').innerText();

  await at('file-input').setInputFiles(foreignSpot());
  await at('alert').waitFor({ timeout: minutes });
  assert.match(
    await at('alert').innerText(),
    new RegExp(
      `This spot file was made for another model \\(aaaabbbb\\)\\. The loaded model is model\\.safetensors \\(${demo.fingerprint.slice(0, 8)}\\)\\. It was not applied\\.`,
    ),
  );
  assert.equal(await at('alert').getAttribute('data-kind'), 'mask-mismatch');
  assert.equal(await page.locator('main').getAttribute('data-state'), 'ready');
  assert.equal(await at('heatmap').innerText(), map, 'the spot that was there still is');
  await accessible(view, 'mask-mismatch');
  await shot(view, 'mask-mismatch');
  await at('dismiss').click();
  assert.equal(await at('alert').count(), 0);

  await at('copy-link').click();
  await at('link-said').getByText('This link does not include your local files.').waitFor();
  assert.deepEqual(problems, []);
  await view.close();
});

test('what a file is called is never markup', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await idle(view);
  await openModels(view);
  const name = '<img src=x onerror=document.title=1>.safetensors';
  await at('file-input').setInputFiles([
    { name: 'config.json', mimeType: 'application/json', buffer: Buffer.from('{}') },
    { name, mimeType: 'application/octet-stream', buffer: Buffer.from('x') },
  ]);
  assert.equal(await at('model-name').textContent(), name);
  assert.equal(await page.locator('img').count(), 0);
  await at('load').click();
  await at('alert').waitFor({ timeout: minutes });
  assert.equal(await page.locator('img').count(), 0);
  assert.deepEqual(problems, []);
  await view.close();
});

test('code of one\'s own gets its spot on the map', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await at('score-text').fill('def add(a, b):\n    return a + b\n\n\ndef mean(values):\n    return sum(values) / len(values)\n');
  await at('score-run').click();
  await state(view, 'measuring', minutes);
  await page.waitForFunction(() => /spot of your code is loaded/.test(document.querySelector('[data-testid=score-said]').textContent), undefined, { timeout: 9 * minutes });
  await at('k-preset-0.25').click();
  const removed = `${countOf(0.25)} parameters removed`;
  await page.waitForFunction((text) => document.querySelector('[data-testid=heat]').textContent.includes(text), removed, { timeout: minutes });
  await shot(view, 'own-code');
  assert.deepEqual(problems, []);
  await view.close();
});

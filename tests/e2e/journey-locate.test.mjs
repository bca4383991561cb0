// Locate and judge: the map by keys, dose and response, overlap.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { accessible, countOf, load, minutes, root, shot, start } from './harness.mjs';

let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

test('the map follows k, by keys, with norms and the embedding apart', async () => {
  const view = await site.open('?cpu=1');
  const { page, at, problems } = view;
  await load(view);
  await at('k-preset-0.25').click();
  await page.locator('[data-testid=heat][data-source=live]').waitFor({ timeout: minutes });
  await page.waitForFunction((count) => document.querySelector('[data-testid=heat]').textContent.includes(count), countOf(0.25), { timeout: minutes });
  const grid = at('heatmap');
  assert.equal(await grid.getAttribute('role'), 'grid');
  assert.ok((await at('norm').count()) >= 1);
  assert.equal(await at('embedding').count(), 1);
  const { hidden_size: hidden, num_hidden_layers: layers } = JSON.parse(readFileSync(join(root, 'demo/model/config.json'), 'utf8'));
  const heads = await grid.locator('thead th').allInnerTexts();
  assert.equal(heads.at(-1), `${layers - 1}`, 'the last layer has its column');
  assert.equal(await grid.locator('[tabindex="0"]').count(), 1, 'one stop of the tab key');

  await grid.locator('[tabindex="0"]').focus();
  const first = await at('cell-detail').innerText();
  const matrix = (hidden * hidden).toLocaleString('en');
  assert.match(first, new RegExp(`^Layer 0, q_proj: [\\d,]+ of ${matrix} parameters removed \\(.+ %\\)\\. Expected [\\d,.]+\\. Enrichment: `));
  await page.keyboard.press('ArrowRight');
  assert.match(await at('cell-detail').innerText(), /^Layer 1, q_proj/);
  await page.keyboard.press('ArrowDown');
  assert.match(await at('cell-detail').innerText(), /^Layer 1, k_proj/);
  await page.keyboard.press('Enter');
  await page.keyboard.press('End');
  assert.match(await at('cell-detail').innerText(), new RegExp(`^Layer ${layers - 1}, k_proj`));
  assert.match(await at('cell-pinned').innerText(), /^Pinned: Layer 1, k_proj/);

  // What is removed in all cells is what is removed.
  await at('heat').locator('summary').click();
  const removed = await at('heat').locator('table.cs-table tbody td:nth-child(3)').allInnerTexts();
  const sum = removed.reduce((total, text) => total + Number(text.replaceAll(',', '')), 0);
  const said = Number((await at('heat').innerText()).match(/([\d,]+) parameters removed/)[1].replaceAll(',', ''));
  assert.equal(sum, said);
  await accessible(view, 'map');
  await shot(view, 'map');
  assert.deepEqual(problems, []);
  await view.close();
});

test('dose and response has its control, its values as a table, and the k of now', async () => {
  const view = await site.open('?cpu=1');
  const { at, problems } = view;
  await load(view);
  await at('k-preset-0.09').click();
  const chart = at('dose-chart');
  await chart.locator('svg:visible').waitFor();
  const drawn = chart.locator('svg:visible');
  await drawn.locator('text', { hasText: 'k now' }).waitFor({ timeout: minutes });
  assert.match(await drawn.textContent(), /random/);
  assert.equal(await at('dose-table').getAttribute('role'), 'table');
  await chart.locator('summary').click();
  assert.match(await at('dose-table').innerText(), /random/);
  await at('overlap').waitFor();
  assert.match(await at('overlap').innerText(), /random sets/);
  assert.deepEqual(problems, []);
  await view.close();
});

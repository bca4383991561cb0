// Look before loading: a recorded run is there at once, and nothing of a model is fetched.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, idle, minutes, noOverflow, shot, start } from './harness.mjs';

let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

test('a recorded run is there within two seconds, and no weights are asked for', async () => {
  const view = await site.open();
  const { page, at, problems, requests } = view;
  await page.locator('[data-testid=ab-panel][data-source=recorded]').waitFor({ timeout: 20_000 });
  const shown = await page.evaluate(() => performance.now());
  // From the start of the navigation; a machine under other load gets its time from CODINGSPOT_FIRST_MS.
  assert.ok(shown <= Number(process.env.CODINGSPOT_FIRST_MS ?? 2000), `shown after ${shown} ms`);
  for (const arm of ['arm-original', 'arm-spot', 'arm-random']) {
    assert.ok(Number(await at(arm).getAttribute('data-token-count')) > 8, arm);
    assert.match(await at(arm).getAttribute('data-stop'), /^(eos|length)$/);
  }
  await idle(view);
  assert.match(await at('load').innerText(), /Load model \(\d/);
  assert.equal(await page.getByRole('status').filter({ hasText: 'recorded' }).textContent(), 'Showing a recorded run. No model is loaded.');
  assert.deepEqual(requests.filter((url) => /safetensors|tokenizer\.json|\.bin$/.test(url)), []);
  await accessible(view, 'recorded');
  await shot(view, 'recorded-1280');
  assert.deepEqual(problems, []);
  await view.close();
});

test('what a study found is shown in the scope that is chosen, at every width', async () => {
  for (const width of [1280, 390, 360]) {
    const view = await site.open('', { viewport: { width, height: 844 } });
    const { page, at, problems } = view;
    await idle(view);
    if (width < 700) {
      for (const panel of ['where', 'how-much', 'languages', 'tests']) await at(panel).locator('summary').first().click();
    }
    for (const name of ['dose-chart', 'figure-dose-gap-no-norm', 'figure-location-no-norm', 'overlap', 'figure-matrix-no-norm']) {
      await at(name).waitFor({ timeout: minutes });
      assert.equal(await at(name).getAttribute('data-source'), 'recorded');
      assert.equal(await at(name).locator('svg[role=img]:visible').count(), 1, `${name} is drawn once at ${width}`);
    }
    await noOverflow(view);
    await accessible(view, `recorded at ${width}`);
    await shot(view, `recorded-open-${width}`);
    await at('scope-all').check();
    await at('figure-location-all').waitFor();
    assert.deepEqual(problems, []);
    await view.close();
  }
});

test('a narrow window shows one arm at a time and every arm\'s loss', async () => {
  const view = await site.open('', { viewport: { width: 390, height: 844 } });
  const { page, at } = view;
  await idle(view);
  assert.equal(await page.locator('.pane:visible').count(), 1);
  await at('tab-arm-original').click();
  assert.ok(await at('arm-original').isVisible());
  await page.keyboard.press('ArrowRight');
  assert.ok(await at('arm-spot').isVisible());
  assert.match(await at('compare-strip').innerText(), /\d\.\d\d[\s\S]*\d\.\d\d[\s\S]*\d\.\d\d/);
  const slider = await at('k-slider').boundingBox();
  assert.ok(slider.height >= 44);
  await view.close();
});

test('themes, forced colours and reduced motion', async () => {
  const view = await site.open('', { colorScheme: 'dark' });
  const { page, at } = view;
  await idle(view);
  await shot(view, 'recorded-dark');
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await at('theme').selectOption('light');
  const light = await background();
  assert.notEqual(dark, light);
  await page.reload();
  await idle(view);
  assert.equal(await background(), light, 'the choice is kept');
  await page.emulateMedia({ forcedColors: 'active', reducedMotion: 'reduce' });
  const border = await at('arm-spot').evaluate((pane) => getComputedStyle(pane).borderTopStyle);
  assert.equal(border, 'dashed');
  await shot(view, 'forced-colors');
  await view.close();
});

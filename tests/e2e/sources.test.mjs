// Where models come from and what they run on, where that is not the usual: the hub, an adapter that lacks a feature, a tab
// that was closed while it kept what it fetched.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { finished, idle, load, maxTokens, minutes, openModels, root, start, state } from './harness.mjs';

let site;
before(async () => {
  site = await start();
});
after(() => site?.close());

test('a model of the hub loads by its id', async () => {
  const view = await site.open('?cpu=1', { allow: [/404/] });
  const { page, at, requests } = view;
  // The hub as it answers other origins, with the bundled model.
  await page.route('https://huggingface.co/**', (route) => {
    const name = new URL(route.request().url()).pathname.split('/resolve/main/')[1];
    const file = join(root, 'demo/model', name ?? '');
    const headers = { 'Access-Control-Allow-Origin': '*' };
    return name && existsSync(file)
      ? route.fulfill({ status: 200, headers: { ...headers, 'Content-Length': String(readFileSync(file).length) }, body: readFileSync(file) })
      : route.fulfill({ status: 404, headers });
  });
  await idle(view);
  await openModels(view);
  await at('hub-id').fill('org/demo');
  await at('hub-choose').click();
  // Its size is asked for first.
  await at('load').click();
  await idle(view);
  await at('load').click();
  await state(view, 'ready', 4 * minutes);
  assert.ok(requests.some((url) => url === 'https://huggingface.co/org/demo/resolve/main/model.safetensors'));
  await maxTokens(view, 4);
  await at('generate').click();
  assert.equal((await finished(view, ['arm-original']))[0].length, 4);
  await view.close();
});

test('an adapter without timestamp-query is named, and the CPU computes', async () => {
  const view = await site.open();
  const { page, at, problems } = view;
  await page.route('**/engine-boot.js', async (route) => {
    const response = await route.fetch();
    const lacking = `
      const has = GPUSupportedFeatures.prototype.has;
      GPUSupportedFeatures.prototype.has = function (name) { return name !== 'timestamp-query' && has.call(this, name); };`;
    await route.fulfill({ response, body: (await response.text()) + lacking });
  });
  await page.reload();
  await load(view);
  assert.equal(await at('backend').getAttribute('data-backend'), 'cpu');
  await maxTokens(view, 4);
  await at('generate').click();
  await finished(view, ['arm-original']);
  assert.match(await at('backend').innerText(), /the adapter lacks timestamp-query/);
  assert.deepEqual(problems, []);
  await view.close();
});

test('a tab that is closed while it loads leaves what the next one goes on with', async () => {
  const view = await site.open('?cpu=1');
  const { page, context } = view;
  let weights = 0;
  await page.route('**/model.safetensors', async (route) => {
    weights += 1;
    // A slow body can't be made here: a part of it, and then silence until the tab is closed.
    if (weights === 1) await route.continue().catch(() => {});
    else await new Promise(() => {});
  });
  await idle(view);
  await view.at('load').click();
  await state(view, ['loading', 'ready'], minutes);
  await page.close();
  const again = await context.newPage();
  await again.goto(`${site.address}?cpu=1`);
  const next = { ...view, page: again, at: (id) => again.getByTestId(id) };
  await load(next);
  await maxTokens(next, 4);
  await next.at('generate').click();
  assert.equal((await finished(next, ['arm-original']))[0].length, 4);
  await context.close();
});

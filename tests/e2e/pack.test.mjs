// Web packs: made by the command line, loaded piece by piece, their spots by levels; and packs that are damaged.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { countOf, finished, idle, load, maxTokens, minutes, program, rerun, root, start, state } from './harness.mjs';

let site;
before(async () => {
  site = await start((folder) => {
    const models = join(folder, 'models');
    const spots = ['all', 'no-norm'].flatMap((scope) => ['--spot', join(root, `demo/model/spot-${scope}.safetensors`)]);
    const made = ['--encoding', 'q4', '--name', 'demo-q4', '--index', join(models, 'index.json'), '-o', join(models, 'demo-q4')];
    execFileSync(program, ['pack', join(root, 'demo/model'), ...spots, ...made], { stdio: ['ignore', 'ignore', 'inherit'] });
    for (const [name, harm] of [
      ['changed', (file) => {
        const bytes = readFileSync(file);
        bytes[bytes.length >> 1] ^= 1;
        writeFileSync(file, bytes);
      }],
      ['short', (file) => truncateSync(file, 1_000_000)],
    ]) {
      cpSync(join(models, 'demo-q4'), join(models, name), { recursive: true });
      harm(join(models, name, 'weights-00001.bin'));
    }
    // Entries of their own, so that the page knows them for packs.
    const index = JSON.parse(readFileSync(join(models, 'index.json')));
    const entry = index.models.find((model) => model.name === 'demo-q4');
    assert.ok(entry, 'the pack is in the catalogue');
    for (const name of ['changed', 'short']) index.models.push({ ...entry, name, title: name, directory: `${name}/` });
    writeFileSync(join(models, 'index.json'), JSON.stringify(index));
  });
});
after(() => site?.close());

test('a pack loads, its spot moves by levels, and comes back to the token', async () => {
  // A study's figures don't come with a pack: the page asks for them, and does without.
  const view = await site.open('?model=demo-q4', { allow: [/404/] });
  const { page, at, problems } = view;
  await load(view);
  await maxTokens(view, 8);
  await at('generate').click();
  const [original] = await finished(view, ['arm-original', 'arm-spot', 'arm-random']);
  await state(view, 'ready');
  assert.ok(original.length > 2);
  await rerun(view, () => at('k-preset-0.25').click());
  // The published k is one of the levels.
  assert.match(await at('k-value').innerText(), new RegExp(`0\\.25 %, ${countOf(0.25)} parameters`));
  const number = async (id) => Number((await at(id).innerText()).replace('\u2212', '-'));
  assert.ok((await number('delta-nll')) > (await number('delta-nll-random')) + 0.5);
  await at('k-slider').focus();
  await rerun(view, () => page.keyboard.press('Home'));
  assert.deepEqual((await finished(view, ['arm-spot']))[0], original);
  assert.equal(await at('delta-nll').innerText(), '0.00');
  assert.deepEqual(problems, []);
  await view.close();
});

for (const [name, said] of [['changed', /hash|damaged/i], ['short', /weights-00001\.bin|ended early|bytes/i]]) {
  test(`a pack that is ${name} is refused in words, and the page goes on`, async () => {
    const view = await site.open(`?model=${name}`);
    const { at, page } = view;
    await idle(view);
    await at('load').click();
    await at('alert').first().waitFor({ timeout: 2 * minutes });
    assert.match(await at('alert').first().innerText(), said);
    await page.goto(`${site.address}?model=demo-q4`);
    await load(view);
    await view.close();
  });
}

// Records the run that visitors see before a model is loaded: the bundled model's, with the page's own button.
//
//   node tests/e2e/record.mjs [FILE]        FILE: demo/recorded-run.json
//
// Needs what the page's tests need, and a page built with the model that is recorded.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished, load, maxTokens, minutes, rerun, root, shot, start, state } from './harness.mjs';

const prompt = 'fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n';
const arms = ['arm-original', 'arm-spot', 'arm-random'];
const site = await start();

/** What the button saves. */
async function saved({ page, at }) {
  const [download] = await Promise.all([page.waitForEvent('download'), at('save-run').click()]);
  return JSON.parse(readFileSync(await download.path(), 'utf8'));
}

try {
  const view = await site.open('', { acceptDownloads: true });
  const { page, at } = view;
  await load(view);
  await maxTokens(view, 48);
  await at('prompt').fill(prompt);
  await at('generate').click();
  await state(view, 'generating', minutes);
  await finished(view, arms);
  await state(view, 'ready');
  // The button saves one run; a visitor's page has one of each mode.
  await rerun(view, () => at('k-preset-0.25').click());
  const same = await saved(view);
  await shot(view, 'recording');
  await rerun(view, () => at('mode-own').check());
  const own = await saved(view);
  const runs = [...same.runs, ...own.runs];
  // How fast an emulated adapter was says nothing to anyone.
  for (const arm of runs.flatMap((run) => run.arms)) arm.tokens_per_s = null;
  writeFileSync(process.argv[2] ?? join(root, 'demo/recorded-run.json'), JSON.stringify({ ...same, runs }));
} finally {
  await site.close();
}

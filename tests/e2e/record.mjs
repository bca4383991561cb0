// Records the run that visitors see before a model is loaded: the bundled model's, with the page's own button.
//
//   node tests/e2e/record.mjs [FILE]        FILE: demo/recorded-run.json
//
// Needs what the page's tests need, and a page built with the model that is recorded.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished, load, maxTokens, minutes, rerun, root, shot, start, state } from './harness.mjs';

const prompt = 'fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n';
const arms = ['arm-original', 'arm-spot', 'arm-random'];
const site = await start();
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
  // Both modes are recorded: what was run before stays while only the mode changes.
  await rerun(view, () => at('k-preset-0.25').click());
  await rerun(view, () => at('mode-own').check());
  await shot(view, 'recording');
  const [download] = await Promise.all([page.waitForEvent('download'), at('save-run').click()]);
  copyFileSync(await download.path(), process.argv[2] ?? join(root, 'demo/recorded-run.json'));
} finally {
  await site.close();
}

// Our own page's worker, as the page runs it: `dist` as tests/build-page makes it.
import { copyFileSync, existsSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { measureInPage } from '../lib/measure.mjs';
import { work } from '../lib/models.mjs';

export const name = 'codingspot';

const forms = ['f32', 'q8', 'q4'];
export const variants = [
  ...forms.map((form) => ({ name: `webgpu ${form}`, form, cpu: false })),
  ...forms.map((form) => ({ name: `cpu ${form}`, form, cpu: true })),
];

// The checkpoint with a vocabulary of numbers: the worker takes prompts as text, and text is ids then. Nothing begins or ends it.
function numbered({ name, folder, config }) {
  const to = join(work, 'exports', `${name}-numbered`);
  if (existsSync(join(to, 'tokenizer.json'))) return `${name}-numbered`;
  mkdirSync(to, { recursive: true });
  const weights = join(to, 'model.safetensors');
  if (!existsSync(weights)) {
    try {
      linkSync(join(folder, 'model.safetensors'), weights);
    } catch {
      copyFileSync(join(folder, 'model.safetensors'), weights);
    }
  }
  writeFileSync(join(to, 'config.json'), JSON.stringify({ ...config, bos_token_id: null, eos_token_id: null }));
  const vocab = Object.fromEntries(Array.from({ length: config.vocab_size }, (_, id) => [String(id), id]));
  const tokenizer = {
    version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' }, post_processor: null, decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '0' },
  };
  writeFileSync(join(to, 'tokenizer.json'), JSON.stringify(tokenizer));
  return `${name}-numbered`;
}

export async function prepare(model, variant) {
  return { directory: `/exports/${numbered(model)}/`, encoding: ['f32', 'f16', 'q8', 'q4'].indexOf(variant.form), cpu: variant.cpu };
}

export function measure(page, request) {
  return measureInPage(page, { ...request, module: '/peers/codingspot/page.js' });
}

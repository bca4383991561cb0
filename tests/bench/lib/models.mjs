// The models that are measured, their prompt, and what the command line says comes after it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

export const root = resolve(import.meta.dirname, '../../..');
export const work = resolve(process.env.CODINGSPOT_BENCH ?? join(root, 'target/bench'));
const python = process.env.CODINGSPOT_BENCH_PYTHON ?? join(work, 'venv/bin/python');
const bench = join(root, 'tests/bench');

function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const path = process.env.CODINGSPOT_BINARY ?? join(target, 'release/codingspot');
  return existsSync(path) ? path : null;
}

const quiet = { stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 };

// A function's head in Python, in the bundled model's tokens.
const code = [
  0, 1018, 1165, 1144, 3093, 692, 552, 1257, 263, 1165, 84, 289, 306, 538, 263, 361, 1194, 299, 2139, 884, 2343, 387, 511, 275, 1165,
  84, 60, 2001, 62, 289, 1165, 84,
];

function opened(name, folder) {
  return { name, folder, config: JSON.parse(readFileSync(join(folder, 'config.json'))) };
}

// `demo`, the name of a config in configs/ (random weights), or a directory. Gives { name, folder, config }.
export function findModel(name) {
  const config = join(bench, 'configs', `${name}.json`);
  if (name === 'demo') return opened(name, join(root, 'demo/model'));
  if (!existsSync(config)) {
    // Exports are kept by name, and folders called `model` are many.
    const folder = resolve(name);
    const mark = createHash('sha256').update(folder).digest('hex').slice(0, 8);
    return opened(`${basename(folder)}-${mark}`, folder);
  }
  const folder = join(work, 'models', name);
  if (!existsSync(join(folder, 'model.safetensors'))) {
    if (!binary()) throw new Error(`${name} needs random weights from codingspot: build it, or set CODINGSPOT_BINARY`);
    mkdirSync(dirname(folder), { recursive: true });
    execFileSync(binary(), ['synth', config, '-o', folder, '--dtype', 'f16'], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return opened(name, folder);
}

export function promptOf(model, length) {
  if (model.name === 'demo' && length <= code.length) return code.slice(0, length);
  return Array.from({ length }, (_, index) => (index * 7919 + 17) % model.config.vocab_size);
}

// Greedy tokens to hold a variant's against, by its form: of the command line on the CPU for f32, of onnxruntime on the CPU for q4, which
// every peer rounds alike; null for other forms, and where the command line isn't built.
export function references(model, promptIds, tokens) {
  const known = {
    f32: () => {
      if (!binary()) return null;
      const settings = ['--prompt-ids', promptIds.join(), '--max-tokens', String(tokens), '--json', '--device', 'cpu'];
      return execFileSync(binary(), ['generate', model.folder, ...settings], quiet);
    },
    q4: () => {
      const file = exported('export_onnx.py', model, 'q4', 'onnx', ['--context', String(cacheLength(promptIds, tokens))]);
      return execFileSync(python, [join(bench, 'export/greedy_onnx.py'), file, promptIds.join(), String(tokens)], quiet);
    },
  };
  const found = {};
  return (form) => {
    if (!(form in found)) {
      const output = known[form]?.() ?? null;
      found[form] = output && JSON.parse(output).ids;
    }
    return found[form];
  };
}

// A cache no longer than it must be: attention and memory then cost a peer as little as they can.
export function cacheLength(promptIds, tokens) {
  return Math.ceil((promptIds.length + tokens) / 64) * 64;
}

// Runs an export script once for a model and a form; gives the file's path under `work`. It is made in a folder of its own and moved when
// it is whole, the weights beside it first, so that an interrupted export is made again.
export function exported(script, model, form, extension, extra = []) {
  const folder = join(work, 'exports');
  const name = `${model.name}-${form}${extra.join('').replaceAll('--', '-')}.${extension}`;
  const path = join(folder, name);
  if (existsSync(path)) return path;
  if (!existsSync(python)) throw new Error(`${python} is missing: run tests/bench/setup`);
  const making = join(folder, `making-${name}`);
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making, { recursive: true });
  execFileSync(python, [join(bench, script), model.folder, join(making, name), '--form', form, ...extra], { stdio: ['ignore', 'inherit', 'inherit'] });
  for (const file of readdirSync(making).sort((a, b) => b.length - a.length)) renameSync(join(making, file), join(folder, file));
  rmSync(making, { recursive: true });
  return path;
}

// How fast this project's page and its peers decode in one browser, side by side.
//
//   node tests/bench/browser.mjs [--models demo,llama-88m] [--peers NAME,...] [--only WORDS] [--prompt 32] [--tokens 64]
//                                [--repetitions 3] [--limit SECONDS] [--out FILE] [--gpu] [--list]
//
// Needs what tests/bench/setup installs. A JSON line for each model, peer and variant on stdout, a table on stderr.
// --only: variants whose name has these words; --limit: seconds for a variant, its loading too; --gpu: the machine's GPU.
import { appendFileSync, readFileSync, readdirSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './lib/chromium.mjs';
import { summarize, table } from './lib/figures.mjs';
import { findModel, promptOf, references, work } from './lib/models.mjs';
import { serve } from './lib/server.mjs';

const { values: options } = parseArgs({
  options: {
    models: { type: 'string', default: 'demo,llama-88m' },
    peers: { type: 'string' },
    only: { type: 'string', default: '' },
    prompt: { type: 'string', default: '32' },
    tokens: { type: 'string', default: '64' },
    repetitions: { type: 'string', default: '3' },
    limit: { type: 'string', default: '180' },
    out: { type: 'string' },
    gpu: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});

function count(name) {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} is ${options[name]}: expected a whole number above 0`);
  return value;
}

const here = import.meta.dirname;
const modules = process.env.CODINGSPOT_BENCH_MODULES ?? join(here, 'node_modules');

async function findPeers() {
  const names = readdirSync(join(here, 'peers')).filter((file) => file.endsWith('.mjs')).map((file) => file.slice(0, -4));
  const wanted = options.peers?.split(',') ?? names;
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown) throw new Error(`--peers names ${unknown}: there are ${names.join(', ')}`);
  return Promise.all(wanted.map((name) => import(`./peers/${name}.mjs`)));
}

function versionOf(peer) {
  if (!peer.packageName) return null;
  return JSON.parse(readFileSync(join(modules, peer.packageName, 'package.json'))).version;
}

async function measureVariant(browser, address, peer, variant, model, request, expected) {
  const page = await browser.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  try {
    const settings = await peer.prepare(model, variant, request);
    return summarize(await peer.measure(page, { ...request, address, settings }), expected);
  } catch (error) {
    return { error: [error.message, ...problems.slice(0, 5)].join('\n'), ids: [] };
  } finally {
    await page.close().catch(() => {});
  }
}

async function main() {
  const peers = await findPeers();
  const chosen = peers.flatMap((peer) =>
    peer.variants.filter(({ name }) => options.only.split(' ').every((word) => name.includes(word))).map((variant) => ({ peer, variant })),
  );
  if (options.list) {
    for (const { peer, variant } of chosen) console.log(`${peer.name}: ${variant.name}`);
    return;
  }
  const tokens = count('tokens');
  const server = await serve({ modules, peers: join(here, 'peers'), exports: join(work, 'exports'), dist: resolve(here, '../../dist') });
  let browser = await launch(options);
  const rows = [];
  try {
    for (const name of options.models.split(',')) {
      const model = findModel(name);
      const promptIds = promptOf(model, count('prompt'));
      const expected = references(model, promptIds, tokens);
      const request = { promptIds, tokens, warmTokens: 3, repetitions: count('repetitions'), limitMs: 1000 * count('limit') };
      for (const { peer, variant } of chosen) {
        const figures = await measureVariant(browser, server.address, peer, variant, model, request, expected(variant.form));
        const row = {
          model: name, peer: peer.name, variant: variant.name, version: versionOf(peer), prompt_tokens: promptIds.length, ...figures,
          browser: browser.version(), gpu: options.gpu, processor: cpus()[0].model, cores: cpus().length, load: loadavg()[0],
        };
        rows.push(row);
        if (row.error) {
          // What failed may have left work on the GPU that the next would wait for.
          await browser.close();
          browser = await launch(options);
        }
        const line = JSON.stringify(row);
        console.log(line);
        if (options.out) appendFileSync(options.out, `${line}\n`);
      }
    }
  } finally {
    await browser.close();
    server.close();
  }
  console.error(table(rows));
  if (rows.every((row) => row.error)) process.exitCode = 1;
}

await main();

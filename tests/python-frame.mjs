// Makes the Python frame of the files in app/python/, and says how large the runtime beside it is.
//
//   node tests/python-frame.mjs DIST/python
//
// frame.html is one document with one script: a sandboxed frame may be barred from loading others by
// the isolation of the page. Its policy names that script by hash.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const folder = process.argv[2];
const sources = resolve(import.meta.dirname, '../app/python');
const source = (name) => readFileSync(join(sources, name), 'utf8');

// A text as a literal that can't end the script that it stands in.
const literal = (text) => JSON.stringify(text).replaceAll('<', '\\u003c');

const script = `\nconst WORKER = ${literal(source('worker.js'))};\nconst DRIVER = ${literal(source('driver.py'))};\n${source('frame.js')}`;
if (/<\/script|<!--/i.test(script)) throw new Error('app/python/frame.js contains what ends a script in HTML');
const hash = createHash('sha256').update(script).digest('base64');
const policy = `default-src 'none'; script-src 'sha256-${hash}' 'wasm-unsafe-eval'; worker-src blob:`;
writeFileSync(
  join(folder, 'frame.html'),
  source('frame.html').replace('{{policy}}', () => policy).replace('{{script}}', () => script),
);

const { files } = JSON.parse(readFileSync(join(folder, 'runtime.json'), 'utf8'));
const raw = files.reduce((sum, { bytes }) => sum + bytes, 0);
const sent = files.reduce((sum, { name, bytes }) => {
  const compressed = join(folder, 'pyodide', `${name}.br`);
  return sum + (existsSync(compressed) ? statSync(compressed).size : bytes);
}, 0);
console.log(`${'python'.padEnd(18)} ${raw} bytes, brotli ${sent}, on first use only`);

// Compresses the files of the Python runtime, and lists them in runtime.json.
//
//   node tests/python-files.mjs FOLDER VERSION FILE...
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const [folder, version, ...names] = process.argv.slice(2);
const files = names.map((name) => {
  const path = join(folder, 'pyodide', name);
  const bytes = readFileSync(path);
  // What is in an archive is compressed as it is.
  if (!name.endsWith('.zip')) {
    writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }));
    writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  }
  return { name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
});
// Last, and whole: its presence says that the rest is there.
const list = join(folder, 'runtime.json');
writeFileSync(`${list}.part`, `${JSON.stringify({ pyodide: version, licence: 'MPL-2.0', files }, null, 2)}\n`);
renameSync(`${list}.part`, list);

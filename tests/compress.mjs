// Writes FILE.br and FILE.gz beside every text and program in a directory, and prints what a visitor
// downloads before any weights.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const dist = process.argv[2];
let [raw, gzip, brotli] = [0, 0, 0];
for (const name of readdirSync(dist).filter((name) => /\.(html|js|css|wasm)$/.test(name)).sort()) {
  const bytes = readFileSync(join(dist, name));
  const gz = gzipSync(bytes, { level: 9 });
  const br = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  writeFileSync(join(dist, `${name}.gz`), gz);
  writeFileSync(join(dist, `${name}.br`), br);
  console.log(`${name.padEnd(18)} ${bytes.length} bytes, gzip ${gz.length}, brotli ${br.length}`);
  raw += bytes.length;
  gzip += gz.length;
  brotli += br.length;
}
console.log(`${'before weights'.padEnd(18)} ${raw} bytes, gzip ${gzip}, brotli ${brotli}`);

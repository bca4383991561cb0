// A static host for tests: with the headers of `codingspot serve`, or with none, as plain hosts send.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { extname, join, normalize, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const TYPES = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css',
  '.json': 'application/json', '.wasm': 'application/wasm', '.zip': 'application/zip',
};

// The headers as native-cli/src/commands/serve/headers.rs has them, read from there: a copy would drift.
function servedHeaders(folder) {
  const source = readFileSync(join(root, 'native-cli/src/commands/serve/headers.rs'), 'utf8');
  const text = (name) => {
    const [, quoted] = source.match(new RegExp(`const ${name}: &str = "([^"]*)"`)) ?? [];
    if (!quoted) throw new Error(`headers.rs has no ${name}`);
    return quoted.replace(/\\\n\s*/g, '');
  };
  const [, common] = source.match(/const COMMON[^=]*= \[([^\]]*)\]/) ?? [];
  const headers = {};
  for (const [, custom, known, value] of common.matchAll(/\((?:HeaderName::from_static\("([^"]+)"\)|header::(\w+)), "([^"]+)"\)/g)) {
    headers[custom ?? known.toLowerCase().replaceAll('_', '-')] = value;
  }
  const frame = `/${text('FRAME')}`;
  let hash = '';
  try {
    hash = ` ${readFileSync(join(folder, frame), 'utf8').match(/'sha256-[^']+'/)[0]}`;
  } catch {
    // No Python in this folder.
  }
  const page = text('PAGE_POLICY').replace('{frame}', hash);
  return (path) => ({
    ...headers,
    'content-security-policy': path === frame ? text('FRAME_POLICY') : page,
  });
}

/**
 * Serves `folder` on a free port of this machine: `{ address, requests, files, close }`.
 *
 * `requests` are the paths that were asked for. `files` (path to text) come before the folder's and may
 * be changed while it runs. `isolated` sends the headers of `codingspot serve`, else there are none.
 */
export async function serveFolder(folder, { isolated, files = {} }) {
  const headersOf = isolated ? servedHeaders(folder) : () => ({});
  const requests = [];
  const server = createServer((request, response) => {
    let path = decodeURIComponent(new URL(request.url, 'http://host').pathname);
    requests.push(path);
    if (path.endsWith('/')) path += 'index.html';
    let body = files[path] === undefined ? undefined : Buffer.from(files[path]);
    try {
      body ??= readFileSync(join(folder, normalize(path)));
    } catch {
      response.writeHead(404, headersOf(path)).end('not found');
      return;
    }
    const headers = { ...headersOf(path), 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' };
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (range) {
      const [from, to] = [Number(range[1]), Number(range[2])];
      headers['content-range'] = `bytes ${from}-${to}/${body.length}`;
      response.writeHead(206, headers).end(body.subarray(from, to + 1));
    } else {
      response.writeHead(200, headers).end(body);
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    address: `http://127.0.0.1:${server.address().port}/`,
    requests,
    files,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

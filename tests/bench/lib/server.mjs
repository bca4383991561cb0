// Files of a few folders on a loopback port, with the headers that shared memory (and so threads) needs.
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';

const types = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.json': 'application/json',
};

const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

// The file under the root that the path's first part names, or null.
function resolve(roots, path) {
  const [, name, ...rest] = path.split('/');
  const root = roots[name];
  if (!root) return null;
  const file = normalize(join(root, ...rest.map(decodeURIComponent)));
  if (!file.startsWith(root + sep)) return null;
  const found = statSync(file, { throwIfNoEntry: false });
  return found?.isFile() ? { file, size: found.size } : null;
}

// `roots`: first part of a URL's path to an absolute folder. `/` is an empty page. Gives { address, close }.
export async function serve(roots) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/') {
      response.writeHead(200, { ...headers, 'Content-Type': 'text/html' }).end('<!doctype html><link rel=icon href=data:,><title>bench</title>');
      return;
    }
    const found = resolve(roots, pathname);
    if (!found) {
      response.writeHead(404, headers).end();
      return;
    }
    const type = types[extname(found.file)] ?? 'application/octet-stream';
    response.writeHead(200, { ...headers, 'Content-Type': type, 'Content-Length': found.size });
    createReadStream(found.file).pipe(response);
  });
  await new Promise((done, failed) => server.once('error', failed).listen(0, '127.0.0.1', done));
  return {
    address: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

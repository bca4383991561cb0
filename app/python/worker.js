// The worker in which one program runs. The frame puts Pyodide's two scripts and `DRIVER` (driver.py)
// in front of this text, so nothing is loaded from anywhere.
//
//   in:  {module, stdlib, snapshot} once, then {program, tests, entryPoint} once
//   out: {type: 'booted', python}, {type: 'output', stream, text, cut}, {type: 'ended', verdict, message}
//        or {type: 'failed', message} when the interpreter itself broke
//
// Without a snapshot it starts Python from nothing, which takes ten times as long, sends {type:
// 'snapshot', snapshot} for the workers after it, and runs no program.
(() => {
  // Kept here before they are taken away from everyone else.
  const post = self.postMessage.bind(self);
  const now = performance.now.bind(performance);
  const scope = self;

  const OUTPUT_LIMIT = 64 * 1024; // bytes of both streams together
  const OUTPUT_INTERVAL = 50; // ms between two messages with output
  const OUTPUT_BATCH = 4096; // bytes that are sent at once, however soon
  // No package of Pyodide's can be loaded, so its list of them is empty.
  const LOCK = { info: { abi_version: '2026_0', arch: 'wasm32', platform: '', python: '', version: '' }, packages: {} };
  const INDEX = 'https://runtime.invalid/'; // a name, never asked for

  // What Python and its tests need of a worker. Everything else goes: fetch, XMLHttpRequest,
  // WebSocket, importScripts, Worker, caches, and what browsers will add one day.
  const KEPT = new Set([
    'Object', 'Function', 'Array', 'Number', 'parseFloat', 'parseInt', 'Infinity', 'NaN', 'undefined',
    'Boolean', 'String', 'Symbol', 'Date', 'Promise', 'RegExp', 'Error', 'AggregateError', 'EvalError',
    'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError', 'SuppressedError',
    'DisposableStack', 'AsyncDisposableStack', 'globalThis', 'JSON', 'Math', 'Intl', 'ArrayBuffer',
    'SharedArrayBuffer', 'Atomics', 'Uint8Array', 'Int8Array', 'Uint16Array', 'Int16Array',
    'Uint32Array', 'Int32Array', 'Float16Array', 'Float32Array', 'Float64Array', 'Uint8ClampedArray',
    'BigUint64Array', 'BigInt64Array', 'DataView', 'Map', 'BigInt', 'Set', 'WeakMap', 'WeakSet',
    'WeakRef', 'FinalizationRegistry', 'Proxy', 'Reflect', 'Iterator', 'decodeURI',
    'decodeURIComponent', 'encodeURI', 'encodeURIComponent', 'escape', 'unescape', 'isFinite', 'isNaN',
    'WebAssembly', 'console', 'self', 'constructor', 'performance', 'crypto', 'TextEncoder',
    'TextDecoder', 'URL', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval',
    'queueMicrotask', 'MessageChannel',
  ]);

  const takeAway = () => {
    for (let place = scope; place && place !== Object.prototype; place = Object.getPrototypeOf(place)) {
      for (const name of Object.getOwnPropertyNames(place)) {
        if (KEPT.has(name)) continue;
        if (Reflect.deleteProperty(place, name)) continue;
        try {
          // Pyodide's own variables can only be emptied.
          place[name] = undefined;
        } catch {
          // Neither: the frame's policy forbids what it could do.
        }
      }
    }
    // The interpreter's own last words go nowhere: what a program writes comes through its streams.
    for (const name of Object.keys(console)) console[name] = () => {};
    // Nor can these come back.
    for (const name of ['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'importScripts', 'Worker', 'postMessage']) {
      Reflect.defineProperty(scope, name, { value: undefined, writable: false, configurable: false });
    }
  };

  // Both streams, joined into few messages and cut at the limit.
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  let pending = { stdout: '', stderr: '' };
  let left = OUTPUT_LIMIT;
  let sent = -Infinity;
  const flush = (cut = false) => {
    for (const stream of ['stdout', 'stderr']) {
      if (pending[stream]) post({ type: 'output', stream, text: pending[stream], cut });
    }
    pending = { stdout: '', stderr: '' };
    sent = now();
  };
  const writer = (stream) => ({
    write: (bytes) => {
      const taken = Math.min(bytes.length, left);
      if (taken > 0) {
        pending[stream] += decoders[stream].decode(bytes.subarray(0, taken), { stream: true });
        left -= taken;
        const size = pending.stdout.length + pending.stderr.length;
        if (left === 0) flush(true);
        else if (size >= OUTPUT_BATCH || now() - sent >= OUTPUT_INTERVAL) flush();
      }
      // What is over the limit counts as written: a program that prints much still gets its verdict.
      return bytes.length;
    },
    // As on a terminal, a line leaves Python when it ends: else one that hangs would show nothing.
    isatty: true,
  });

  const load = async ({ module, stdlib }, options) => {
    // Pyodide asks for its files by name; here they are. It also refuses classic workers, which it
    // tells by importScripts: it does without.
    scope.importScripts = undefined;
    scope.fetch = async (address) =>
      new Response(String(address).endsWith('python_stdlib.zip') ? stdlib : null);
    const instantiateStreaming = WebAssembly.instantiateStreaming;
    WebAssembly.instantiateStreaming = async (_, imports) => ({
      module,
      instance: await WebAssembly.instantiate(module, imports),
    });
    const pyodide = await loadPyodide({
      indexURL: INDEX,
      createPyodideModule: _createPyodideModule,
      lockFileContents: LOCK,
      // Until its streams are set: what it has to say comes as an error.
      stdout: () => {},
      stderr: () => {},
      ...options,
    });
    WebAssembly.instantiateStreaming = instantiateStreaming;
    return pyodide;
  };

  const makeSnapshot = async (files) => {
    const pyodide = await load(files, { _makeSnapshot: true });
    pyodide.runPython(DRIVER);
    return pyodide.makeMemorySnapshot();
  };

  const boot = async (files) => {
    const pyodide = await load(files, { _loadSnapshot: files.snapshot });
    pyodide.setStdin({ error: true });
    pyodide.setStdout(writer('stdout'));
    pyodide.setStderr(writer('stderr'));
    const python = pyodide.runPython('sys.version.split()[0]');
    const run = pyodide.globals.get('run');
    pyodide.globals.get('close_off')();
    return { run, python };
  };

  let state;
  scope.addEventListener('message', async ({ data }) => {
    if (data.module) {
      try {
        if (!data.snapshot) {
          const snapshot = await makeSnapshot(data);
          post({ type: 'snapshot', snapshot }, [snapshot.buffer]);
          return;
        }
        state = await boot(data);
      } catch (error) {
        post({ type: 'failed', message: String(error?.message ?? error).slice(0, 1000) });
        return;
      }
      takeAway();
      post({ type: 'booted', python: state.python });
      return;
    }
    if (!state) return;
    const { run } = state;
    state = undefined;
    let ended;
    try {
      ended = JSON.parse(run(data.program, data.tests, data.entryPoint));
    } catch (error) {
      // The interpreter is gone: os._exit, say, which ends it without a word.
      flush();
      if (error?.constructor?.name === 'Exit' || /exit/i.test(`${error?.name} ${error?.message}`)) {
        post({ type: 'ended', verdict: 'failed', message: 'The program ended itself, before the end of its tests.' });
      } else {
        post({ type: 'failed', message: String(error?.message ?? error).slice(0, 1000) });
      }
      return;
    }
    flush(left === 0);
    post({ type: 'ended', verdict: ended.verdict, message: ended.message });
  });
})();

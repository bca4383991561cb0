// The Python frame: takes programs from the page and runs each in a fresh worker.
//
// The page fills a frame with `sandbox="allow-scripts"` with this (client.js), so it has an origin of
// its own: no storage, no cookies, nothing of the page's. Its policy allows this script, WebAssembly
// and workers of its own making, and no connection at all: the page brings the runtime's files.
// `WORKER` and `DRIVER` are the texts of worker.js and driver.py, put in front of this one.
//
//   from the page: {type: 'runtime', files}, {type: 'boot', id},
//                  {type: 'run', id, program, tests, entry_point, timeout_ms}, {type: 'kill', id}
//   to the page:   {type: 'listening'}, {type: 'booted', id, python, boot_ms},
//                  {type: 'output', id, stream, text, cut}, and one that ends a run:
//                  {type: 'result', id, verdict, message}, {type: 'timed-out', id, message},
//                  {type: 'crashed', id, message}, {type: 'stopped', id}, {type: 'boot-failed', id, message}
(() => {
  const BOOT_LIMIT = 60_000; // ms; a phone needs some 10 s
  const RUN_LIMIT = 5_000; // ms, unless the page asks for another
  const RUN_LIMIT_MOST = 60_000;
  const QUEUE_LIMIT = 1_000; // runs that wait
  const TEXT_LIMIT = 256 * 1024; // characters of a program or of its tests
  const MEMORY_LIMIT = 512 * 1024 * 1024; // bytes; more is a MemoryError in Python

  const tell = (message) => parent.postMessage(message, '*');

  let runtime; // promise of {url, module, stdlib, snapshot}; the snapshot comes from the first worker
  let slot; // the worker that boots, waits or runs: {worker, ready, run, timer}
  let began; // when the boot that goes on began
  let booted; // what the last boot found: {python, boot_ms}
  const boots = []; // ids of boots without an answer
  const queue = [];

  // Replaces what must be there exactly once: another version of Pyodide is refused, not guessed at.
  const replaceOnce = (text, from, to) => {
    const parts = text.split(from);
    if (parts.length !== 2) throw new Error('pyodide.asm.mjs is not of the version that this frame knows.');
    return parts.join(to);
  };

  const prepare = async (files) => {
    const text = (name) => new TextDecoder().decode(files[name]);
    // A module in a classic worker: no import or export, and no address of its own.
    let program = text('pyodide.asm.mjs').replaceAll('import.meta.url', '"https://runtime.invalid/"');
    program = replaceOnce(program, 'export default _createPyodideModule;', '');
    program = replaceOnce(program, 'getHeapMax=()=>4294901760', `getHeapMax=()=>${MEMORY_LIMIT}`);
    const parts = [text('pyodide.js'), '\n', program, `\nconst DRIVER = ${JSON.stringify(DRIVER)};\n`, WORKER];
    return {
      url: URL.createObjectURL(new Blob(parts, { type: 'text/javascript' })),
      // Compiled once, for all of the workers.
      module: await WebAssembly.compile(files['pyodide.asm.wasm']),
      stdlib: files['python_stdlib.zip'],
    };
  };

  const drop = () => {
    if (!slot) return;
    clearTimeout(slot.timer);
    slot.worker?.terminate();
    slot = undefined;
  };

  const bootFailed = (message) => {
    drop();
    began = undefined;
    const waiting = [...boots.splice(0), ...queue.splice(0).map((run) => run.id)];
    for (const id of waiting) tell({ type: 'boot-failed', id, message });
  };

  const boot = async () => {
    const mine = (slot = { ready: false });
    began ??= performance.now();
    mine.timer = setTimeout(
      () => bootFailed(`Python did not start within ${BOOT_LIMIT / 1000} s.`),
      BOOT_LIMIT,
    );
    try {
      if (!runtime) throw new Error('The runtime has not been handed over.');
      const { url, ...parts } = await runtime;
      if (slot !== mine) return;
      mine.worker = new Worker(url);
      mine.worker.onmessage = ({ data }) => slot === mine && heard(mine, data);
      mine.worker.onerror = (event) => slot === mine && broken(mine, event.message || 'The worker stopped.');
      mine.worker.postMessage(parts);
    } catch (error) {
      if (slot === mine) bootFailed(`Python can't be started: ${error.message}`);
    }
  };

  const broken = (mine, message) => {
    if (!mine.run) return bootFailed(`Python can't be started: ${message}`);
    finish({ type: 'crashed', message: `Python stopped: ${message}` });
  };

  // Ends the current run and its worker, which no other program gets to see, and boots the next.
  const finish = (message) => {
    const { id } = slot.run;
    drop();
    tell({ ...message, id });
    boot();
  };

  const heard = (mine, data) => {
    switch (data.type) {
      case 'snapshot':
        runtime = runtime.then((parts) => ({ ...parts, snapshot: data.snapshot }));
        drop();
        boot();
        break;
      case 'booted':
        clearTimeout(mine.timer);
        mine.ready = true;
        booted = { python: data.python, boot_ms: Math.round(performance.now() - began) };
        began = undefined;
        for (const id of boots.splice(0)) tell({ type: 'booted', id, ...booted });
        start();
        break;
      case 'output':
        if (mine.run) tell({ type: 'output', id: mine.run.id, stream: data.stream, text: data.text, cut: data.cut });
        break;
      case 'ended':
        if (mine.run) finish({ type: 'result', verdict: data.verdict, message: data.message });
        break;
      case 'failed':
        broken(mine, data.message);
        break;
    }
  };

  const start = () => {
    if (!slot) return void boot();
    if (!slot.ready || slot.run || !queue.length) return;
    const run = (slot.run = queue.shift());
    slot.timer = setTimeout(
      () => finish({ type: 'timed-out', message: `Timed out after ${run.limit / 1000} s` }),
      run.limit,
    );
    slot.worker.postMessage({ program: run.program, tests: run.tests, entryPoint: run.entryPoint });
  };

  const refuse = (id, message) => tell({ type: 'result', id, verdict: 'failed', message });

  const enqueue = (data) => {
    const { id, program, tests, entry_point: entryPoint = '', timeout_ms: limit = RUN_LIMIT } = data;
    if (![program, tests, entryPoint].every((text) => typeof text === 'string')) {
      return refuse(id, 'program, tests and entry_point must be texts.');
    }
    if (program.length > TEXT_LIMIT || tests.length > TEXT_LIMIT || entryPoint.length > 256) {
      return refuse(id, `The program or its tests are longer than ${TEXT_LIMIT / 1024} KiB.`);
    }
    if (!(limit > 0 && limit <= RUN_LIMIT_MOST)) {
      return refuse(id, `timeout_ms is ${limit}; it must lie between 0 and ${RUN_LIMIT_MOST}.`);
    }
    if (queue.length >= QUEUE_LIMIT) return refuse(id, `More than ${QUEUE_LIMIT} runs are waiting.`);
    queue.push({ id, program, tests, entryPoint, limit });
    start();
  };

  const kill = (id) => {
    const waiting = queue.findIndex((run) => run.id === id);
    if (waiting >= 0) {
      queue.splice(waiting, 1);
      tell({ type: 'stopped', id });
    } else if (slot?.run?.id === id) {
      finish({ type: 'stopped' });
    }
  };

  addEventListener('message', ({ source, data }) => {
    if (source !== parent || typeof data !== 'object' || data === null) return;
    switch (data.type) {
      case 'runtime':
        runtime = prepare(data.files);
        // Told to whoever boots.
        runtime.catch(() => {});
        break;
      case 'boot':
        if (slot?.ready) tell({ type: 'booted', id: data.id, ...booted });
        else boots.push(data.id);
        start();
        break;
      case 'run':
        enqueue(data);
        break;
      case 'kill':
        kill(data.id);
        break;
    }
  });
  tell({ type: 'listening' });
})();

// Talks to the worker in its own messages (app/src/protocol.rs, in postcard's form).
let worker;
let waiting = () => {};
let lastId = 0;

const number = (value) => {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
};
const text = (value) => {
  const bytes = new TextEncoder().encode(value);
  return [...number(bytes.length), ...bytes];
};
const double = (value) => [...new Uint8Array(new Float64Array([value]).buffer)];

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  number() {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }
  text() {
    const length = this.number();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
}

// The names of FromEngine's variants, in their order.
const names = [
  'Ready', 'MemoryEstimate', 'LoadProgress', 'LoadStalled', 'NotKept', 'ModelReady', 'LoadCancelled', 'ScoreProgress', 'SpotReady',
  'SpotRejected', 'MaskApplied', 'ArmStarted', 'TokenBatch', 'ArmFinished', 'LanguageNll', 'RunFinished', 'RunStopped', 'CacheListing',
  'Released', 'DeviceLost', 'Failed',
];

function post(bytes) {
  const buffer = new Uint8Array(bytes).buffer;
  worker.postMessage([buffer], [buffer]);
}

// Sends a message, gives every answer to `each`, and ends with the one that is named.
function ask(bytes, end, each = () => {}) {
  return new Promise((done, failed) => {
    waiting = (name, reader) => {
      if (name === 'Failed' || name === 'DeviceLost' || name === 'RunStopped') {
        failed(new Error(`${name}: ${new TextDecoder().decode(reader.bytes)}`));
      } else if (name === end) done(reader);
      else each(name, reader);
    };
    post(bytes);
  });
}

export async function load({ directory, encoding, cpu, pack = false, keep = false }) {
  worker = new Worker('/dist/engine-boot.js', { type: 'module' });
  worker.onmessage = ({ data }) => {
    const reader = new Reader(new Uint8Array(Array.isArray(data) ? data[0] : data));
    waiting(names[reader.number()], reader);
  };
  const failure = new Promise((_, failed) => (worker.onerror = (event) => failed(new Error(event.message))));
  return Promise.race([failure, start(directory, encoding, cpu, pack, keep)]);
}

async function start(directory, encoding, cpu, pack, keep) {
  const ready = await ask([0, ...number(2), cpu ? 1 : 0], 'Ready');
  ready.number();
  const backend = ready.number();
  const adapter = ready.text();
  if (!cpu && backend !== 0) throw new Error('the worker took no WebGPU adapter');
  const url = new URL(directory, location).href;
  const id = ++lastId;
  await ask([2, ...number(id), 0, ...text(url), Number(pack), ...(encoding === null ? [0] : [1, encoding]), Number(keep)], 'ModelReady');
  return { adapter };
}

export async function run({ promptIds, tokens }) {
  const start = performance.now();
  const ids = [];
  const times = [];
  const id = ++lastId;
  // Own text of the original alone, greedy.
  const message = [
    7, ...number(id), ...text(promptIds.join(' ')), 0, 1, 0, 1, 0, ...number(tokens), ...double(0), ...double(1), 0,
  ];
  let own;
  await ask(message, 'RunFinished', (name, reader) => {
    const now = performance.now() - start;
    if (name === 'ArmFinished') own = { at: now };
    if (name !== 'TokenBatch') return;
    reader.number();
    reader.number();
    reader.number();
    for (let left = reader.number(); left > 0; left--) {
      ids.push(reader.number());
      times.push(now);
      reader.text();
      reader.at += 4;
      for (let top = reader.number(); top > 0; top--) {
        reader.number();
        reader.text();
        reader.at += 4;
      }
    }
  });
  return { ids, times, own };
}

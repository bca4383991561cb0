// Greedy decoding on onnxruntime-web: the cache of keys and values stays in GPU buffers that are past and present at once, and the
// logits of the last position are all that is read back, as applications on it do.

let ort, session, device, cache;

// A device with all that the adapter has, but subgroups where they aren't wanted.
async function makeDevice(subgroups) {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('no WebGPU adapter');
  const requiredLimits = {};
  for (const limit in adapter.limits) {
    if (typeof adapter.limits[limit] === 'number') requiredLimits[limit] = adapter.limits[limit];
  }
  const requiredFeatures = [...adapter.features].filter((name) => !name.startsWith('chromium-') && (subgroups || !name.startsWith('subgroup')));
  return adapter.requestDevice({ requiredLimits, requiredFeatures });
}

// One GPU buffer for a tensor that is both an input and an output.
function onGpu({ type, shape }) {
  const size = 4 * shape.reduce((product, length) => product * length, 1);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  return ort.Tensor.fromGpuBuffer(device.createBuffer({ size, usage }), { dataType: type, dims: shape });
}

export async function load({ model, data, build, subgroups, layers }) {
  ort = await import(`/modules/onnxruntime-web/dist/ort.${build}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = '/modules/onnxruntime-web/dist/';
  ort.env.logLevel = 'error';
  device = await makeDevice(subgroups);
  const presents = Array.from({ length: layers }, (_, layer) => [`present.${layer}.key`, `present.${layer}.value`]).flat();
  session = await ort.InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device, validationMode: 'disabled' }],
    externalData: [{ path: data, data: `${model}.data` }],
    graphOptimizationLevel: 'all',
    preferredOutputLocation: { logits: 'cpu', ...Object.fromEntries(presents.map((name) => [name, 'gpu-buffer'])) },
  });
  cache = { past: {}, present: {} };
  for (const output of session.outputMetadata.filter(({ name }) => name !== 'logits')) {
    const tensor = onGpu(output);
    cache.present[output.name] = tensor;
    cache.past[output.name.replace('present', 'past_key_values')] = tensor;
  }
  const { vendor, architecture, description } = device.adapterInfo;
  return { adapter: [vendor, architecture, description].filter(Boolean).join(' '), version: ort.env.versions.web };
}

function argmax(logits) {
  let best = 0;
  for (let id = 1; id < logits.length; id += 1) if (logits[id] > logits[best]) best = id;
  return best;
}

// The most likely token after `ids`, the last of which is at `position` - 1.
async function step(ids, position) {
  const inputs = {
    input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    seqlens_k: new ort.Tensor('int32', [position - 1], [1]),
    total_sequence_length: new ort.Tensor('int32', [position], [1]),
  };
  const { logits } = await session.run({ ...inputs, ...cache.past }, { logits: null, ...cache.present });
  return argmax(logits.data);
}

export async function run({ promptIds, tokens, limitMs }) {
  const start = performance.now();
  const ids = [];
  const times = [];
  let position = 0;
  let next = promptIds;
  while (ids.length < tokens && performance.now() - start < limitMs) {
    position += next.length;
    next = [await step(next, position)];
    ids.push(next[0]);
    times.push(performance.now() - start);
  }
  return { ids, times };
}

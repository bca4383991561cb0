// Greedy decoding on wllama, streamed. It takes prompts as text alone; the model's vocabulary is numbers with a space before them (see
// export_gguf.py), so text is ids.
import { Wllama } from '/modules/@wllama/wllama/esm/index.js';

let wllama;

export async function load({ model, threads, gpuLayers, context }) {
  const log = [];
  const keep = (...words) => log.push(words.join(' '));
  wllama = new Wllama(
    { default: new URL('/modules/@wllama/wllama/esm/wasm/wllama.wasm', location).href },
    { logger: { debug: keep, log: keep, warn: keep, error: keep } },
  );
  const file = await (await fetch(model)).blob();
  await wllama.loadModel([file], { n_threads: threads, n_gpu_layers: gpuLayers, n_ctx: context, n_parallel: 1 });
  // llama.cpp goes on without a GPU that it can't use.
  const buffers = log.filter((line) => line.includes('model buffer size')).map((line) => line.replace(/\s+/g, ' ').trim());
  if (gpuLayers > 0 && !buffers.some((line) => line.includes('WebGPU'))) {
    const adapter = await navigator.gpu?.requestAdapter();
    throw new Error(`llama.cpp took no WebGPU adapter; shader-f16 here: ${adapter?.features.has('shader-f16') ?? false}`);
  }
  log.length = 0;
  return { threads: wllama.getNumThreads(), multithread: wllama.isMultithread(), llama: Wllama.getLibllamaVersion(), buffers };
}

export async function run({ promptIds, tokens, limitMs }) {
  const start = performance.now();
  const ids = [];
  const times = [];
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), limitMs);
  let own;
  try {
    await wllama.createCompletion({
      prompt: promptIds.map((id) => ` ${id}`).join(''),
      max_tokens: tokens,
      temperature: 0,
      top_k: 1,
      ignore_eos: true,
      cache_prompt: false,
      stream: true,
      abortSignal: stop.signal,
      onData: (chunk) => {
        const now = performance.now() - start;
        own = chunk.timings ?? own;
        for (const id of (chunk.choices[0]?.text ?? '').split(' ').filter(Boolean)) {
          ids.push(Number(id));
          times.push(now);
        }
      },
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
  if (own && own.prompt_n !== promptIds.length) throw new Error(`llama.cpp saw ${own.prompt_n} tokens of ${promptIds.length}`);
  return { ids, times, own };
}

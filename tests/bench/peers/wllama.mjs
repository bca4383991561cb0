// llama.cpp in WebAssembly: wllama on the CPU, with one thread and with all, and on WebGPU where the adapter has shader-f16.
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { measureInPage } from '../lib/measure.mjs';
import { exported } from '../lib/models.mjs';

export const name = 'wllama';
export const packageName = '@wllama/wllama';

const forms = ['f32', 'q8', 'q4'];
export const variants = [
  ...forms.map((form) => ({ name: `cpu ${form} 1 thread`, form, threads: 1, gpuLayers: 0 })),
  ...forms.map((form) => ({ name: `cpu ${form} all threads`, form, threads: availableParallelism(), gpuLayers: 0 })),
  ...forms.map((form) => ({ name: `webgpu ${form}`, form, threads: 1, gpuLayers: 99999 })),
];

export async function prepare(model, variant, { promptIds, tokens }) {
  const file = exported('export_gguf.py', model, variant.form, 'gguf');
  return {
    model: `/exports/${basename(file)}`,
    threads: variant.threads,
    gpuLayers: variant.gpuLayers,
    // llama.cpp rounds contexts up to 256.
    context: Math.ceil((promptIds.length + tokens) / 256) * 256,
  };
}

export function measure(page, request) {
  return measureInPage(page, { ...request, module: '/peers/wllama/page.js' });
}

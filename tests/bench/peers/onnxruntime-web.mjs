// onnxruntime-web on WebGPU.
import { basename } from 'node:path';
import { measureInPage } from '../lib/measure.mjs';
import { cacheLength, exported } from '../lib/models.mjs';

export const name = 'onnxruntime-web';
export const packageName = 'onnxruntime-web';

// subgroups: whether its kernels may use them. On SwiftShader, whose subgroups have four lanes, its attention over a prompt of several
// tokens is then wrong (a tenth of the logits' norm); without them it agrees with the CPU to 4e-7.
// accuracyLevel: 4 lets q4 products round activations to eight bits.
// build: how the WebAssembly part waits for the GPU (`webgpu` rewinds its stack, `jspi` has the browser suspend it).
const plain = { subgroups: false, accuracyLevel: 0, build: 'webgpu' };
export const variants = [
  { ...plain, name: 'webgpu f32', form: 'f32' },
  { ...plain, name: 'webgpu f32 subgroups', form: 'f32', subgroups: true },
  { ...plain, name: 'webgpu q4', form: 'q4' },
  { ...plain, name: 'webgpu q4 subgroups', form: 'q4', subgroups: true },
  { ...plain, name: 'webgpu q4 int8 activations', form: 'q4', accuracyLevel: 4 },
  { ...plain, name: 'webgpu q4 jspi', form: 'q4', build: 'jspi' },
];

export async function prepare(model, variant, { promptIds, tokens }) {
  const level = variant.accuracyLevel ? ['--accuracy-level', String(variant.accuracyLevel)] : [];
  const file = exported('export_onnx.py', model, variant.form, 'onnx', ['--context', String(cacheLength(promptIds, tokens)), ...level]);
  return {
    model: `/exports/${basename(file)}`,
    data: `${basename(file)}.data`,
    build: variant.build,
    subgroups: variant.subgroups,
    layers: model.config.num_hidden_layers,
  };
}

export function measure(page, request) {
  return measureInPage(page, { ...request, module: '/peers/onnxruntime-web/page.js' });
}

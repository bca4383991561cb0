// Headless Chromium with WebGPU: on the GPU with --gpu, else on SwiftShader, so that every machine measures the same thing.
import { chromium } from 'playwright-core';

const common = [
  '--no-sandbox', '--disable-gpu-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--enable-unsafe-webgpu',
];
const software = ['--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan', '--use-vulkan=swiftshader'];
const hardware = ['--enable-features=Vulkan', '--ignore-gpu-blocklist'];

export function launch({ gpu }) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [...common, ...(gpu ? hardware : software)],
  });
}

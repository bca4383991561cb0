// Measures a peer whose page module has `load` and `run`, which is what every peer under peers/ but a whole page has.
//
// A page module exports:
//   load(settings)                           makes the model ready; gives what it wants to say of itself (adapter, threads, ...)
//   run({ promptIds, tokens, limitMs })      greedy; gives { ids, times }: times[i] is when ids[i] was known, in ms after the
//                                            call; it may stop early once limitMs are over; and `own`, the peer's own figures

// The page is closed when the time is over, since nothing else stops a computation in it.
async function within(ms, page, what, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      page.close().catch(() => {});
      reject(new Error(`${what} took more than ${Math.round(ms / 1000)} s`));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function measureInPage(page, { address, module, settings, promptIds, tokens, warmTokens, repetitions, limitMs }) {
  const end = performance.now() + limitMs;
  const left = () => Math.max(1000, end - performance.now());
  await page.goto(address);
  const load = page.evaluate(
    async ([module, settings]) => {
      const start = performance.now();
      globalThis.peer = await import(module);
      const about = await globalThis.peer.load(settings);
      return { about, loadMs: performance.now() - start };
    },
    [module, settings],
  );
  const { about, loadMs } = await within(left(), page, 'loading', load);
  const run = (tokens, share) => {
    const request = { promptIds, tokens, limitMs: left() * share };
    return within(left() + 5000, page, 'a run', page.evaluate((request) => globalThis.peer.run(request), request));
  };
  // Shaders are compiled and memory is laid out in a run that isn't counted.
  const cold = await run(warmTokens, 0.4);
  const runs = [];
  try {
    while (runs.length < repetitions && performance.now() < end) {
      runs.push(await run(tokens, 1 / (repetitions - runs.length)));
    }
  } catch (error) {
    // One step may be longer than the time that is left: what was measured until then counts.
    if (!page.isClosed()) throw error;
  }
  return { about, loadMs, cold, runs };
}

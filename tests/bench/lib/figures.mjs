// From the times of tokens to the figures of a peer, and a table of them.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const rounded = (value) => (value === null ? null : Number(value.toPrecision(4)));

// Milliseconds a token after the first: what decoding costs, without the prompt.
function perToken({ times }) {
  return times.length < 2 ? null : (times.at(-1) - times[0]) / (times.length - 1);
}

// Where no run could be counted in the time given, the warming one stands for them, and `repetitions` is 0.
export function summarize({ about, loadMs, cold, runs: counted }, reference) {
  const runs = counted.length ? counted : [cold];
  const costs = runs.map(perToken).filter((cost) => cost !== null);
  const cost = costs.length ? median(costs) : null;
  const ids = runs[0]?.ids ?? [];
  const same = ids.findIndex((id, index) => id !== reference?.[index]);
  return {
    tokens_per_s: rounded(cost === null ? null : 1000 / cost),
    ms_per_token: rounded(cost),
    ms_per_token_all: costs.map(rounded),
    first_token_ms: rounded(median(runs.map((run) => run.times[0]))),
    cold_first_token_ms: rounded(cold.times[0]),
    load_ms: rounded(loadMs),
    repetitions: counted.length,
    tokens: runs.map((run) => run.ids.length),
    same_as_reference: reference ? (same < 0 ? ids.length : same) : null,
    deterministic: runs.every((run) => run.ids.every((id, index) => index >= ids.length || id === ids[index])),
    ids,
    own: runs.map((run) => run.own).filter(Boolean),
    about,
  };
}

const columns = [
  ['model', (row) => row.model],
  ['peer', (row) => row.peer],
  ['variant', (row) => row.variant],
  ['tokens/s', (row) => row.tokens_per_s ?? '–'],
  ['ms/token', (row) => row.ms_per_token ?? '–'],
  ['first token ms', (row) => row.first_token_ms ?? '–'],
  ['load ms', (row) => row.load_ms ?? '–'],
  ['same tokens', (row) => (row.error ? row.error.split('\n')[0].slice(0, 70) : `${row.same_as_reference ?? '?'} of ${row.ids.length}`)],
];

export function table(rows) {
  const lines = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, cell]) => String(cell(row))))];
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd()).join('\n');
}

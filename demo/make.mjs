// Makes everything that is bundled with the demo's model from a training of it: weights, spots, study, report, model
// card and the page's list. What is measured lands in WORK and is kept, so that the same command goes on where it ended.
//
//   node demo/make.mjs [BEFORE…] TRAINING --texts TEXTS [--peer MODEL [--peer-texts DIR]] [--work WORK] [--command FILE]
//
// TRAINING  the directory that `codingspot train` or demo/train_cuda.py made; BEFORE, those of the trainings that it began
//           with, first to last
// TEXTS     what `codingspot split` made of the corpus that it was trained on
// --peer    another model whose held-out losses stand beside; --peer-name says what it is called, and --peer-texts which
//           documents were held out from its own training
// --command a text file with the commands that made the model, for the card
//
// Afterwards: build the page, and record the visitors' run with it (node tests/e2e/record.mjs).
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    texts: { type: 'string' },
    peer: { type: 'string' },
    'peer-name': { type: 'string', default: 'the model before' },
    'peer-texts': { type: 'string' },
    work: { type: 'string', default: 'target/demo' },
    command: { type: 'string' },
  },
});
const training = positionals.at(-1);
if (!training || !flags.texts) throw new Error('usage: node demo/make.mjs [BEFORE…] TRAINING --texts TEXTS [--peer MODEL [--peer-texts DIR]] [--work WORK]');
const root = resolve(import.meta.dirname, '..');
const program = process.env.CODINGSPOT_BINARY ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'release/codingspot');
const work = resolve(flags.work);
const model = join(root, 'demo/model');
const corpus = (half) => join(root, 'demo/corpus', half);
/** Characters of a held-out document, documents of a language, and tokens that they fit into. */
const measured = { characters: 1000, documents: 100, tokens: 512 };
mkdirSync(work, { recursive: true });

/** Runs the program; results come back, progress goes through. */
const run = (...args) => runIn('.', ...args);
const runIn = (cwd, ...args) => execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 30 });
const json = (path) => JSON.parse(readFileSync(path, 'utf8'));
/** Makes `path` unless it is there. */
function once(path, make) {
  if (!existsSync(path)) make(path);
  return path;
}
function write(path, text) {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

// Weights. What is measured on them is kept under their hash, and under the name that reports are to give the model.
const weights = createHash('sha256').update(readFileSync(join(training, 'model.safetensors'))).digest('hex');
const folder = join(work, weights.slice(0, 8));
const inside = (name) => join(folder, name);
const named = inside('codingspot-demo');
mkdirSync(named, { recursive: true });
for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
  for (const to of [model, named]) copyFileSync(join(training, name), join(to, name));
}
copyFileSync(join(model, 'tokenizer_config.json'), join(named, 'tokenizer_config.json'));
const { parameters } = JSON.parse(run('inspect', named, '--json'));

// Spots: ten languages, with and without gains of norms, and without what English needs.
const common = ['--corpus', corpus('score'), '--seq-len', '256', '--batch-size', '4', '--device', 'cpu'];
const score = (name, ...args) => once(inside(name), (out) => run('score', named, ...common, ...args, '-o', out));
const code = score('run');
const { fingerprint } = json(join(code, 'manifest.json')).model;
score('run-english', '--languages', 'english');
for (const scope of ['all', 'no-norm']) run('select', code, '--scope', scope, '--max-k', '1', '-o', join(model, `spot-${scope}.safetensors`));
// A spot says of which runs it was made, by the names that they are called by here.
runIn(folder, 'select', 'run', '--scope', 'no-norm', '--max-k', '1', '--minus', 'run-english', '--minus-k', '1', '-o', join(model, 'spot-minus-english.safetensors'));

// The study, and its report with that of the training.
const study = inside('study');
run('study', named, '--corpus', corpus('score'), '--held-out', corpus('eval'), '--device', 'cpu', '-o', study);
run('report', study, training, '-o', join(model, 'report.html'), '--figures', join(model, 'figures.json'), '--markdown', inside('report.md'));

// The form in which the page can fetch it: half the bytes; what that costs is measured and lands in its manifest.
const packed = join(root, 'demo/demo-q8');
const list = join(root, 'demo/models.json');
const scopes = ['all', 'no-norm', 'minus-english'];
run('pack', named, ...scopes.flatMap((name) => ['--spot', join(model, `spot-${name}.safetensors`)]), '--encoding', 'q8', '--name', 'demo-q8',
  '--corpus', corpus('eval'), '--device', 'cpu', '--index', list, '-o', packed);
copyFileSync(join(model, 'figures.json'), join(packed, 'figures.json'));

// Held-out losses, of this model and of its peer, on the same characters.
const losses = (name, of, texts) => {
  const path = once(inside(`${name}.json`), (out) =>
    run('eval', of, '--corpus', texts, '--characters', `${measured.characters}`, '--limit', `${measured.documents}`,
      '--seq-len', `${measured.tokens}`, '--device', 'cpu', '-o', out));
  const rows = json(path).results;
  return (language, metric) => rows.find((row) => row.subset === language && row.metric === metric)?.value;
};
const heldOut = join(flags.texts, 'held-out');
const ours = losses('held-out', named, heldOut);
const characters = 'nats_per_character';
/** Columns of losses a character: heading, and what to take from where. */
const columns = [['nats per character', ours]];
if (flags.peer) columns.push([`${flags['peer-name']}`, losses('held-out-peer', flags.peer, heldOut)]);
if (flags.peer && flags['peer-texts']) {
  columns.push(['on its texts', losses('peer-texts', named, flags['peer-texts'])]);
  columns.push([`${flags['peer-name']} on its texts`, losses('peer-texts-peer', flags.peer, flags['peer-texts'])]);
}

// The model card.
const trainings = positionals.map((directory) => json(join(directory, 'training.json')));
const { completions } = json(join(study, 'study.json'));
const languages = ['bash', 'cpp', 'csharp', 'go', 'java', 'javascript', 'julia', 'ruby', 'rust', 'typescript'];
const mean = (of, metric) => languages.reduce((sum, language) => sum + of(language, metric), 0) / languages.length;
const grouped = (count) => count.toLocaleString('en');
const config = json(join(model, 'config.json'));
const seconds = trainings.reduce((sum, { seconds }) => sum + seconds, 0);
const time = seconds < 3600 ? `${(seconds / 60).toFixed(1)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
const { settings, versions, sampling } = trainings.at(-1);
const { muon, adamw } = settings.train;
/** What one training saw, and at which rates. */
function recipe({ settings: { train, accumulate, batch_size, seq_len }, sampling, tokens_seen, steps, corpus_tokens }) {
  const { peak, warmup_steps, final_share, decay, steps: planned } = train.schedule;
  const until = planned - (decay === 'cosine' ? 0 : decay.linear.steps);
  const whole = decay !== 'cosine' && decay.linear.steps >= planned;
  const fall = steps < planned && steps <= until ? '' : `, then down to ${final_share} of it along ${decay === 'cosine' ? 'a cosine' : `a line ${whole ? 'to the end' : `over the last ${grouped(decay.linear.steps)} steps`}`}`;
  return `${grouped(tokens_seen)} target tokens in ${grouped(steps)} steps of ${accumulate * batch_size} sequences of ${grouped(seq_len)} tokens, ` +
    `${sampling ? 'as many as ' : ''}${(tokens_seen / corpus_tokens).toFixed(2)} passes over ${grouped(corpus_tokens)} tokens${sampling ? ' have' : ''}; learning rate up to ${peak} over ${grouped(warmup_steps)} steps${fall}.`;
}
const percent = (share) => `${Math.round(100 * share)} %`;
const times = (factor) => `${factor} times`;
const row = (name, of) =>
  `| ${name} | ${of(ours, 'nats_per_token').toFixed(3)} |${columns.map(([, losses]) => ` ${of(losses, characters).toFixed(3)} |`).join('')}`;
const fence = (text) => `\`\`\`\`\n${text.replaceAll('````', "'```")}\n\`\`\`\``;
const samples = ['rust', 'python', 'javascript', 'go'].flatMap((language) => {
  const sample = completions.samples.find((sample) => sample.language === language);
  const original = sample?.texts.find((text) => text.arm === 'original');
  return original ? [`${language}, after the first lines of a held-out document:`, fence(sample.prompt + '⏵' + original.completion)] : [];
});
write(join(model, 'README.md'), `# codingspot-demo

A small Llama of ${grouped(parameters)} parameters that completes code in ten languages, Python and English prose, trained for this project
${versions.torch ? `in PyTorch, not by its own trainer: a GPU could be had for minutes, and that was the way to most tokens (\`demo/train_cuda.py\`,
whose optimizer and clipping are those of \`codingspot train\`).` : 'by its own trainer.'} It is there so that the demo and the page have weights
that really learned something. It completes code that looks like code; it solves nothing.

| | |
|---|---|
| Shape | Llama, hidden ${config.hidden_size}, ${config.num_hidden_layers} layers, ${config.num_attention_heads} heads, ${config.num_key_value_heads} key and value heads, MLP ${grouped(config.intermediate_size)}, tied embeddings, vocabulary ${grouped(config.vocab_size)} |
| Context | ${grouped(config.max_position_embeddings)} tokens; trained on sequences of ${grouped(settings.seq_len)} |
| Tokenizer | byte-level BPE, trained on ${grouped(20000)} documents of the same texts |
| Stored as | ${config.torch_dtype ?? 'float16'}, ${(statSync(join(model, 'model.safetensors')).size / 1e6).toFixed(1)} MB |
| Fingerprint | \`${fingerprint}\` |

## Data

Files of permissively licensed repositories (MIT, Apache-2.0, BSD, ISC and the like) in Bash, C++, C#, Go, Java, JavaScript, Julia, Ruby,
Rust, TypeScript and Python, and public-domain prose. Of these, 90 % train, 5 % are for scoring and 5 % are held out, by the hash of a
file's name (\`codingspot split\`). No benchmark's data is in it.

## Recipe

${trainings.map((training, number) => `${number + 1}. ${recipe(training)}`).join('\n')}

${muon ? `Muon for the blocks' matrices (momentum ${muon.momentum}) and AdamW for the rest` : 'AdamW'} (β ${adamw.beta_1} and ${adamw.beta_2}), weight decay ${adamw.weight_decay}, gradients clipped to a norm of
${settings.train.clip_norm}; products in ${settings.train.precision}, weights and moments in f32. ${time} on ${settings.device === 'cpu' ? 'two cores without a GPU' : settings.device}.
${sampling ? `
Rows are drawn at random, ${percent(sampling.beginnings)} of them from the beginning of a document. The repositories of \`demo/repeated.txt\` are drawn
${times(sampling.repeats[0])} as often as their size says${sampling.repeats[1] === sampling.repeats[0] ? '' : ` at first and ${times(sampling.repeats[1])} at the end`}, prose ${times(sampling.english)}. Dropout ${sampling.dropout} on what each attention and each MLP
adds; the embedding and the gains of norms learn at up to ${sampling.embedding_lr}. The clock ends the training, so another run ends with other weights.
` : ''}
\`\`\`
${(flags.command ? readFileSync(flags.command, 'utf8') : 'codingspot train …').trim()}
\`\`\`

## Held-out losses

${grouped(measured.documents)} held-out documents of each language, drawn by the hash of their names from the whole corpus and cut to ${grouped(measured.characters)}
characters, which are the same texts for every tokenizer
(\`codingspot eval MODEL --corpus TEXTS/held-out --characters ${measured.characters} --limit ${measured.documents} --seq-len ${measured.tokens}\`). Other files of the same
repositories trained the model, and files may resemble each other: this is the loss on such texts, not on code in general.${columns.length > 2 ? `
${flags['peer-name'].replace(/^./, (c) => c.toUpperCase())} knew the few repositories of \`demo/repeated.txt\` alone; the last two columns are on what was held out from those.` : ''}

| language | nats per token |${columns.map(([heading]) => ` ${heading} |`).join('')}
|---|---|${'---|'.repeat(columns.length)}
${[...languages, 'python', 'english'].map((language) => row(language, (of, metric) => of(language, metric))).join('\n')}
${row('**the ten, mean**', mean)}

## What it writes

As it comes, greedily; ⏵ is where the model begins.

${samples.join('\n\n')}

## Limits

It has seen little and is small: names repeat, programs rarely run, facts are wrong, and what it was trained on may come out of it by the
line. Questions about what models of billions of parameters do are not answered by it.

## Licence

MIT or Apache-2.0, as the project.
`);

// The page's list.
const catalogue = json(list);
const entry = catalogue.models.find((entry) => entry.name === 'demo');
const spots = scopes.map((name) => ({ name, file: `spot-${name}.safetensors` }));
Object.assign(entry, { spots, bytes: statSync(join(model, 'model.safetensors')).size, parameters, fingerprint });
catalogue.models.find((entry) => entry.name === 'demo-q8').title = 'codingspot-demo, q8';
write(list, `${JSON.stringify(catalogue, null, 2)}\n`);
console.log(`${model}: ${grouped(parameters)} parameters; nats per character on held-out code, mean of the ten languages:`);
for (const [heading, losses] of columns) console.log(`  ${mean(losses, characters).toFixed(4)}  ${heading}`);

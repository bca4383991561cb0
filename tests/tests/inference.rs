//! Many sequences at once: attention over a shared store against its composed form, likelihoods against the
//! whole forward pass, generated texts against one-by-one generation; and that neither batches nor what is
//! shared change a bit on the CPU.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(clippy::cast_possible_truncation, reason = "f32 is what is compared")]

use burn::tensor::{DType, DeviceKind, Tensor, TensorData};
use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::eval::token_losses;
use codingspot_core::generate::{GenerateOptions, generate};
use codingspot_core::inference::{
    BatchOptions, Completion, Decoding, EndReason, GenerationJob, LoglikelihoodOptions, LoglikelihoodSum,
    ScoredSequence, generate_batch, loglikelihoods,
};
use codingspot_core::kernels::argmax;
use codingspot_core::kernels::span_attention::{
    PassKind, Segment, SpanAttention, SpanShape, move_rows, store_rows, store_rows_reference,
};
use codingspot_core::llama::{ForwardError, Llama, RotaryTable};
use codingspot_core::sampling::Sampling;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_tests::{FIXTURES, Fixture, Random, assert_close, load_directory};
use pollster::block_on;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Both sides are f32 and add in different orders.
const FLEX: f64 = 1e-5;
/// Design: WGSL on a software adapter equals flex within this.
const WGSL: f64 = 1e-3;

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_into_vec().unwrap()
}

/// Sequences whose rows lie scattered over a store, in segments of a pass; some share what comes first.
fn random_segments(random: &mut Random, kind: PassKind, count: usize, rows: usize) -> Vec<Segment> {
    let mut next = 0;
    let mut take = |random: &mut Random, len: usize| {
        let start = next + random.below(20);
        next = start + len;
        assert!(next <= rows, "the store is too small for the test");
        start..next
    };
    let shared = 1 + random.below(300);
    let shared = take(random, shared);
    (0..count)
        .map(|_| {
            let len = if kind == PassKind::Decode { 1 } else { 1 + random.below(90) };
            let pieces = random.below(3);
            let mut past: Vec<_> = (0..pieces)
                .map(|_| {
                    let len = 1 + random.below(100);
                    take(random, len)
                })
                .collect();
            if random.below(2) == 0 {
                past.insert(0, shared.clone());
            }
            Segment { len, past, own: take(random, len).start }
        })
        .collect()
}

#[test]
fn attention_over_a_store_equals_its_composed_form() {
    let mut random = Random::new(5);
    let device = Device::flex();
    for case in 0..24 {
        let kind = if case % 3 == 0 { PassKind::Decode } else { PassKind::Prefill };
        let kv_heads = random.choose(&[1, 2, 3]);
        let shape = SpanShape {
            heads: kv_heads * random.choose(&[1, 2, 4]),
            kv_heads,
            head_dim: random.choose(&[8, 32, 33, 64]),
            window: random.choose(&[None, None, Some(1), Some(7), Some(100)]),
        };
        let rows = 2400;
        let count = 1 + random.below(6);
        let segments = random_segments(&mut random, kind, count, rows);
        let n: usize = segments.iter().map(|segment| segment.len).sum();
        let padded = n + random.below(9);
        let (width, kv_width) = (shape.heads * shape.head_dim, kv_heads * shape.head_dim);
        let q = tensor(random.values(padded * width, 3.0), [padded, width], &device);
        // Rows that no one sees are poisoned: large enough to be noticed. Finite, because the composed form
        // multiplies them by 0; keys such that no score reaches what it adds to masked ones.
        let mut seen = vec![false; rows];
        for segment in &segments {
            let own = segment.own..segment.own + segment.len;
            segment.past.iter().cloned().chain([own]).flatten().for_each(|row| seen[row] = true);
        }
        let mut store = |poison: f32| {
            let mut values = random.values(rows * kv_width, 1.0);
            for (row, values) in values.chunks_mut(kv_width).enumerate() {
                if !seen[row] {
                    values.fill(poison);
                }
            }
            tensor(values, [rows, kv_width], &device)
        };
        let (keys, of_values) = (store(1e5), store(1e30));
        let attention = SpanAttention::new(segments.clone(), shape, padded, kind);
        let actual = attention.forward(&q, &keys, &of_values);
        let expected = attention.forward_reference(&q, &keys, &of_values);
        let what = format!("case {case}, {kind:?}, {shape:?}, {n} queries");
        let [actual, expected] = [actual, expected].map(|x| values(&x.narrow(0, 0, n)));
        assert_close(&what, &actual, &expected, FLEX);
        if kind == PassKind::Prefill {
            // Another cut of the same tokens gives the same bits.
            let mut finer = Vec::new();
            for segment in &segments {
                let mut done = 0;
                while done < segment.len {
                    let len = (1 + random.below(40)).min(segment.len - done);
                    let mut past = segment.past.clone();
                    if done > 0 {
                        past.push(segment.own..segment.own + done);
                    }
                    finer.push(Segment { len, past, own: segment.own + done });
                    done += len;
                }
            }
            let again = SpanAttention::new(finer, shape, padded, kind).forward(&q, &keys, &of_values);
            let again = values(&again.narrow(0, 0, n));
            assert!(
                again.iter().map(|x| x.to_bits()).eq(actual.iter().map(|x| x.to_bits())),
                "{what}: another cut, other bits"
            );
        }
    }
}

#[test]
fn rows_go_where_they_belong() {
    let mut random = Random::new(6);
    let device = Device::flex();
    for _ in 0..10 {
        let (rows, width) = (40, random.choose(&[3, 16]));
        let store = tensor(random.values(rows * width, 1.0), [rows, width], &device);
        let first = random.below(10);
        let targets: Vec<usize> =
            if random.below(2) == 0 { (first..first + 7).collect() } else { vec![31, 4, 17, 5, 0, 39, 22] };
        let new = tensor(random.values(9 * width, 1.0), [9, width], &device);
        let before = values(&store);
        let written = values(&store_rows(store.clone(), &targets, &new));
        assert_eq!(values(&store), before, "a store that is held elsewhere was written to");
        assert_eq!(written, values(&store_rows_reference(store.clone(), &targets, &new)));
        for (i, &row) in targets.iter().enumerate() {
            assert_eq!(written[row * width..(row + 1) * width], values(&new)[i * width..(i + 1) * width]);
        }
        let moved = values(&move_rows(store, &(20..26), 3));
        assert_eq!(moved[3 * width..9 * width], before[20 * width..26 * width]);
        assert_eq!(moved[9 * width..], before[9 * width..]);
    }
}

#[test]
fn the_first_of_the_largest_wins_and_nan_is_told() {
    let mut random = Random::new(7);
    for width in [1, 15, 16, 33, 5000] {
        let mut rows = random.values(7 * width, 5.0);
        // Ties.
        rows[width..2 * width].fill(1.5);
        let logits = tensor(rows.clone(), [7, width], &Device::flex());
        let (max, index) = argmax::rows(&logits);
        let (expected_max, expected_index) = argmax::rows_reference(&logits);
        assert_eq!(values(&max), values(&expected_max));
        assert_eq!(values(&index), values(&expected_index));
        assert_eq!(values(&index)[1].to_bits(), 0.0_f32.to_bits());
        for bad in [f32::NAN, f32::INFINITY] {
            rows[3 * width + width / 2] = bad;
            let (max, _) = argmax::rows(&tensor(rows.clone(), [7, width], &Device::flex()));
            let finite: Vec<bool> = values(&max).iter().map(|max| max.is_finite()).collect();
            assert_eq!(finite, [true, true, true, false, true, true, true], "{bad}");
        }
    }
}

fn sums(
    model: &Llama,
    sequences: &[ScoredSequence],
    pass_tokens: usize,
    share: bool,
) -> Vec<LoglikelihoodSum> {
    let options = LoglikelihoodOptions { pass_tokens, share_prefixes: share };
    block_on(loglikelihoods(model, sequences, options, async |_, _| ControlFlow::Continue(())))
        .unwrap()
        .unwrap()
}

fn bits(sums: &[LoglikelihoodSum]) -> Vec<(u64, bool)> {
    sums.iter().map(|found| (found.sum.to_bits(), found.greedy)).collect()
}

/// Sequences that share beginnings of all lengths, some of them whole.
fn sequences(random: &mut Random, tokens: &[u32], vocabulary: usize) -> Vec<ScoredSequence> {
    let mut sequences = Vec::new();
    for group in 0..5 {
        let shared = &tokens[..1 + random.below(tokens.len() - 40)];
        for _ in 0..1 + random.below(4) {
            let tail: Vec<u32> = (0..random.below(30)).map(|_| random.below(vocabulary) as u32).collect();
            let input = [shared, &tail].concat();
            let targets = 1 + random.below(input.len().min(20));
            let mut targets: Vec<u32> = input[input.len() - targets + 1..].to_vec();
            targets.push(random.below(vocabulary) as u32);
            sequences.push(ScoredSequence { input, targets });
        }
        if group % 2 == 0 {
            let last = sequences.last().unwrap().clone();
            let other = ScoredSequence {
                targets: last.targets.iter().map(|token| (token + 1) % vocabulary as u32).collect(),
                ..last.clone()
            };
            sequences.extend([last, other]);
        }
    }
    sequences
}

/// By the whole forward pass of scoring, one sequence at a time.
fn expected(model: &Llama, sequence: &ScoredSequence) -> f64 {
    let row = [&*sequence.input, &sequence.targets[sequence.targets.len() - 1..]].concat();
    let rope = RotaryTable::new(model.config(), row.len(), model.device());
    // Targets are what follows each input, so that losses of the row are those of the targets, unless a test has
    // put others there.
    let losses = block_on(token_losses(model, &[&row], &rope)).unwrap();
    let first = sequence.input.len() - sequence.targets.len();
    -losses[first..sequence.input.len()].iter().map(|&nats| f64::from(nats)).sum::<f64>()
}

#[test]
fn likelihoods_are_the_same_to_the_bit_however_they_are_computed() {
    let mut random = Random::new(8);
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let model = fixture.load(&Device::flex()).model;
        let tokens = &fixture.ids("logits/long_ids")[0];
        let sequences = sequences(&mut random, tokens, fixture.config.vocab_size);
        let reference = sums(&model, &sequences, 4096, true);
        for (i, sequence) in sequences.iter().enumerate() {
            let follows = sequence.input[sequence.input.len() - sequence.targets.len() + 1..]
                == sequence.targets[..sequence.targets.len() - 1];
            if follows {
                let (actual, expected) = (reference[i].sum, expected(&model, sequence));
                let error = (actual - expected).abs() / expected.abs();
                assert!(error < 1e-5, "{name}, sequence {i}: {actual} {expected}");
            }
        }
        for (pass_tokens, share) in
            [(4096, false), (1024, true), (100, true), (33, false), (7, true), (1, true)]
        {
            let again = sums(&model, &sequences, pass_tokens, share);
            assert_eq!(bits(&again), bits(&reference), "{name}: passes of {pass_tokens}, sharing {share}");
        }
        // One at a time.
        let alone: Vec<_> =
            sequences.iter().flat_map(|s| sums(&model, std::slice::from_ref(s), 64, true)).collect();
        assert_eq!(bits(&alone), bits(&reference), "{name}: one by one");
    }
}

#[test]
fn the_most_likely_continuation_is_greedy_and_others_are_not() {
    let fixture = Fixture::open("llama32-tiny");
    let model = fixture.load(&Device::flex()).model;
    let (prompt, greedy) =
        (fixture.ids("generate/prompt").remove(0), fixture.ids("generate/greedy").remove(0));
    let greedy = greedy.strip_prefix(prompt.as_slice()).unwrap_or(&greedy).to_vec();
    let sequence = |targets: Vec<u32>| ScoredSequence {
        input: [&*prompt, &targets[..targets.len() - 1]].concat(),
        targets,
    };
    let mut other = greedy.clone();
    let last = other.last_mut().unwrap();
    *last = (*last + 1) % fixture.config.vocab_size as u32;
    let found = sums(&model, &[sequence(greedy), sequence(other)], 1024, true);
    assert!(found[0].greedy && !found[1].greedy && found[0].sum > found[1].sum);
}

#[test]
fn sequences_that_cannot_be_run_are_refused() {
    let fixture = Fixture::open("llama32-tiny");
    let model = fixture.load(&Device::flex()).model;
    let vocabulary = fixture.config.vocab_size as u32;
    let long = vec![1; fixture.config.max_position_embeddings + 1];
    for (input, targets) in [
        (vec![], vec![1]),
        (vec![1], vec![]),
        (vec![1, 2], vec![1, 2, 3]),
        (vec![1, vocabulary], vec![1]),
        (vec![1, 2], vec![vocabulary]),
        (long, vec![1]),
    ] {
        let sequence = ScoredSequence { input, targets };
        let options = LoglikelihoodOptions::default();
        let found =
            block_on(loglikelihoods(&model, &[sequence], options, async |_, _| ControlFlow::Continue(())));
        assert!(
            matches!(
                found,
                Err(ForwardError::Empty
                    | ForwardError::TooLong { .. }
                    | ForwardError::TokenOutOfRange { .. })
            ),
            "{found:?}"
        );
    }
    let none = block_on(loglikelihoods(&model, &[], LoglikelihoodOptions::default(), async |_, _| {
        ControlFlow::Continue(())
    }));
    assert_eq!(none.unwrap().unwrap(), []);
}

/// A software adapter tunes every new shape for seconds, so there are few.
#[test]
fn likelihoods_on_wgsl_equal_those_of_flex() {
    let fixture = Fixture::open("llama32-tiny");
    let tokens = &fixture.ids("logits/long_ids")[0][..60];
    let mut random = Random::new(9);
    let sequences = sequences(&mut random, tokens, fixture.config.vocab_size);
    let expected = sums(&fixture.load(&Device::flex()).model, &sequences, 1024, true);
    let model = fixture.load(&Device::wgpu(DeviceKind::Cpu)).model;
    let actual = sums(&model, &sequences, 32, true);
    let of = |sums: &[LoglikelihoodSum]| sums.iter().map(|found| found.sum as f32).collect::<Vec<_>>();
    assert_close("sums", &of(&actual), &of(&expected), WGSL);
}

/// The bundled model, which has a tokenizer.
fn bundled(device: &Device) -> (Llama, Tokenizer) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let config = LlamaConfig::from_json(&fs::read_to_string(path.join("config.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::from_bytes(&fs::read(path.join("tokenizer.json")).unwrap(), &config).unwrap();
    (load_directory(&path, &config, device).unwrap().model, tokenizer)
}

const PROMPTS: [&str; 7] = [
    "def add(a, b):\n    ",
    "fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n",
    "x",
    "",
    "The little girl went to the",
    "function f(x) {\n  return",
    "package main\n\nimport (\n",
];

fn jobs(tokenizer: &Tokenizer, max_tokens: usize, stop: &[&str]) -> Vec<GenerationJob> {
    let job = |(i, prompt): (usize, &&str)| GenerationJob {
        prompt: tokenizer.encode_document(prompt).unwrap(),
        max_tokens: max_tokens - i,
        stop: stop.iter().map(ToString::to_string).collect(),
        decoding: Decoding::Alone,
        seed: i as u64,
    };
    PROMPTS.iter().enumerate().map(job).collect()
}

fn run(
    model: &Llama,
    tokenizer: &Tokenizer,
    jobs: &[GenerationJob],
    options: BatchOptions,
) -> Vec<Completion> {
    let mut found: Vec<Option<Completion>> = vec![None; jobs.len()];
    block_on(generate_batch(model, Some(tokenizer), jobs, options, async |job, completion| {
        assert!(found[job].replace(completion).is_none(), "job {job} ended twice");
        ControlFlow::Continue(())
    }))
    .unwrap();
    found.into_iter().map(Option::unwrap).collect()
}

#[test]
fn texts_of_a_batch_are_those_of_one_by_one_generation() {
    let (model, tokenizer) = bundled(&Device::flex());
    for stop in [&[][..], &["\n", "}"][..]] {
        let jobs = jobs(&tokenizer, 48, stop);
        let reference = run(&model, &tokenizer, &jobs, BatchOptions::default());
        for (job, completion) in jobs.iter().zip(&reference) {
            let options =
                GenerateOptions { max_tokens: job.max_tokens, stop: job.stop.clone(), ..Default::default() };
            let alone = block_on(generate(&model, Some(&tokenizer), &job.prompt, &options, async |_| {
                ControlFlow::Continue(())
            }))
            .unwrap();
            assert_eq!(completion.ids, alone.ids);
            assert!(completion.text.starts_with(&alone.text), "{:?} {:?}", completion.text, alone.text);
            let stopped = completion.end_reason == EndReason::StopString;
            assert_eq!(stopped, stop.iter().any(|stop| completion.text.contains(stop)));
            if !stopped {
                assert_eq!(completion.text, alone.text);
            }
        }
        // However many run at a time, whatever the passes and the memory.
        for (sequences, cache_bytes, pass_tokens) in
            [(1, 2 << 30, 1024), (3, 2 << 30, 16), (7, 1, 5), (100, 2 << 30, 1)]
        {
            let options = BatchOptions { sequences, cache_bytes, pass_tokens, ..BatchOptions::default() };
            assert_eq!(run(&model, &tokenizer, &jobs, options), reference, "{sequences} at a time");
        }
    }
}

#[test]
fn samples_depend_on_their_seed_alone() {
    let (model, tokenizer) = bundled(&Device::flex());
    // Several samples of one prompt share it.
    let jobs: Vec<GenerationJob> = jobs(&tokenizer, 20, &["\n\n"])
        .into_iter()
        .flat_map(|job| {
            (0..3).map(move |sample| GenerationJob { seed: job.seed * 10 + sample, ..job.clone() })
        })
        .collect();
    let sampling = Sampling { temperature: 0.8, top_p: 0.95 };
    let options = BatchOptions { sampling, ..BatchOptions::default() };
    let reference = run(&model, &tokenizer, &jobs, options);
    for sequences in [1, 2, 5] {
        let again = run(&model, &tokenizer, &jobs, BatchOptions { sequences, ..options });
        assert_eq!(again, reference, "{sequences} at a time");
    }
    let texts: std::collections::BTreeSet<&str> = reference.iter().map(|found| found.text.as_str()).collect();
    assert!(texts.len() > jobs.len() / 2, "samples of one prompt differ");
    // The same without neighbours.
    let alone = run(&model, &tokenizer, &jobs[4..5], options);
    assert_eq!(alone[0], reference[4]);
}

#[test]
fn a_continuation_keeps_its_space_where_that_is_asked() {
    let (model, tokenizer) = bundled(&Device::flex());
    let mut jobs = jobs(&tokenizer, 12, &[]);
    jobs.iter_mut().for_each(|job| job.decoding = Decoding::AfterPrompt);
    for (job, found) in jobs.iter().zip(run(&model, &tokenizer, &jobs, BatchOptions::default())) {
        let whole = tokenizer.decode(&[&*job.prompt, &found.ids].concat()).unwrap();
        assert_eq!(whole, tokenizer.decode(&job.prompt).unwrap() + &found.text);
    }
}

#[test]
fn prompts_that_cannot_be_run_are_refused() {
    let (model, tokenizer) = bundled(&Device::flex());
    let context = model.config().max_position_embeddings;
    let job = |prompt: Vec<u32>| GenerationJob {
        prompt,
        max_tokens: 3,
        stop: Vec::new(),
        decoding: Decoding::Alone,
        seed: 0,
    };
    for prompt in [vec![], vec![5; context], vec![1_000_000]] {
        let found = block_on(generate_batch(
            &model,
            Some(&tokenizer),
            &[job(prompt)],
            BatchOptions::default(),
            async |_, _| ControlFlow::Continue(()),
        ));
        assert!(found.is_err());
    }
    let sampling = Sampling { temperature: -1.0, top_p: 1.0 };
    let options = BatchOptions { sampling, ..BatchOptions::default() };
    assert!(
        block_on(generate_batch(&model, Some(&tokenizer), &[], options, async |_, _| ControlFlow::Continue(
            ()
        )))
        .is_err()
    );
    // The last token that fits.
    let found = run(&model, &tokenizer, &[job(vec![5; context - 1])], BatchOptions::default());
    assert!(found[0].ids.len() <= 1);
}

/// Three sequences of tokens, of which one joins when another has ended.
#[test]
fn tokens_on_wgsl_equal_those_of_flex() {
    let fixture = Fixture::open("llama32-tiny");
    let prompt = fixture.ids("generate/prompt").remove(0);
    let job = |skip: usize, max_tokens: usize| GenerationJob {
        prompt: prompt[skip..].to_vec(),
        max_tokens,
        stop: Vec::new(),
        decoding: Decoding::Alone,
        seed: 0,
    };
    let jobs = [job(0, 5), job(1, 3), job(0, 4)];
    let options = BatchOptions { sequences: 2, ..BatchOptions::default() };
    let ids = |device: &Device| {
        let mut found = vec![Vec::new(); jobs.len()];
        let model = fixture.load(device).model;
        block_on(generate_batch(&model, None, &jobs, options, async |job, completion| {
            found[job] = completion.ids;
            ControlFlow::Continue(())
        }))
        .unwrap();
        found
    };
    assert_eq!(ids(&Device::wgpu(DeviceKind::Cpu)), ids(&Device::flex()));
}

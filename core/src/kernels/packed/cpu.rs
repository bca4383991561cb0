//! The plain form.

use super::rotary::Caches;
use super::{
    Attention, Candidates, Codes, Compute, ComputeError, Heads, PackedMatrix, Product, STATISTICS_WORDS,
    attention, embedding, norm, product, rotary, switch,
};
use codingspot_pack::Encoding;
use std::cell::RefCell;
use std::future::{Future, ready};
use std::ops::Range;

/// The processor, one thread: what runs in a browser without WebGPU, and the reference of the kernels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

type Buffer = RefCell<Vec<u32>>;

fn floats(words: &[u32]) -> &[f32] {
    bytemuck::cast_slice(words)
}

fn floats_mut(words: &mut [u32]) -> &mut [f32] {
    bytemuck::cast_slice_mut(words)
}

/// The numbers of a row, or of whole blocks of one; `scale` gives the factor of its block.
pub(super) fn numbers(words: &[u32], encoding: Encoding, scale: impl Fn(usize) -> f32, out: &mut [f32]) {
    match encoding {
        Encoding::F32 => out.copy_from_slice(floats(words)),
        Encoding::F16 => {
            for (word, out) in words.iter().zip(out.chunks_exact_mut(2)) {
                let half = |bits: u32| half::f16::from_bits((bits & 0xffff) as u16).to_f32();
                (out[0], out[1]) = (half(*word), half(word >> 16));
            }
        }
        Encoding::Q8 => {
            for (block, (words, out)) in words.chunks_exact(8).zip(out.chunks_exact_mut(32)).enumerate() {
                let scale = scale(block);
                for (word, out) in words.iter().zip(out.chunks_exact_mut(4)) {
                    for (out, byte) in out.iter_mut().zip(word.to_le_bytes()) {
                        *out = f32::from(byte.cast_signed()) * scale;
                    }
                }
            }
        }
        Encoding::Q4 => {
            for (block, (words, out)) in words.chunks_exact(4).zip(out.chunks_exact_mut(32)).enumerate() {
                let scale = scale(block);
                for (word, out) in words.iter().zip(out.chunks_exact_mut(8)) {
                    for (i, out) in out.iter_mut().enumerate() {
                        #[expect(clippy::cast_precision_loss, reason = "a code is -8 to 7")]
                        let code = ((word << (28 - 4 * i)).cast_signed() >> 28) as f32;
                        *out = code * scale;
                    }
                }
            }
        }
    }
}

/// `Σ aᵢ·bᵢ` in sixteen running sums.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

impl Compute for Cpu {
    type Buffer = Buffer;

    fn upload(&self, words: &[u32]) -> Buffer {
        RefCell::new(words.to_vec())
    }

    fn reserve(&self, len: usize) -> Buffer {
        RefCell::new(vec![0; len])
    }

    fn write(&self, buffer: &Buffer, at: usize, words: &[u32]) {
        buffer.borrow_mut()[at..at + words.len()].copy_from_slice(words);
    }

    fn read(&self, buffer: &Buffer) -> impl Future<Output = Result<Vec<u32>, ComputeError>> + use<> {
        ready(Ok(buffer.borrow().clone()))
    }

    fn flush(&self) {}

    fn embed(&self, band: &PackedMatrix<Buffer>, first_row: usize, tokens: &Buffer, n: usize, out: &Buffer) {
        embedding::cpu(band, first_row, &tokens.borrow(), n, floats_mut(&mut out.borrow_mut()));
    }

    fn norm(&self, x: &Buffer, gain: &Buffer, eps: f32, n: usize, width: usize, out: &Buffer) {
        norm::cpu(
            floats(&x.borrow()),
            floats(&gain.borrow()),
            eps,
            n,
            width,
            floats_mut(&mut out.borrow_mut()),
        );
    }

    fn product(
        &self,
        matrix: &PackedMatrix<Buffer>,
        bias: Option<&Buffer>,
        x: &Buffer,
        product: Product,
        out: &Buffer,
    ) {
        let bias = bias.map(|bias| bias.borrow());
        let bias = bias.as_ref().map(|bias| floats(bias));
        product::cpu(matrix, bias, floats(&x.borrow()), product, floats_mut(&mut out.borrow_mut()));
    }

    fn rotate(
        &self,
        qkv: &Buffer,
        table: &Buffer,
        heads: Heads,
        position: usize,
        n: usize,
        queries: &Buffer,
        keys: &Buffer,
        values: &Buffer,
    ) {
        let (mut queries, mut keys, mut values) =
            (queries.borrow_mut(), keys.borrow_mut(), values.borrow_mut());
        let mut to = Caches {
            queries: floats_mut(&mut queries),
            keys: floats_mut(&mut keys),
            values: floats_mut(&mut values),
        };
        rotary::cpu(floats(&qkv.borrow()), floats(&table.borrow()), heads, position, n, &mut to);
    }

    fn attend(&self, queries: &Buffer, keys: &Buffer, values: &Buffer, attention: Attention, out: &Buffer) {
        let (queries, keys, values) = (queries.borrow(), keys.borrow(), values.borrow());
        let out = &mut out.borrow_mut();
        attention::cpu(floats(&queries), floats(&keys), floats(&values), attention, floats_mut(out));
    }

    fn statistics(
        &self,
        logits: &Buffer,
        n: usize,
        width: usize,
        targets: &Buffer,
        next: &Buffer,
        out: &Buffer,
    ) {
        let (logits, targets, mut out) = (logits.borrow(), targets.borrow(), out.borrow_mut());
        for (i, row) in floats(&logits).chunks_exact(width).take(n).enumerate() {
            let of = Candidates::of(row, targets[i]);
            out[i * STATISTICS_WORDS..(i + 1) * STATISTICS_WORDS].copy_from_slice(&of.to_words());
            if i == 0 {
                next.borrow_mut()[0] = of.tokens[0];
            }
        }
    }

    fn gather(&self, words: &Buffer, codes: Codes, offsets: &Buffer, out: &Buffer) {
        switch::gather_cpu(&words.borrow(), codes, &offsets.borrow(), &mut out.borrow_mut());
    }

    fn toggle(&self, words: &Buffer, codes: Codes, offsets: &Buffer, values: &Buffer, range: Range<usize>) {
        let (offsets, values) = (offsets.borrow(), values.borrow());
        switch::toggle_cpu(&mut words.borrow_mut(), codes, &offsets[range.clone()], &values[range]);
    }
}

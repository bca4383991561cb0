//! Rows of the embedding.

use super::PackedMatrix;

/// See [`super::Compute::embed`].
pub(super) fn cpu(
    band: &PackedMatrix<std::cell::RefCell<Vec<u32>>>,
    first_row: usize,
    tokens: &[u32],
    n: usize,
    out: &mut [f32],
) {
    let (words, scales) = (band.words.borrow(), band.scales.borrow());
    let (row_words, row_blocks) = (band.cols / band.encoding.per_word(), band.cols / 32);
    for (i, &token) in tokens.iter().take(n).enumerate() {
        let Some(row) = (token as usize).checked_sub(first_row).filter(|&row| row < band.rows) else {
            continue;
        };
        let row_of_words = &words[row * row_words..(row + 1) * row_words];
        let out = &mut out[i * band.cols..(i + 1) * band.cols];
        let scale = |block: usize| codingspot_pack::scale(&scales, row * row_blocks + block);
        super::cpu::numbers(row_of_words, band.encoding, scale, out);
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use super::super::code::gpu::{number, scale};
    use codingspot_pack::Encoding;
    use cubecl::prelude::*;

    /// One unit a word of a token's row.
    #[cube(launch_unchecked)]
    pub(crate) fn kernel(
        words: &[u32],
        scales: &[u32],
        tokens: &[u32],
        out: &mut [f32],
        #[comptime] encoding: Encoding,
        #[comptime] cols: usize,
        #[comptime] rows: u32,
        #[comptime] first_row: u32,
        #[comptime] n: usize,
    ) {
        let per_word = comptime!(encoding.per_word());
        let row_words = comptime!(cols / per_word);
        if ABSOLUTE_POS < comptime!(n * row_words) {
            let token = ABSOLUTE_POS / row_words;
            let column = (ABSOLUTE_POS % row_words) * per_word;
            let id = tokens[token];
            if id >= first_row && id < first_row + rows {
                let row = usize::cast_from(id - first_row);
                let word = words[row * row_words + column / per_word];
                let mut factor = 1.0f32;
                if comptime!(encoding.has_scales()) {
                    let block = row * comptime!(cols / 32) + column / 32;
                    factor = scale(scales[block / 2], block);
                }
                #[unroll]
                for i in 0..per_word {
                    out[token * cols + column + i] = number(word, comptime!(i as u32), encoding) * factor;
                }
            }
        }
    }
}

//! Encodings of weights: how values of a row become bits of 32-bit words.
//!
//! Words are row-major, like the matrix. Whatever the encoding, the code 0 is the value `+0`.
//!
//! | encoding | a word holds | element `j` of a word | values |
//! |---|---|---|---|
//! | `f32` | 1 element | all bits | IEEE single |
//! | `f16` | 2 elements | bits `16j..16j+16` | IEEE half |
//! | `q8` | 4 elements | bits `8j..8j+8` | code −127 to 127, two's complement, times the scale |
//! | `q4` | 8 elements | bits `4j..4j+4` | code −8 to 7, two's complement, times the scale |
//!
//! `q8` and `q4` have a scale for every block of [`BLOCK`] consecutive elements of a row, as bf16, two
//! to a word: that of block `b` is in word `b / 2`, in the low half where `b` is even. Blocks are
//! counted over the whole matrix, so element `i` is in block `i / BLOCK`.

mod quantise;

use half::{bf16, f16};
use quantise::{quantise_q4, quantise_q8};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Elements that share a scale.
pub const BLOCK: usize = 32;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// IEEE single: exact.
    F32,
    /// IEEE half.
    F16,
    /// 8-bit codes with a scale for 32 weights.
    Q8,
    /// 4-bit codes with a scale for 32 weights.
    Q4,
}

impl Encoding {
    /// All of them, the most exact first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8, Self::Q4];

    /// Name as in files and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Bits of an element in the words (scales come on top).
    pub fn bits(self) -> u32 {
        match self {
            Self::F32 => 32,
            Self::F16 => 16,
            Self::Q8 => 8,
            Self::Q4 => 4,
        }
    }

    /// Elements in a word.
    pub fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Q8 => 4,
            Self::Q4 => 8,
        }
    }

    /// Whether blocks of elements have scales.
    pub fn has_scales(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// Whether rows of `cols` elements can have this encoding: they are whole blocks, or whole words.
    pub fn fits(self, cols: u64) -> bool {
        match self {
            Self::F32 => true,
            Self::F16 => cols.is_multiple_of(2),
            Self::Q8 | Self::Q4 => cols.is_multiple_of(BLOCK as u64),
        }
    }

    /// The encoding for rows of `cols` elements: this one if it fits, else `f16`, else `f32`.
    #[must_use]
    pub fn for_cols(self, cols: u64) -> Self {
        [self, Self::F16].into_iter().find(|encoding| encoding.fits(cols)).unwrap_or(Self::F32)
    }

    /// Words of a `[rows, cols]` matrix that the encoding fits; saturating, as shapes come from files.
    pub fn num_words(self, rows: u64, cols: u64) -> u64 {
        rows.saturating_mul(cols) / self.per_word() as u64
    }

    /// Words of the scales of a `[rows, cols]` matrix: the last one is half used where blocks are odd.
    pub fn num_scale_words(self, rows: u64, cols: u64) -> u64 {
        if self.has_scales() { (rows.saturating_mul(cols) / BLOCK as u64).div_ceil(2) } else { 0 }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Encoding::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no encoding {0:?}; choose f32, f16, q8 or q4")]
pub struct EncodingParseError(String);

impl FromStr for Encoding {
    type Err = EncodingParseError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|encoding| encoding.name() == name);
        found.ok_or_else(|| EncodingParseError(name.chars().take(20).collect()))
    }
}

/// Encoded rows of a matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedRows {
    /// The elements.
    pub words: Vec<u32>,
    /// The scales of their blocks; empty where the encoding has none.
    pub scales: Vec<u32>,
}

impl PackedRows {
    /// Appends the words, then the words of the scales, little endian.
    pub fn extend_bytes(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + 4 * (self.words.len() + self.scales.len()), 0);
        let (places, _) = out[start..].as_chunks_mut::<4>();
        let words = self.words.iter().chain(&self.scales);
        places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_le_bytes());
    }

    /// From the bytes that [`Self::extend_bytes`] makes of a `[rows, cols]` matrix; `None` when there are
    /// more or fewer bytes, or the encoding does not fit.
    pub fn from_bytes(bytes: &[u8], rows: u64, cols: u64, encoding: Encoding) -> Option<Self> {
        Self::rows_from_bytes(bytes, rows, cols, encoding, 0..rows)
    }

    /// As [`Self::from_bytes`], the rows `wanted` alone; `None` also when some of them are not there.
    pub fn rows_from_bytes(
        bytes: &[u8],
        rows: u64,
        cols: u64,
        encoding: Encoding,
        wanted: Range<u64>,
    ) -> Option<Self> {
        let words = encoding.num_words(rows, cols);
        let all = words.checked_add(encoding.num_scale_words(rows, cols))?.checked_mul(4)?;
        if bytes.len() as u64 != all || !encoding.fits(cols) || wanted.end > rows {
            return None;
        }
        let (words, scales) = bytes.split_at(usize::try_from(4 * words).ok()?);
        let place = |row: u64, width: u64| usize::try_from(width * encoding.num_words(row, cols)).ok();
        let words = words.get(place(wanted.start, 4)?..place(wanted.end, 4)?)?;
        let words = words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        if !encoding.has_scales() {
            return Some(Self { words, scales: Vec::new() });
        }
        // Little endian words of two scales each are one scale after another.
        let place = |row: u64| usize::try_from(2 * (row * cols / BLOCK as u64)).ok();
        let scales = scales.get(place(wanted.start)?..place(wanted.end)?)?;
        let (pairs, last) = scales.as_chunks::<4>();
        let mut scales: Vec<u32> = pairs.iter().map(|pair| u32::from_le_bytes(*pair)).collect();
        scales.extend(last.first_chunk().map(|half| u32::from(u16::from_le_bytes(*half))));
        Some(Self { words, scales })
    }
}

/// Encodes rows of `cols` finite values each, rounding to the nearest code (`f16`: to the nearest
/// finite half).
///
/// The scale of a `q8` block is its largest magnitude / 127; that of a `q4` block is the one with the
/// least squared error among several around largest / −8, so it may be negative. The result depends
/// on the values alone, on any machine. What a value that is not finite becomes is not specified.
///
/// # Panics
/// When `values` are not whole rows, or `encoding` does not fit rows of `cols`.
pub fn pack_rows(values: &[f32], cols: usize, encoding: Encoding) -> PackedRows {
    assert!(cols > 0 && values.len().is_multiple_of(cols), "{} values are no rows of {cols}", values.len());
    assert!(encoding.fits(cols as u64), "{encoding} does not fit rows of {cols}");
    match encoding {
        Encoding::F32 => {
            PackedRows { words: values.iter().map(|value| value.to_bits()).collect(), scales: Vec::new() }
        }
        Encoding::F16 => {
            let pairs = values.as_chunks::<2>().0.iter();
            let words = pairs.map(|&[low, high]| join(half_bits(low), half_bits(high))).collect();
            PackedRows { words, scales: Vec::new() }
        }
        Encoding::Q8 => blocks(values, quantise_q8),
        Encoding::Q4 => blocks(values, quantise_q4),
    }
}

/// Encodes block by block: `quantise` gives a block's words and its scale.
fn blocks<const WORDS: usize>(
    values: &[f32],
    quantise: impl Fn(&[f32; BLOCK]) -> ([u32; WORDS], bf16),
) -> PackedRows {
    let (blocks, _) = values.as_chunks::<BLOCK>();
    let mut words = Vec::with_capacity(blocks.len() * WORDS);
    let mut scales = vec![0; blocks.len().div_ceil(2)];
    for (index, block) in blocks.iter().enumerate() {
        let (block, scale) = quantise(block);
        words.extend(block);
        scales[index / 2] |= u32::from(scale.to_bits()) << (16 * (index % 2));
    }
    PackedRows { words, scales }
}

/// The half nearest to `value` that is finite.
fn half_bits(value: f32) -> u16 {
    f16::from_f32(value.clamp(-65504.0, 65504.0)).to_bits()
}

fn join(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// The values of rows that [`pack_rows`] encoded.
///
/// # Panics
/// When the words are not whole rows, or there are too few scales for them.
pub fn unpack_rows(words: &[u32], scales: &[u32], cols: usize, encoding: Encoding) -> Vec<f32> {
    let len = words.len() * encoding.per_word();
    assert!(cols > 0 && len.is_multiple_of(cols), "{len} elements are no rows of {cols}");
    match encoding {
        Encoding::F32 => words.iter().map(|&word| f32::from_bits(word)).collect(),
        Encoding::F16 => {
            let halves = words.iter().flat_map(|&word| [low_half(word), high_half(word)]);
            halves.map(|bits| f16::from_bits(bits).to_f32()).collect()
        }
        Encoding::Q8 | Encoding::Q4 => {
            let mut values = Vec::with_capacity(len);
            for (index, block) in words.chunks(BLOCK / encoding.per_word()).enumerate() {
                let scale = scale(scales, index);
                for &word in block {
                    let elements = (0..encoding.per_word()).map(|j| element_of(word, j, encoding));
                    values.extend(elements.map(|code| value_of(code, scale, encoding)));
                }
            }
            values
        }
    }
}

/// The bits of element `element`, in the lowest places.
///
/// # Panics
/// When there are fewer elements.
pub fn code(words: &[u32], element: usize, encoding: Encoding) -> u32 {
    element_of(words[element / encoding.per_word()], element % encoding.per_word(), encoding)
}

/// Sets the bits of element `element` to the lowest ones of `code` and leaves all others as they are.
///
/// # Panics
/// When there are fewer elements.
pub fn set_code(words: &mut [u32], element: usize, code: u32, encoding: Encoding) {
    let word = &mut words[element / encoding.per_word()];
    let shift = shift_of(element % encoding.per_word(), encoding);
    *word = *word & !(mask(encoding) << shift) | (code & mask(encoding)) << shift;
}

/// The scale of block `block`.
///
/// # Panics
/// When there are fewer blocks.
pub fn scale(scales: &[u32], block: usize) -> f32 {
    let word = scales[block / 2];
    bf16::from_bits(if block.is_multiple_of(2) { low_half(word) } else { high_half(word) }).to_f32()
}

/// The value of a code: of `f32` and `f16` the float with these bits, of `q8` and `q4` the number in
/// two's complement times `scale` (which the others ignore). 0 gives `+0` under any finite scale.
pub fn value_of(code: u32, scale: f32, encoding: Encoding) -> f32 {
    match encoding {
        Encoding::F32 => f32::from_bits(code),
        Encoding::F16 => f16::from_bits(low_half(code)).to_f32(),
        // Adding +0 turns the −0 of a negative scale into +0 and changes no other value.
        Encoding::Q8 => f32::from(signed(code, 8)) * scale + 0.0,
        Encoding::Q4 => f32::from(signed(code, 4)) * scale + 0.0,
    }
}

/// The lowest `bits` of `code` as a number in two's complement.
fn signed(code: u32, bits: u32) -> i8 {
    let [lowest, ..] = code.to_le_bytes();
    (lowest << (8 - bits)).cast_signed() >> (8 - bits)
}

fn element_of(word: u32, place: usize, encoding: Encoding) -> u32 {
    word >> shift_of(place, encoding) & mask(encoding)
}

/// Where the bits of the element at `place` of its word begin.
fn shift_of(place: usize, encoding: Encoding) -> u32 {
    u32::try_from(place).expect("a word has at most 8 places") * encoding.bits()
}

fn mask(encoding: Encoding) -> u32 {
    u32::MAX >> (32 - encoding.bits())
}

fn low_half(word: u32) -> u16 {
    let [a, b, _, _] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn high_half(word: u32) -> u16 {
    low_half(word >> 16)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

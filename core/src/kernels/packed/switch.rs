//! Switching elements off and on again.
//!
//! An element that is off has the code 0, which is the number 0 in every encoding. Exclusive-or with its own code takes
//! it there and back, bit for bit, whatever the other elements of its word do.

use codingspot_pack::Encoding;

/// Where the elements that offsets name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codes {
    /// How they are held.
    pub encoding: Encoding,
    /// The element of the buffer that is offset 0.
    pub base: usize,
    /// How many offsets there are.
    pub len: usize,
}

/// See [`super::Compute::gather`].
pub(super) fn gather_cpu(words: &[u32], codes: Codes, offsets: &[u32], out: &mut [u32]) {
    for (out, &offset) in out.iter_mut().zip(&offsets[..codes.len]) {
        *out = codingspot_pack::code(words, codes.base + offset as usize, codes.encoding);
    }
}

/// See [`super::Compute::toggle`].
pub(super) fn toggle_cpu(words: &mut [u32], codes: Codes, offsets: &[u32], values: &[u32]) {
    let per_word = codes.encoding.per_word();
    for (&offset, &value) in offsets.iter().zip(values) {
        let element = codes.base + offset as usize;
        let shift = u32::try_from(element % per_word).expect("below 32") * codes.encoding.bits();
        words[element / per_word] ^= value << shift;
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use codingspot_pack::Encoding;
    use cubecl::prelude::*;

    /// One unit an offset.
    #[cube(launch_unchecked)]
    pub(crate) fn gather(
        words: &[u32],
        offsets: &[u32],
        out: &mut [u32],
        base: u32,
        len: u32,
        #[comptime] encoding: Encoding,
    ) {
        if ABSOLUTE_POS < usize::cast_from(len) {
            let per_word = comptime!(encoding.per_word() as u32);
            let bits = comptime!(encoding.bits());
            let element = base + offsets[ABSOLUTE_POS];
            let word = words[usize::cast_from(element / per_word)] >> ((element % per_word) * bits);
            if comptime!(bits < 32) {
                out[ABSOLUTE_POS] = word & comptime!((1u32 << (encoding.bits() % 32)) - 1);
            } else {
                out[ABSOLUTE_POS] = word;
            }
        }
    }

    /// One unit an offset; elements may share a word, hence atomic.
    #[cube(launch_unchecked)]
    pub(crate) fn toggle(
        words: &[Atomic<u32>],
        offsets: &[u32],
        values: &[u32],
        base: u32,
        start: u32,
        len: u32,
        #[comptime] encoding: Encoding,
    ) {
        if ABSOLUTE_POS < usize::cast_from(len) {
            let per_word = comptime!(encoding.per_word() as u32);
            let bits = comptime!(encoding.bits());
            let at = usize::cast_from(start) + ABSOLUTE_POS;
            let element = base + offsets[at];
            let code = values[at] << ((element % per_word) * bits);
            words[usize::cast_from(element / per_word)].fetch_xor(code);
        }
    }
}

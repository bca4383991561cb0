//! Golomb-Rice codes, from the lowest bit of each byte on.

/// Largest parameter: values have 32 bits.
pub(super) const MAX_PARAMETER: u8 = 32;
/// Bits that [`Reader::window`] surely holds.
const WINDOW_BITS: u32 = 57;

/// The parameter that makes the codes of `values` shortest.
pub(super) fn best_parameter(values: &[u32]) -> u8 {
    let bits = |parameter: u8| {
        let quotients: u64 = values.iter().map(|&value| u64::from(value) >> parameter).sum();
        quotients + values.len() as u64 * u64::from(parameter + 1)
    };
    (0..=MAX_PARAMETER).min_by_key(|&parameter| bits(parameter)).unwrap_or(0)
}

/// Appends the codes of `values`, padded with zeros to a byte.
pub(super) fn write(values: &[u32], parameter: u8, out: &mut Vec<u8>) {
    let mut bits = Writer { out, pending: 0, len: 0 };
    for &value in values {
        let value = u64::from(value);
        let mut quotient = value >> parameter;
        while quotient >= 32 {
            bits.push(u64::from(u32::MAX), 32);
            quotient -= 32;
        }
        // That many ones, and a zero.
        bits.push((1 << quotient) - 1, u32::try_from(quotient).expect("the loop left less than 32") + 1);
        bits.push(value & low_bits(parameter), u32::from(parameter));
    }
    bits.finish();
}

fn low_bits(count: u8) -> u64 {
    (1 << count) - 1
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Bits that are not written yet: fewer than 8 between calls.
    pending: u64,
    len: u32,
}

impl Writer<'_> {
    /// Appends the lowest `count` bits of `bits`, at most 33, which has no others.
    fn push(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.len;
        self.len += count;
        while self.len >= 8 {
            let [byte, ..] = self.pending.to_le_bytes();
            self.out.push(byte);
            self.pending >>= 8;
            self.len -= 8;
        }
    }

    fn finish(mut self) {
        if self.len > 0 {
            self.push(0, 8 - self.len);
        }
    }
}

/// Reads codes from bytes that may be anything.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Next bit.
    at: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next value, if it is below `limit` and ends inside the bytes.
    pub(super) fn next(&mut self, parameter: u8, limit: u64) -> Option<u64> {
        let most = limit >> parameter;
        let mut quotient = 0;
        loop {
            let ones = self.window().trailing_ones();
            if ones < WINDOW_BITS {
                quotient += u64::from(ones);
                self.at += u64::from(ones) + 1;
                break;
            }
            quotient += u64::from(WINDOW_BITS);
            self.at += u64::from(WINDOW_BITS);
            if quotient > most {
                return None;
            }
        }
        if quotient > most {
            return None;
        }
        let value = quotient << parameter | self.window() & low_bits(parameter);
        self.at += u64::from(parameter);
        (value < limit && self.at <= 8 * self.bytes.len() as u64).then_some(value)
    }

    /// Bytes up to the last bit that was read, if the bits that fill the last one are 0.
    pub(super) fn finish(self) -> Option<usize> {
        let used = self.at.div_ceil(8);
        let left = 8 * used - self.at;
        (left == 0 || self.window() & ((1 << left) - 1) == 0).then(|| usize::try_from(used).ok()).flatten()
    }

    /// The next bits, at least [`WINDOW_BITS`]; zeros past the end.
    fn window(&self) -> u64 {
        let start = usize::try_from(self.at / 8).unwrap_or(usize::MAX);
        let rest = self.bytes.get(start..).unwrap_or_default();
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        u64::from_le_bytes(word) >> (self.at % 8)
    }
}

//! What of Python 3.11 the harness' texts and draws depend on, to the bit.

/// Whether Python's `str.isspace` holds: Unicode's white space and the separators U+001C to U+001F,
/// which Rust's [`char::is_whitespace`] leaves out.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.rstrip()`.
pub fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `str.capitalize()`: the first character in title case, all others in lower case.
pub fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    let mut capitalized = titlecase(first);
    // Of the whole text: whether a sigma is final depends on what precedes it.
    capitalized.extend(text.to_lowercase().chars().skip(first.to_lowercase().count()));
    capitalized
}

/// Unicode's title case, which differs from upper case for 135 characters.
fn titlecase(c: char) -> String {
    let upper = || c.to_uppercase();
    let code = u32::from(c);
    let one = |code| char::from_u32(code).map_or_else(|| upper().collect(), String::from);
    match code {
        // Digraphs: DŽ, LJ, NJ and DZ.
        0x1c4..=0x1cc => one(0x1c5 + (code - 0x1c4) / 3 * 3),
        0x1f1..=0x1f3 => one(0x1f2),
        // Georgian, Greek with iota adscript.
        0x10d0..=0x10ff | 0x1fbc | 0x1fcc | 0x1ffc => one(code),
        0x1f80..=0x1faf => one(code | 8),
        0x1fb3 | 0x1fc3 | 0x1ff3 => one(code + 9),
        0x1fb2 | 0x1fb4 | 0x1fb7 | 0x1fc2 | 0x1fc4 | 0x1fc7 | 0x1ff2 | 0x1ff4 | 0x1ff7 => {
            upper().map(|c| if c == '\u{399}' { '\u{345}' } else { c }).collect()
        }
        // Ligatures and sharp s.
        0xdf | 0x587 | 0xfb00..=0xfb06 | 0xfb13..=0xfb17 => {
            let mut letters = upper();
            letters.next().into_iter().chain(letters.flat_map(char::to_lowercase)).collect()
        }
        _ => upper().collect(),
    }
}

/// `repr` of a float: the shortest digits that read back, in scientific form below 1e-4 and from 1e16.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let fixed = format!("{value}");
        return if fixed.contains('.') { fixed } else { fixed + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

const WORDS: usize = 624;
const OFFSET: usize = 397;

/// `random.Random`: the Mersenne Twister MT19937 (Matsumoto & Nishimura 1998) with the seeding and the
/// integer draws of `CPython` 3.11 (`Modules/_randommodule.c`, `Lib/random.py`).
#[derive(Clone)]
pub struct Random {
    state: [u32; WORDS],
    next: usize,
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").field("next", &self.next).finish_non_exhaustive()
    }
}

/// More was asked for than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("can't draw {wanted} of {population}")]
pub struct SampleError {
    /// How many were to be drawn.
    pub wanted: usize,
    /// How many there are.
    pub population: usize,
}

impl Random {
    /// `random.Random(seed)` of an integer ≥ 0.
    pub fn new(seed: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key = [low, high];
        Self::by_array(if high == 0 { &key[..1] } else { &key })
    }

    /// `init_by_array`.
    fn by_array(key: &[u32]) -> Self {
        let mut state = [0; WORDS];
        state[0] = 19_650_218;
        let mix = |word: u32| word ^ (word >> 30);
        for i in 1..WORDS {
            state[i] = mix(state[i - 1]).wrapping_mul(1_812_433_253).wrapping_add(u32_of(i));
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..WORDS.max(key.len()) {
            state[i] = (state[i] ^ mix(state[i - 1]).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(u32_of(j));
            i = after(&mut state, i);
            j = (j + 1) % key.len();
        }
        for _ in 1..WORDS {
            state[i] = (state[i] ^ mix(state[i - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(u32_of(i));
            i = after(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: WORDS }
    }

    /// The next 32 bits.
    fn word(&mut self) -> u32 {
        if self.next >= WORDS {
            for i in 0..WORDS {
                let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + OFFSET) % WORDS] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `getrandbits(bits)`, of at most 64 bits (more are taken as 64); 0 of none.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        let bits = bits.min(64);
        let mut value = 0;
        let mut drawn = 0;
        while drawn < bits {
            let wanted = (bits - drawn).min(32);
            value |= u64::from(self.word() >> (32 - wanted)) << drawn;
            drawn += 32;
        }
        value
    }

    /// `_randbelow(n)`: uniform from 0 to n − 1; 0 where n is 0.
    pub fn randbelow(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let value = self.getrandbits(bits);
            if value < n {
                return value;
            }
        }
    }

    /// `random()`: uniform in [0, 1), of 53 bits.
    pub fn random(&mut self) -> f64 {
        let (a, b) = (self.word() >> 5, self.word() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }

    /// Indices of `sample(range(population), wanted)`.
    ///
    /// # Errors
    /// [`SampleError`] where more are wanted than there are.
    pub fn sample(&mut self, population: usize, wanted: usize) -> Result<Vec<usize>, SampleError> {
        if wanted > population {
            return Err(SampleError { wanted, population });
        }
        // 21 and, above five draws, the power of 4 from 3·wanted on: Python's estimate of a set's size.
        let mut set_size: u64 = 21;
        if wanted > 5 {
            let tripled = (wanted as u64).saturating_mul(3);
            let mut table: u64 = 1;
            while table < tripled {
                table = table.saturating_mul(4);
            }
            set_size = set_size.saturating_add(table);
        }
        let mut drawn = Vec::with_capacity(wanted);
        if population as u64 <= set_size {
            let mut pool: Vec<usize> = (0..population).collect();
            for i in 0..wanted {
                let j = self.index(population - i);
                drawn.push(pool[j]);
                pool[j] = pool[population - i - 1];
            }
        } else {
            let mut selected = std::collections::HashSet::new();
            while drawn.len() < wanted {
                let j = self.index(population);
                if selected.insert(j) {
                    drawn.push(j);
                }
            }
        }
        Ok(drawn)
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.randbelow(n as u64)).expect("below a usize")
    }
}

fn u32_of(index: usize) -> u32 {
    u32::try_from(index).expect("at most 624")
}

/// The position after `i`, with the last word carried to the front.
fn after(state: &mut [u32; WORDS], i: usize) -> usize {
    if i + 1 < WORDS {
        return i + 1;
    }
    state[0] = state[WORDS - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_cpython() {
        // print([random.Random(s).getrandbits(32) for s in (0, 1, 1234, 2**32 - 1, 2**32, 2**64 - 1)])
        for (seed, expected) in [
            (0, 3_626_764_237),
            (1, 577_090_037),
            (1234, 4_150_886_329),
            (u64::from(u32::MAX), 2_728_839_433),
            (1 << 32, 485_306_839),
            (u64::MAX, 93_740_670),
        ] {
            assert_eq!(Random::new(seed).getrandbits(32), expected, "seed {seed}");
        }
    }

    #[test]
    fn few_shots_of_gsm8k_are_those_of_the_harness() {
        let mut random = Random::new(1234);
        for expected in
            [[6374, 3610, 957, 61, 742], [7462, 6610, 4769, 286, 5501], [5677, 687, 806, 6279, 2905]]
        {
            assert_eq!(random.sample(7473, 5).unwrap(), expected);
        }
    }

    #[test]
    fn more_than_all_cannot_be_drawn() {
        let error = Random::new(0).sample(3, 4).unwrap_err();
        assert_eq!(error, SampleError { wanted: 4, population: 3 });
        assert_eq!(error.to_string(), "can't draw 4 of 3");
        assert!(Random::new(0).sample(0, 0).unwrap().is_empty());
        assert_eq!(Random::new(0).randbelow(0), 0);
        assert_eq!(Random::new(0).getrandbits(0), 0);
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1c}\u{a0} a b\u{2003}\n\u{1f}"), "a b");
        assert_eq!(rstrip(" a\u{85}\u{3000}"), " a");
        // No white space in either language.
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
    }

    #[test]
    fn floats_are_written_as_python_does() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(value), expected);
        }
    }

    #[test]
    fn capitals_are_pythons() {
        for (text, expected) in [
            ("", ""),
            ("he THEN", "He then"),
            ("ßA", "Ssa"),
            ("ǆX", "ǅx"),
            ("ﬁN", "Fin"),
            ("აБ", "აб"),
            ("ᾀΑΣ", "ᾈας"),
            ("ᾷ", "\u{391}\u{342}\u{345}"),
            ("ΣΑΣ", "Σας"),
            ("İI", "İi"),
            ("ŉA", "ʼNa"),
            ("[A] Man", "[a] man"),
        ] {
            assert_eq!(capitalize(text), expected);
        }
    }
}

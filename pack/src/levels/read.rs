//! From bytes that may be anything to levels.

use super::{
    LevelTensor, LevelsError, LevelsHeader, MAGIC, MAX_HEADER_BYTES, PREFIX_BYTES, VERSION,
    rice::{MAX_PARAMETER, Reader},
};
use crate::manifest::MAX_FILE_BYTES;

/// The parameters that a level adds in one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Index of the tensor.
    pub tensor: usize,
    /// Offsets of the parameters in the tensor, strictly ascending, at least one.
    pub offsets: Vec<u32>,
}

/// A spot in levels, checked and still encoded: a level at a time is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    header: LevelsHeader,
    bytes: Vec<u8>,
    /// Where each level begins, and where the last one ends.
    starts: Vec<usize>,
}

impl Levels {
    /// Opens a file, trusting nothing in it: every level is decoded once, and let go. Time: some 10 ns a
    /// parameter; memory: the file, and 4 bytes for each parameter of the largest segment.
    ///
    /// What is not looked for is a parameter that two levels add, which would take a list of all.
    ///
    /// # Errors
    /// [`LevelsError::Malformed`] or [`LevelsError::Version`].
    pub fn open(bytes: Vec<u8>) -> Result<Self, LevelsError> {
        let (header, body) = read_header(&bytes)?;
        let mut starts = vec![body];
        let mut at = body;
        let mut before = 0;
        for (level, &count) in header.levels.iter().enumerate() {
            let mut left = count - before;
            before = count;
            for (index, tensor) in header.tensors.iter().enumerate() {
                let decoded = decode_segment(&bytes[at..], tensor, left);
                let (offsets, used) = decoded.ok_or_else(|| {
                    LevelsError::Malformed(format!(
                        "level {level} is damaged in {}",
                        header.tensors[index].name
                    ))
                })?;
                left -= offsets.len() as u64;
                at += used;
            }
            if left > 0 {
                return Err(LevelsError::Malformed(format!("level {level} has {left} parameters too few")));
            }
            starts.push(at);
        }
        if at != bytes.len() {
            let rest = bytes.len() - at;
            return Err(LevelsError::Malformed(format!("{rest} bytes follow its last level")));
        }
        Ok(Self { header, bytes, starts })
    }

    /// What the spot is.
    pub fn header(&self) -> &LevelsHeader {
        &self.header
    }

    /// Number of levels.
    pub fn len(&self) -> usize {
        self.header.levels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.header.levels.is_empty()
    }

    /// The parameters that level `level` adds to those below it, by tensor in the layout's order.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn level(&self, level: usize) -> impl Iterator<Item = Segment> {
        let mut bytes = &self.bytes[self.starts[level]..self.starts[level + 1]];
        self.header.tensors.iter().enumerate().filter_map(move |(tensor, spec)| {
            let (offsets, used) =
                decode_segment(bytes, spec, u64::MAX).expect("opening decoded the same segment");
            bytes = &bytes[used..];
            (!offsets.is_empty()).then_some(Segment { tensor, offsets })
        })
    }

    /// The level of the largest count that is at most `count`; `None` when even the first has more.
    pub fn level_of(&self, count: u64) -> Option<usize> {
        self.header.levels.partition_point(|&level| level <= count).checked_sub(1)
    }

    /// Checks that the spot was made from the weights with this fingerprint, whose tensors (name and
    /// shape) are these.
    ///
    /// # Errors
    /// [`LevelsError::OtherWeights`] or [`LevelsError::OtherLayout`].
    pub fn check<'a>(
        &self,
        fingerprint: &str,
        tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>,
    ) -> Result<(), LevelsError> {
        if self.header.fingerprint != fingerprint {
            let (spot, model) = (self.header.fingerprint.clone(), fingerprint.to_owned());
            return Err(LevelsError::OtherWeights { spot, model });
        }
        let mut ours = self.header.tensors.iter();
        let mut theirs = tensors.into_iter();
        let describe = |tensor: Option<(&str, &[u64])>| {
            tensor.map_or_else(|| "missing".to_owned(), |(name, shape)| format!("{name} {shape:?}"))
        };
        for index in 0.. {
            let found = ours.next().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
            let expected = theirs.next();
            if found != expected {
                let (found, expected) = (describe(found), describe(expected));
                return Err(LevelsError::OtherLayout { index, found, expected });
            }
            if found.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// The header, and where the first level begins.
fn read_header(bytes: &[u8]) -> Result<(LevelsHeader, usize), LevelsError> {
    let malformed = |reason: String| LevelsError::Malformed(reason);
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(malformed(format!("it has {} bytes, more than {MAX_FILE_BYTES}", bytes.len())));
    }
    let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
    if word(0) != Some(MAGIC) {
        return Err(malformed("it does not begin with CSLV".to_owned()));
    }
    let truncated = || malformed(format!("it is cut off after {} bytes", bytes.len()));
    let version = u32::from_le_bytes(word(4).ok_or_else(truncated)?);
    if version != VERSION {
        return Err(LevelsError::Version { found: version });
    }
    let header_len = u32::from_le_bytes(word(8).ok_or_else(truncated)?);
    let end = usize::try_from(header_len).ok().filter(|&len| len <= MAX_HEADER_BYTES);
    let end =
        PREFIX_BYTES + end.ok_or_else(|| malformed(format!("its header would have {header_len} bytes")))?;
    let json = bytes.get(PREFIX_BYTES..end).ok_or_else(truncated)?;
    let header: LevelsHeader =
        serde_json::from_slice(json).map_err(|error| malformed(format!("its header: {error}")))?;
    header.check()?;
    Ok((header, end))
}

/// The segment of `tensor` that `bytes` begin with, of at most `most` parameters, and its length.
fn decode_segment(bytes: &[u8], tensor: &LevelTensor, most: u64) -> Option<(Vec<u32>, usize)> {
    let mut count = 0_u64;
    let mut head = 0;
    loop {
        let byte = *bytes.get(head)?;
        // 35 bits hold every count.
        if head >= 5 {
            return None;
        }
        count |= u64::from(byte & 0x7F) << (7 * head);
        head += 1;
        if byte < 0x80 {
            break;
        }
    }
    if count == 0 {
        return Some((Vec::new(), head));
    }
    let parameter = *bytes.get(head)?;
    let codes = &bytes[head + 1..];
    // Each takes its Rice parameter's bits and one more, so that no more is allocated than is there.
    let bits = count.checked_mul(u64::from(parameter) + 1)?;
    if parameter > MAX_PARAMETER || count > most || bits > 8 * codes.len() as u64 {
        return None;
    }
    let mut reader = Reader::new(codes);
    let mut offsets = Vec::with_capacity(usize::try_from(count).ok()?);
    let (mut next, numel) = (0, tensor.numel());
    for _ in 0..count {
        let offset = next + reader.next(parameter, numel - next)?;
        offsets.push(u32::try_from(offset).ok()?);
        next = offset + 1;
    }
    Some((offsets, head + 1 + reader.finish()?))
}

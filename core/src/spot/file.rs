//! The spot file: parameters in rank order with the fingerprint of the weights they belong to.
//!
//! A safetensors file with `tensor` (u16), `offset` (u32) and `score` (f32), all of one length, in
//! rank order; its metadata entry `codingspot` is the JSON of [`SpotHeader`].

use super::{Group, GroupSize, Ranked, Scope, count_of};
use crate::checkpoint::{Fingerprint, safetensors_head};
use crate::layout::ParameterLayout;
use crate::score::Estimator;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;

/// Version of the format.
const FORMAT: u32 = 1;
/// Version of spots whose k counts in groups, which builds that know no groups must not read.
const GROUPED_FORMAT: u32 = 2;
/// Metadata key of the header.
const HEADER_KEY: &str = "codingspot";

/// Why a spot was refused.
#[derive(Debug, thiserror::Error)]
pub enum SpotError {
    /// The bytes are not a spot file.
    #[error("not a spot file: {0}")]
    Malformed(String),
    /// The format is of another version.
    #[error("the spot file has format {found}, this build reads up to {GROUPED_FORMAT}; select it again")]
    Version {
        /// Version in the file.
        found: u32,
    },
    /// The spot belongs to other weights.
    #[error(
        "the spot was made for weights {spot}, the loaded weights are {model}; it was not applied. Load the model that it was made from, or score this one"
    )]
    OtherWeights {
        /// Fingerprint in the spot.
        spot: Fingerprint,
        /// Fingerprint of the model.
        model: Fingerprint,
    },
    /// The spot names tensors that the model does not have.
    #[error("the spot's tensor {index} is {found}, the model's is {expected}; it was not applied")]
    OtherLayout {
        /// Index in the layout.
        index: usize,
        /// In the spot.
        found: String,
        /// In the model.
        expected: String,
    },
    /// `k` lies outside what the file holds.
    #[error(
        "k = {k} % is outside 0 to {max_k} %, the part of the ranking that the spot holds; select again with a larger --max-k"
    )]
    KOutOfRange {
        /// Percent asked for.
        k: f64,
        /// Percent there.
        max_k: f64,
    },
}

/// The part of a header that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// One tensor that a spot's indices refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpotTensor {
    /// Hugging Face name.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<u64>,
}

impl SpotTensor {
    /// Number of elements (saturating: shapes come from files).
    pub fn numel(&self) -> u64 {
        self.shape.iter().fold(1, |product, &d| product.saturating_mul(d))
    }
}

/// What a spot is: for which weights, from which scores, by which settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpotHeader {
    /// Version of the format.
    pub format: u32,
    /// Fingerprint of the weights.
    pub fingerprint: Fingerprint,
    /// The model's tensors in layout order; `tensor` indexes this list.
    pub tensors: Vec<SpotTensor>,
    /// Which tensors competed.
    pub scope: Scope,
    /// Number of parameters that competed: 100 %.
    pub parameters_in_scope: u64,
    /// The largest k, percent, that the file holds.
    pub max_k: f64,
    /// How the scores were estimated.
    pub estimator: Estimator,
    /// Languages whose scores were added, in order.
    pub languages: Vec<String>,
    /// For a control, what it is (for instance `random:1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// Who competed with whom.
    #[serde(default)]
    pub group: Group,
    /// The groups, unless all compete with all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_sizes: Vec<GroupSize>,
    /// For a set made of others, how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<String>,
}

impl SpotHeader {
    /// A header for a model's layout.
    pub fn new(
        layout: &ParameterLayout,
        fingerprint: Fingerprint,
        scope: Scope,
        max_k: f64,
        estimator: Estimator,
        languages: Vec<String>,
    ) -> Self {
        Self {
            format: FORMAT,
            fingerprint,
            tensors: layout
                .tensors()
                .iter()
                .map(|t| SpotTensor {
                    name: t.name.clone(),
                    shape: t.shape.iter().map(|&d| d as u64).collect(),
                })
                .collect(),
            scope,
            parameters_in_scope: super::parameters_in_scope(layout, scope),
            max_k,
            estimator,
            languages,
            control: None,
            group: Group::Global,
            group_sizes: Vec::new(),
            derived: None,
        }
    }

    /// The same of a selection in which parameters compete in groups.
    #[must_use]
    pub fn in_groups(self, group: Group, group_sizes: Vec<GroupSize>) -> Self {
        let format = if group == Group::Global { FORMAT } else { GROUPED_FORMAT };
        Self { format, group, group_sizes, ..self }
    }
}

/// A ranked set of parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    header: SpotHeader,
    tensor: Vec<u16>,
    offset: Vec<u32>,
    score: Vec<f32>,
}

impl Spot {
    /// From a selection in rank order.
    pub fn new(header: SpotHeader, ranked: &[Ranked]) -> Self {
        Self {
            header,
            tensor: ranked.iter().map(|r| r.tensor).collect(),
            offset: ranked.iter().map(|r| r.offset).collect(),
            score: ranked.iter().map(|r| r.score).collect(),
        }
    }

    pub(super) fn from_parts(
        header: SpotHeader,
        tensor: Vec<u16>,
        offset: Vec<u32>,
        score: Vec<f32>,
    ) -> Self {
        Self { header, tensor, offset, score }
    }

    /// What it is.
    pub fn header(&self) -> &SpotHeader {
        &self.header
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.tensor.len()
    }

    /// Whether it names no parameter.
    pub fn is_empty(&self) -> bool {
        self.tensor.is_empty()
    }

    /// Tensor index by rank.
    pub fn tensor(&self) -> &[u16] {
        &self.tensor
    }

    /// Offset in the tensor by rank.
    pub fn offset(&self) -> &[u32] {
        &self.offset
    }

    /// Score by rank, descending.
    pub fn score(&self) -> &[f32] {
        &self.score
    }

    /// The parameters of ranks `ranks`, in order.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn ranked(&self, ranks: Range<usize>) -> impl Iterator<Item = Ranked> {
        let places = self.tensor[ranks.clone()].iter().zip(&self.offset[ranks.clone()]);
        places.zip(&self.score[ranks]).map(|((&tensor, &offset), &score)| Ranked { score, tensor, offset })
    }

    /// A spot of the same weights and scope made of these parameters, in this order; k counts them in
    /// percent of the scope, up to all of them.
    pub(super) fn derive(&self, derived: String, ranked: &[Ranked]) -> Self {
        let header = SpotHeader {
            max_k: 100.0 * ranked.len() as f64 / self.header.parameters_in_scope.max(1) as f64,
            control: None,
            derived: Some(derived),
            ..self.header.clone().in_groups(Group::Global, Vec::new())
        };
        Self::new(header, ranked)
    }

    /// Number of parameters of the top `k` percent of the scope: for groups, of every group.
    ///
    /// # Errors
    /// [`SpotError::KOutOfRange`] when `k` is negative, NaN, or more than the file holds.
    pub fn prefix_len(&self, k: f64) -> Result<usize, SpotError> {
        let max_k = self.header.max_k;
        let out_of_range = SpotError::KOutOfRange { k, max_k };
        if !(0.0..=max_k).contains(&k) {
            return Err(out_of_range);
        }
        let count = if self.header.group == Group::Global {
            count_of(self.header.parameters_in_scope, k)
        } else {
            let of = |group: &GroupSize| group.count.saturating_mul(count_of(group.size, k));
            self.header.group_sizes.iter().map(of).fold(0, u64::saturating_add)
        };
        let count = usize::try_from(count);
        count.ok().filter(|&count| count <= self.len()).ok_or(out_of_range)
    }

    /// Checks that the spot was made from these weights.
    ///
    /// # Errors
    /// [`SpotError::OtherLayout`] or [`SpotError::OtherWeights`].
    pub fn check(&self, layout: &ParameterLayout, fingerprint: &Fingerprint) -> Result<(), SpotError> {
        let describe = |name: &str, shape: &[u64]| format!("{name} {shape:?}");
        let expected = layout.tensors().iter().map(|t| {
            let shape: Vec<u64> = t.shape.iter().map(|&d| d as u64).collect();
            describe(&t.name, &shape)
        });
        let mut found = self.header.tensors.iter().map(|t| describe(&t.name, &t.shape));
        if self.header.fingerprint != *fingerprint {
            return Err(SpotError::OtherWeights { spot: self.header.fingerprint, model: *fingerprint });
        }
        for (index, expected) in expected.enumerate() {
            let found = found.next().unwrap_or_else(|| "missing".to_owned());
            if found != expected {
                return Err(SpotError::OtherLayout { index, found, expected });
            }
        }
        match found.next() {
            None => Ok(()),
            Some(found) => Err(SpotError::OtherLayout {
                index: layout.tensors().len(),
                found,
                expected: "nothing".to_owned(),
            }),
        }
    }

    /// Writes the file, a piece of a column at a time: a spot of a full model has gigabytes.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        let header = serde_json::to_string(&self.header)?;
        // In the order of `safetensors::serialize`.
        let columns = [("score", Dtype::F32), ("offset", Dtype::U32), ("tensor", Dtype::U16)];
        let columns = columns.map(|(name, dtype)| (name.to_owned(), dtype, vec![self.len()])).into();
        let metadata = [(HEADER_KEY, header.as_str())];
        out.write_all(&safetensors_head(&metadata, columns).map_err(io::Error::other)?)?;
        write_column(out, &self.score, f32::to_le_bytes)?;
        write_column(out, &self.offset, u32::to_le_bytes)?;
        write_column(out, &self.tensor, u16::to_le_bytes)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("a Vec takes every byte, and a header is plain data");
        bytes
    }

    /// Parses a file, trusting nothing in it.
    ///
    /// # Errors
    /// [`SpotError::Malformed`] or [`SpotError::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SpotError> {
        let malformed = |reason: String| SpotError::Malformed(reason);
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(malformed("it is a Git LFS pointer; fetch the real file".to_owned()));
        }
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| malformed(e.to_string()))?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(HEADER_KEY))
            .ok_or_else(|| malformed(format!("its metadata has no {HEADER_KEY:?} entry")))?;
        let version: Versioned = serde_json::from_str(header).map_err(|e| malformed(e.to_string()))?;
        if !(FORMAT..=GROUPED_FORMAT).contains(&version.format) {
            return Err(SpotError::Version { found: version.format });
        }
        let header: SpotHeader = serde_json::from_str(header).map_err(|e| malformed(e.to_string()))?;

        let file = SafeTensors::deserialize(bytes).map_err(|e| malformed(e.to_string()))?;
        let column = |name: &str, dtype: Dtype| {
            let view = file.tensor(name).map_err(|e| malformed(e.to_string()))?;
            if view.dtype() != dtype || view.shape().len() != 1 {
                return Err(malformed(format!(
                    "{name} is {:?} {:?}, expected {dtype:?} of one axis",
                    view.dtype(),
                    view.shape()
                )));
            }
            Ok(view.data())
        };
        let four = |name, dtype| Ok::<_, SpotError>(column(name, dtype)?.as_chunks::<4>().0.iter());
        let tensor = column("tensor", Dtype::U16)?.as_chunks::<2>().0.iter();
        let tensor: Vec<u16> = tensor.map(|bytes| u16::from_le_bytes(*bytes)).collect();
        let offset: Vec<u32> = four("offset", Dtype::U32)?.map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let score: Vec<f32> = four("score", Dtype::F32)?.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let spot = Self { header, tensor, offset, score };
        spot.validate().map_err(malformed)?;
        Ok(spot)
    }

    fn validate(&self) -> Result<(), String> {
        let n = self.len();
        if self.offset.len() != n || self.score.len() != n {
            return Err(format!(
                "its columns have {n}, {} and {} rows; expected one length",
                self.offset.len(),
                self.score.len()
            ));
        }
        if !(0.0..=100.0).contains(&self.header.max_k) {
            return Err(format!("its max_k is {}, expected 0 to 100", self.header.max_k));
        }
        let mut counts = vec![0_usize; self.header.tensors.len()];
        for (rank, (&tensor, &offset)) in self.tensor.iter().zip(&self.offset).enumerate() {
            let index = usize::from(tensor);
            let numel = self.header.tensors.get(index).map(SpotTensor::numel);
            if numel.is_none_or(|numel| u64::from(offset) >= numel) {
                return Err(format!(
                    "rank {rank} names offset {offset} of tensor {tensor}, which is outside"
                ));
            }
            counts[index] += 1;
        }
        // Sorted by tensor, then inside each: four bytes an entry, and short runs to sort.
        let mut ends = counts;
        let mut end = 0;
        for count in &mut ends {
            (*count, end) = (end, end + *count);
        }
        let mut offsets = vec![0_u32; n];
        for (&tensor, &offset) in self.tensor.iter().zip(&self.offset) {
            let place = &mut ends[usize::from(tensor)];
            offsets[*place] = offset;
            *place += 1;
        }
        let mut start = 0;
        for (tensor, end) in ends.into_iter().enumerate() {
            let run = &mut offsets[start..end];
            run.sort_unstable();
            if let Some([twice, _]) = run.array_windows().find(|[a, b]| a == b) {
                return Err(format!("offset {twice} of tensor {tensor} is in it twice"));
            }
            start = end;
        }
        match self.score.iter().position(|score| !score.is_finite()) {
            Some(rank) => Err(format!("the score at rank {rank} is not finite")),
            None => Ok(()),
        }
    }
}

/// Writes `values` as `bytes` has them, through a small buffer.
fn write_column<T: Copy, const SIZE: usize>(
    out: &mut impl io::Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; SIZE],
) -> io::Result<()> {
    let mut buffer = Vec::new();
    for piece in values.chunks(1 << 16) {
        buffer.clear();
        buffer.extend(piece.iter().flat_map(|&value| bytes(value)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::config::LlamaConfig;
    use crate::spot::{Ranked, matched_random};
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;
    use std::collections::HashMap;

    fn header() -> SpotHeader {
        let config = LlamaConfig::from_json(
            r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
            "num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#,
        )
        .unwrap();
        let fingerprint = "ab".repeat(32).parse().unwrap();
        SpotHeader::new(
            &ParameterLayout::new(&config),
            fingerprint,
            Scope::All,
            100.0,
            Estimator::Signed,
            vec!["rust".into()],
        )
    }

    fn any_spot() -> impl Strategy<Value = Spot> {
        let total: u64 = header().tensors.iter().map(SpotTensor::numel).sum();
        proptest::sample::subsequence((0..total).collect::<Vec<_>>(), 0..=total as usize).prop_map(|places| {
            let header = header();
            let ranked: Vec<Ranked> = places
                .into_iter()
                .map(|mut place| {
                    let mut tensor = 0;
                    while place >= header.tensors[tensor].numel() {
                        place -= header.tensors[tensor].numel();
                        tensor += 1;
                    }
                    Ranked { score: 1.5, tensor: tensor as u16, offset: place as u32 }
                })
                .collect();
            Spot::new(header, &ranked)
        })
    }

    proptest! {
        #[test]
        fn bytes_round_trip(spot in any_spot()) {
            prop_assert_eq!(Spot::from_bytes(&spot.to_bytes()).unwrap(), spot);
        }

        #[test]
        fn damaged_bytes_never_panic(spot in any_spot(), at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
            let mut bytes = spot.to_bytes();
            let place = at.index(bytes.len());
            bytes[place] = value;
            drop(Spot::from_bytes(&bytes));
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(Spot::from_bytes(&bytes).is_err());
        }

        #[test]
        fn random_control_matches_every_prefix(spot in any_spot(), seed: u64) {
            let control = matched_random(&spot, seed);
            prop_assert_eq!(control.tensor(), spot.tensor());
            // Parsing checks that offsets are inside their tensors and unique.
            prop_assert_eq!(&Spot::from_bytes(&control.to_bytes()).unwrap(), &control);
            prop_assert_eq!(&matched_random(&spot, seed), &control);
            // A shorter spot has the beginning of the same control.
            let half: Vec<Ranked> = spot.ranked(0..spot.len() / 2).collect();
            let short = matched_random(&Spot::new(header(), &half), seed);
            prop_assert_eq!(short.offset(), &control.offset()[..half.len()]);
        }
    }

    #[test]
    fn bytes_are_those_of_the_safetensors_library() {
        let at = |offset| Ranked { score: 0.5 + offset as f32, tensor: 1, offset };
        let spot = Spot::new(header(), &[at(7), at(2), at(3)]);
        let column = |bytes: &[&[u8]]| bytes.concat();
        let offset = column(&[&7_u32.to_le_bytes(), &2_u32.to_le_bytes(), &3_u32.to_le_bytes()]);
        let score = column(&[&7.5_f32.to_le_bytes(), &2.5_f32.to_le_bytes(), &3.5_f32.to_le_bytes()]);
        let tensor = 1_u16.to_le_bytes().repeat(3);
        let view = |dtype, bytes| TensorView::new(dtype, vec![3], bytes).unwrap();
        let columns = [
            ("tensor", view(Dtype::U16, &tensor)),
            ("offset", view(Dtype::U32, &offset)),
            ("score", view(Dtype::F32, &score)),
        ];
        let header = serde_json::to_string(spot.header()).unwrap();
        let metadata = HashMap::from([(HEADER_KEY.to_owned(), header)]);
        assert_eq!(spot.to_bytes(), safetensors::serialize(columns, Some(metadata)).unwrap());
    }

    #[test]
    fn duplicates_and_places_outside_are_refused() {
        let at = |tensor, offset| Ranked { score: 1.0, tensor, offset };
        for bad in [vec![at(1, 3), at(1, 3)], vec![at(0, 24)], vec![at(99, 0)]] {
            let bytes = Spot::new(header(), &bad).to_bytes();
            assert!(matches!(Spot::from_bytes(&bytes), Err(SpotError::Malformed(_))));
        }
    }

    #[test]
    fn k_outside_the_file_is_refused() {
        let mut header = header();
        header.max_k = 1.0;
        let spot = Spot::new(header, &[]);
        assert_eq!(spot.prefix_len(0.0).unwrap(), 0);
        for k in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(spot.prefix_len(k), Err(SpotError::KOutOfRange { .. })));
        }
    }

    #[test]
    fn other_weights_are_refused_with_both_fingerprints() {
        let spot = Spot::new(header(), &[]);
        let other: Fingerprint = "cd".repeat(32).parse().unwrap();
        let config = LlamaConfig::from_json(
            r#"{"model_type":"llama","vocab_size":6,"hidden_size":4,"intermediate_size":3,
            "num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#,
        )
        .unwrap();
        let layout = ParameterLayout::new(&config);
        let text = spot.check(&layout, &other).unwrap_err().to_string();
        assert!(text.contains(&"ab".repeat(32)) && text.contains(&"cd".repeat(32)), "{text}");
        spot.check(&layout, &spot.header().fingerprint).unwrap();
    }
}

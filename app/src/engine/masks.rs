//! The spot and its random control on the loaded model.

use super::load::{Ready, network};
use super::loading::Loading;
use super::{failure, fetch::Client};
use crate::protocol::{Arm, EngineError, ErrorCode, SpotFacts, SpotMismatch, SpotSource};
use codingspot_core::kernels::packed::Compute;
use codingspot_core::packed::{Mask, MaskChange, PackedLlama, RankingBuilder};
use codingspot_core::spot::{Spot, SpotError};
use codingspot_pack::{Levels, LevelsError};
use std::rc::Rc;
use web_sys::File;

/// Largest spot that is read, bytes.
const MAX_SPOT: u64 = 256 << 20;

/// What the arms switch off.
#[derive(Debug)]
pub(crate) struct Masks<C: Compute> {
    spot: Mask<C>,
    random: Mask<C>,
}

/// Why a spot can't be used: it does not fit, or it can't be had.
pub(crate) enum Refusal {
    Mismatch(SpotMismatch),
    Error(EngineError),
}

impl From<SpotError> for Refusal {
    fn from(error: SpotError) -> Self {
        let text = error.to_string();
        Self::Mismatch(match error {
            SpotError::OtherWeights { spot, model } => {
                SpotMismatch::ModelHash { spot: spot.to_string(), model: model.to_string() }
            }
            SpotError::OtherLayout { .. } => SpotMismatch::Shape(text),
            SpotError::Version { .. } => SpotMismatch::Version(text),
            SpotError::Malformed(_) | SpotError::KOutOfRange { .. } => SpotMismatch::Malformed(text),
        })
    }
}

impl From<LevelsError> for Refusal {
    fn from(error: LevelsError) -> Self {
        let text = error.to_string();
        Self::Mismatch(match error {
            LevelsError::OtherWeights { spot, model } => SpotMismatch::ModelHash { spot, model },
            LevelsError::OtherLayout { .. } => SpotMismatch::Shape(text),
            LevelsError::Version { .. } => SpotMismatch::Version(text),
            _ => SpotMismatch::Malformed(text),
        })
    }
}

impl<C: Compute> Masks<C> {
    /// Of a ranking and the seed of its control. Nothing may be off.
    pub(crate) fn new(
        model: &PackedLlama<C>,
        ranking: RankingBuilder,
        control_seed: u64,
    ) -> Result<Self, EngineError> {
        let control =
            ranking.matched_random(model, control_seed).map_err(|error| failure(ErrorCode::Spot, error))?;
        Ok(Self { spot: Mask::new(model, ranking), random: Mask::new(model, control) })
    }

    /// Switches off the first `count` of an arm's ranking, and nothing else.
    pub(crate) fn set(&mut self, model: &PackedLlama<C>, arm: Arm, count: u64) -> MaskChange {
        let (other, this, count) = match arm {
            Arm::Original => (&mut self.random, &mut self.spot, 0),
            Arm::Spot => (&mut self.random, &mut self.spot, count),
            Arm::Random => (&mut self.spot, &mut self.random, count),
        };
        let restored = other.set(model, 0).changed;
        let mut change = this.set(model, count);
        change.changed += restored;
        change
    }

    /// The counts that can be chosen, or none where every one can.
    pub(crate) fn levels(&self) -> &[u64] {
        self.spot.levels()
    }
}

impl<C: Compute> Ready<C> {
    /// Fetches a spot, checks that it is of the loaded weights, and puts it in the place of the one before.
    pub(crate) async fn open_spot(
        &mut self,
        source: &SpotSource,
        files: Vec<File>,
        loading: Rc<Loading>,
        control_seed: u64,
    ) -> Result<SpotFacts, Refusal> {
        let bytes = self.spot_bytes(source, files, loading).await?;
        let (facts, ranking) =
            if bytes.starts_with(b"CSLV") { self.levels(bytes)? } else { self.ranks(&bytes)? };
        let mut facts = facts;
        // Everything is checked: now the old one goes.
        self.switch_all_on();
        let masks = Masks::new(&self.model, ranking, control_seed).map_err(Refusal::Error)?;
        facts.levels = masks.levels().to_vec();
        self.masks = Some(masks);
        Ok(facts)
    }

    /// Restores the weights.
    pub(crate) fn switch_all_on(&mut self) {
        if let Some(masks) = &mut self.masks {
            masks.set(&self.model, Arm::Original, 0);
        }
    }

    async fn spot_bytes(
        &self,
        source: &SpotSource,
        files: Vec<File>,
        loading: Rc<Loading>,
    ) -> Result<Vec<u8>, Refusal> {
        let fetched = |error| Refusal::Error(network(&error));
        match source {
            SpotSource::Url(url) => Client::new(loading).whole(url, MAX_SPOT).await.map_err(fetched),
            SpotSource::LocalFile => {
                let none = || Refusal::Error(failure(ErrorCode::Spot, "no file was chosen"));
                let file = files.first().ok_or_else(none)?;
                if file.size() > MAX_SPOT as f64 {
                    let text = format!("it has {} bytes, expected at most {MAX_SPOT}", file.size());
                    return Err(Refusal::Mismatch(SpotMismatch::Malformed(text)));
                }
                let buffer = wasm_bindgen_futures::JsFuture::from(file.array_buffer()).await;
                let buffer = buffer.map_err(|_| {
                    Refusal::Error(failure(ErrorCode::Spot, "the file can't be read; choose it again"))
                })?;
                Ok(js_sys::Uint8Array::new(&buffer).to_vec())
            }
            SpotSource::Pack(name) => {
                let entry =
                    self.manifest.as_ref().and_then(|manifest| manifest.spot(name)).ok_or_else(|| {
                        Refusal::Error(failure(ErrorCode::Spot, format!("the pack has no spot {name:?}")))
                    })?;
                let directory = self.directory.with_loading(loading);
                let bytes = directory.small(&entry.file, entry.bytes).await.map_err(fetched)?;
                let found = blake3::hash(&bytes).to_string();
                if found == entry.blake3 {
                    Ok(bytes)
                } else {
                    let text = format!(
                        "{} has the hash {}, the manifest says {}: it is damaged or of another version",
                        entry.file,
                        &found[..8],
                        &entry.blake3[..8]
                    );
                    Err(Refusal::Mismatch(SpotMismatch::Checksum(text)))
                }
            }
        }
    }

    fn ranks(&self, bytes: &[u8]) -> Result<(SpotFacts, RankingBuilder), Refusal> {
        let spot = Spot::from_bytes(bytes)?;
        let fingerprint = self.fingerprint.parse().map_err(|error| {
            Refusal::Error(failure(ErrorCode::Checkpoint, format!("the model's fingerprint: {error}")))
        })?;
        spot.check(self.model.layout(), &fingerprint)?;
        self.ranks_of(&spot)
    }

    /// What the page is told of a spot, and its ranking.
    pub(crate) fn ranks_of(&self, spot: &Spot) -> Result<(SpotFacts, RankingBuilder), Refusal> {
        let header = spot.header();
        let facts = SpotFacts {
            scope: header.scope.name().to_owned(),
            parameters_in_scope: header.parameters_in_scope,
            len: spot.len() as u64,
            max_k: header.max_k,
            languages: header.languages.clone(),
            levels: Vec::new(),
        };
        let ranking = RankingBuilder::ranks(&self.model, spot)
            .map_err(|error| Refusal::Error(failure(ErrorCode::Spot, error)))?;
        Ok((facts, ranking))
    }

    fn levels(&self, bytes: Vec<u8>) -> Result<(SpotFacts, RankingBuilder), Refusal> {
        let levels = Levels::open(bytes)?;
        let shapes: Vec<(String, Vec<u64>)> = self
            .model
            .layout()
            .tensors()
            .iter()
            .map(|spec| (spec.name.clone(), spec.shape.iter().map(|&d| d as u64).collect()))
            .collect();
        levels
            .check(&self.fingerprint, shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))?;
        let header = levels.header();
        let facts = SpotFacts {
            scope: header.scope.clone(),
            parameters_in_scope: header.parameters_in_scope,
            len: header.levels.last().copied().unwrap_or(0),
            max_k: header.max_k,
            languages: header.languages.clone(),
            levels: Vec::new(),
        };
        let mut ranking = RankingBuilder::levels(&self.model);
        for level in 0..levels.len() {
            for segment in levels.level(level) {
                ranking
                    .push(&self.model, segment.tensor, &segment.offsets)
                    .map_err(|error| Refusal::Error(failure(ErrorCode::Spot, error)))?;
            }
            ranking.end_level(&self.model);
        }
        Ok((facts, ranking))
    }
}

//! Weights as they are stored, converted to f32 when they are needed.

use codingspot_core::checkpoint::{CheckpointError, SourceError, TensorSource};
use codingspot_core::layout::ParameterLayout;
use codingspot_core::score::WeightReader;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Elements that one thread converts at a time.
const PIECE: usize = 1 << 18;

/// A checkpoint whose tensors are looked up by their index in the layout.
pub(crate) struct StoredWeights {
    source: Box<dyn Fn(usize, Range<u64>) -> Result<Vec<f32>, CheckpointError> + Send + Sync>,
    layout: ParameterLayout,
}

impl std::fmt::Debug for StoredWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredWeights").field("tensors", &self.layout.tensors().len()).finish()
    }
}

impl StoredWeights {
    /// Over a checkpoint that was checked to have every tensor of `layout`.
    pub(crate) fn new<S>(source: Arc<S>, layout: &ParameterLayout) -> Result<Self, CheckpointError>
    where
        S: TensorSource + Send + Sync + 'static,
    {
        let places = layout
            .tensors()
            .iter()
            .map(|spec| {
                source
                    .tensors()
                    .iter()
                    .position(|info| info.name == spec.name && info.shape == spec.shape)
                    .ok_or_else(|| CheckpointError::MissingTensor {
                        name: spec.name.clone(),
                        expected: spec.shape.clone(),
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let read = move |tensor: usize, range: Range<u64>| {
            let stored = places[tensor];
            let info = &source.tensors()[stored];
            let size = info.dtype.size_bytes();
            let bytes = pollster::block_on(source.read(stored, range.start * size..range.end * size))?;
            let mut values = vec![0.0_f32; usize::try_from(range.end - range.start).unwrap_or(0)];
            let piece_bytes = PIECE * usize::try_from(size).unwrap_or(4);
            let bad = values
                .par_chunks_mut(PIECE)
                .zip(bytes.par_chunks(piece_bytes))
                .enumerate()
                .filter_map(|(piece, (values, bytes))| {
                    info.dtype.convert(bytes, values);
                    let bad = values.iter().position(|value| !value.is_finite())?;
                    Some(range.start + (piece * PIECE + bad) as u64)
                })
                .min();
            match bad {
                Some(offset) => Err(CheckpointError::NonFinite { name: info.name.clone(), offset }),
                None => Ok(values),
            }
        };
        Ok(Self { source: Box::new(read), layout: layout.clone() })
    }

    /// Elements `range` of a tensor, f32.
    pub(crate) fn read(&self, tensor: usize, range: Range<u64>) -> Result<Vec<f32>, CheckpointError> {
        (self.source)(tensor, range)
    }
}

/// Reads ahead on a thread of its own while the device computes.
#[derive(Debug)]
pub(crate) struct PrefetchReader {
    weights: Arc<StoredWeights>,
    ahead: Option<(Vec<usize>, JoinHandle<Result<HashMap<usize, Vec<f32>>, CheckpointError>>)>,
    ready: HashMap<usize, Vec<f32>>,
}

impl PrefetchReader {
    pub(crate) fn new(weights: Arc<StoredWeights>) -> Self {
        Self { weights, ahead: None, ready: HashMap::new() }
    }
}

impl WeightReader for PrefetchReader {
    fn read(&mut self, tensor: usize, range: Range<u64>) -> Result<Vec<f32>, CheckpointError> {
        if self.ahead.as_ref().is_some_and(|(tensors, _)| tensors.contains(&tensor))
            && let Some((_, thread)) = self.ahead.take()
        {
            self.ready = thread.join().map_err(|_| SourceError {
                file: self.weights.layout.tensors()[tensor].name.clone(),
                reason: "the thread that reads ahead failed".to_owned(),
            })??;
        }
        let whole = range == (0..self.weights.layout.tensors()[tensor].numel());
        match self.ready.remove(&tensor) {
            Some(values) if whole => Ok(values),
            _ => self.weights.read(tensor, range),
        }
    }

    fn upcoming(&mut self, tensors: &[usize]) {
        self.ready.clear();
        let wanted = tensors.to_vec();
        let weights = Arc::clone(&self.weights);
        let thread = std::thread::spawn(move || {
            let read = |tensor: &usize| {
                let numel = weights.layout.tensors()[*tensor].numel();
                Ok((*tensor, weights.read(*tensor, 0..numel)?))
            };
            wanted.iter().map(read).collect()
        });
        self.ahead = Some((tensors.to_vec(), thread));
    }
}

//! Where sums over gradients live between batches.

use super::ScoreError;
use crate::kernels::sums::{Reduction, accumulate};
use crate::layout::{ParameterLayout, TensorSpec};
use crate::llama::read_f32;
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;

/// Names one buffer of sums: a tensor, or a band of rows of a vocabulary matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SumKey {
    /// What is summed.
    pub reduction: Reduction,
    /// Index in the layout.
    pub tensor: usize,
    /// Band of rows, counted from 0.
    pub band: usize,
    /// Which part of the gradient.
    pub part: SumPart,
}

/// Parts of a gradient that are summed by themselves, so that the order of additions does not
/// depend on how many batches a pass takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SumPart {
    /// All of it, or all but the next.
    Main,
    /// Of an embedding that is the head too: what flows through lookups, with the head's part of the
    /// same rows where gradients are formed by themselves.
    Lookup,
}

impl SumKey {
    /// The main part of a buffer.
    pub fn main(reduction: Reduction, tensor: usize, band: usize) -> Self {
        Self { reduction, tensor, band, part: SumPart::Main }
    }

    /// The part of it that flows through lookups.
    #[must_use]
    pub fn lookup(self) -> Self {
        Self { part: SumPart::Lookup, ..self }
    }
}

/// Rows of each band of a tensor: one band, but for vocabulary matrices. A vector is one row.
pub fn bands(spec: &TensorSpec) -> Vec<Range<usize>> {
    match *spec.shape.as_slice() {
        [rows, cols] if spec.module.is_vocabulary() => {
            let step = crate::llama::vocabulary_rows_per_band(cols);
            (0..rows).step_by(step).map(|start| start..rows.min(start + step)).collect()
        }
        [rows, _] => vec![0..rows; 1],
        _ => vec![0..1; 1],
    }
}

/// Elements of a band.
pub fn band_elements(spec: &TensorSpec, band: usize) -> Range<u64> {
    let cols = spec.shape.last().copied().unwrap_or(0) as u64;
    let rows = bands(spec)[band].clone();
    rows.start as u64 * cols..rows.end as u64 * cols
}

/// Adds the sums of lookups to the main ones.
pub fn add_parts(main: &mut [f32], lookups: &[f32]) {
    main.iter_mut().zip(lookups).for_each(|(main, lookup)| *main += lookup);
}

/// Sums in host memory or files, which a caller provides when a device can't hold them all.
///
/// In one pass over a model every buffer is loaded and stored at least once; the last store of a
/// pass says so.
pub trait HostSums {
    /// The sums so far; `None` when there are none yet (all zero).
    ///
    /// # Errors
    /// When they can't be read.
    fn load(&mut self, key: SumKey) -> Result<Option<Vec<f32>>, Box<dyn Error + Send + Sync>>;

    /// Takes sums; `last` when the pass won't touch them again.
    ///
    /// # Errors
    /// When they can't be kept.
    fn store(&mut self, key: SumKey, sums: Vec<f32>, last: bool) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// The pass won't touch a buffer again that was stored before; its lookups, if it has any, were
    /// stored too.
    ///
    /// # Errors
    /// When they can't be kept.
    fn complete(&mut self, key: SumKey) -> Result<(), Box<dyn Error + Send + Sync>>;
}

enum Home<'a> {
    Device(BTreeMap<SumKey, Tensor<2>>),
    Host(&'a mut dyn HostSums),
    Steps(Steps),
}

/// Gradients of one step of fine-tuning, and the sums that they go to once they are complete.
#[derive(Default)]
struct Steps {
    reductions: Vec<Reduction>,
    sums: BTreeMap<SumKey, Tensor<2>>,
    open: BTreeMap<SumKey, Tensor<2>>,
    complete: Vec<(SumKey, Tensor<2>)>,
}

impl Steps {
    /// The gradient named `key` has all its parts.
    fn close(&mut self, key: SumKey, gradient: Tensor<2>) {
        let gradient = match self.open.remove(&key.lookup()) {
            Some(lookups) => gradient + lookups,
            None => gradient,
        };
        for &reduction in &self.reductions {
            let key = SumKey { reduction, ..key };
            let sum = self.sums.remove(&key).unwrap_or_else(|| gradient.zeros_like());
            self.sums.insert(key, accumulate(reduction, sum, &gradient));
        }
        self.complete.push((key, gradient));
    }
}

/// The sums of one language.
pub struct Sums<'a> {
    home: Home<'a>,
    device: Device,
}

impl std::fmt::Debug for Sums<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let home = match &self.home {
            Home::Device(sums) => format!("{} buffers on the device", sums.len()),
            Home::Host(_) => "host".to_owned(),
            Home::Steps(steps) => format!("{} buffers along fine-tuning", steps.sums.len()),
        };
        f.debug_struct("Sums").field("home", &home).finish_non_exhaustive()
    }
}

impl<'a> Sums<'a> {
    /// Zeros that stay on the device.
    pub fn on_device(device: &Device) -> Self {
        Self { home: Home::Device(BTreeMap::new()), device: device.clone() }
    }

    /// Sums that visit the device one block at a time.
    pub fn on_host(device: &Device, host: &'a mut dyn HostSums) -> Self {
        Self { home: Home::Host(host), device: device.clone() }
    }

    /// Zeros that stay on the device and are added to along fine-tuning: each pass is a step.
    pub fn along_steps(device: &Device, reductions: &[Reduction]) -> Self {
        let steps = Steps { reductions: reductions.to_vec(), ..Steps::default() };
        Self { home: Home::Steps(steps), device: device.clone() }
    }

    /// Gradients of the step that became complete since the last call.
    pub(super) fn take_complete(&mut self) -> Vec<(SumKey, Tensor<2>)> {
        match &mut self.home {
            Home::Steps(steps) => std::mem::take(&mut steps.complete),
            Home::Device(_) | Home::Host(_) => Vec::new(),
        }
    }

    /// What was summed on the device, parts added up, in the order of keys, as `[rows, cols]`.
    pub(crate) fn into_gradients(self) -> Vec<(SumKey, Tensor<2>)> {
        let Home::Device(mut sums) = self.home else { return Vec::new() };
        let keys: Vec<SumKey> = sums.keys().copied().filter(|key| key.part == SumPart::Main).collect();
        keys.into_iter()
            .filter_map(|key| {
                let main = sums.remove(&key)?;
                Some((
                    key,
                    match sums.remove(&key.lookup()) {
                        Some(lookups) => accumulate(Reduction::Signed, main, &lookups),
                        None => main,
                    },
                ))
            })
            .collect()
    }

    /// Takes a buffer out, `[rows, cols]`, f32.
    pub(super) fn take(&mut self, key: SumKey, shape: [usize; 2]) -> Result<Tensor<2>, ScoreError> {
        let found = match &mut self.home {
            Home::Device(sums) => sums.remove(&key),
            Home::Steps(steps) => steps.open.remove(&key),
            Home::Host(host) => host
                .load(key)
                .map_err(ScoreError::Sums)?
                .map(|values| Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32))),
        };
        Ok(found.unwrap_or_else(|| Tensor::zeros(shape, (&self.device, DType::F32))))
    }

    /// Puts a buffer back.
    pub(super) async fn put(&mut self, key: SumKey, sum: Tensor<2>, last: bool) -> Result<(), ScoreError> {
        match &mut self.home {
            Home::Device(sums) => {
                sums.insert(key, sum);
                Ok(())
            }
            Home::Steps(steps) => {
                if last {
                    steps.close(key, sum);
                } else {
                    steps.open.insert(key, sum);
                }
                Ok(())
            }
            Home::Host(host) => host.store(key, read_f32(sum).await?, last).map_err(ScoreError::Sums),
        }
    }

    /// Says that a buffer is complete for this pass.
    pub(super) fn complete(&mut self, key: SumKey) -> Result<(), ScoreError> {
        match &mut self.home {
            Home::Device(_) => Ok(()),
            Home::Steps(steps) => {
                if let Some(gradient) = steps.open.remove(&key) {
                    steps.close(key, gradient);
                }
                Ok(())
            }
            Home::Host(host) => host.complete(key).map_err(ScoreError::Sums),
        }
    }

    /// Copies every buffer that is on the device to the host, its parts added up, in the order of
    /// keys.
    ///
    /// # Errors
    /// [`ScoreError::Forward`] when the device fails, or what `sink` returns.
    pub async fn read_whole<E: From<ScoreError>>(
        &self,
        mut sink: impl AsyncFnMut(SumKey, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Home::Device(sums) | Home::Steps(Steps { sums, .. }) = &self.home {
            for (key, sum) in sums.iter().filter(|(key, _)| key.part == SumPart::Main) {
                let mut values = read_f32(sum.clone()).await.map_err(ScoreError::from)?;
                if let Some(lookups) = sums.get(&key.lookup()) {
                    let lookups = read_f32(lookups.clone()).await.map_err(ScoreError::from)?;
                    add_parts(&mut values, &lookups);
                }
                sink(*key, values).await?;
            }
        }
        Ok(())
    }

    /// Copies every buffer that is on the device to the host, parts by themselves, in the order of
    /// keys.
    ///
    /// # Errors
    /// [`ScoreError::Forward`] when the device fails, or what `sink` returns.
    pub async fn read_device<E: From<ScoreError>>(
        &self,
        mut sink: impl FnMut(SumKey, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Home::Device(sums) = &self.home {
            for (key, sum) in sums {
                let values = read_f32(sum.clone()).await.map_err(ScoreError::from)?;
                sink(*key, values)?;
            }
        }
        Ok(())
    }

    /// Sets a buffer that stays on the device, from what [`Self::read_device`] gave before.
    ///
    /// # Panics
    /// When `values` has another length than the buffer.
    pub fn restore(&mut self, layout: &ParameterLayout, key: SumKey, values: Vec<f32>) {
        let spec = &layout.tensors()[key.tensor];
        let cols = spec.shape.last().copied().unwrap_or(0);
        let rows = bands(spec)[key.band].len();
        if let Home::Device(sums) = &mut self.home {
            let data = TensorData::new(values, [rows, cols]);
            sums.insert(key, Tensor::from_data(data, (&self.device, DType::F32)));
        }
    }
}

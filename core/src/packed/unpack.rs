//! Back to a plain model, for what needs float weights.

use super::{PackedError, PackedLlama};
use crate::kernels::packed::Compute;
use crate::llama::vocabulary_rows_per_band;
use crate::llama::{Llama, LlamaParts, Weight};
use burn::tensor::Device;
use codingspot_pack::{BLOCK, unpack_rows};

impl<C: Compute> PackedLlama<C> {
    /// The same model with f32 weights on `device`, decoded from what is on now: nothing should be off. Host memory holds
    /// one buffer, packed and unpacked.
    ///
    /// # Errors
    /// [`PackedError::Device`].
    pub async fn unpack(&self, device: &Device) -> Result<Llama, PackedError> {
        let mut parts = LlamaParts::new(self.config(), self.layout());
        for (tensor, spec) in self.layout().tensors().iter().enumerate() {
            let (matrix, cols) = match *spec.shape.as_slice() {
                [_, cols] => (true, cols),
                _ => (false, spec.shape.iter().product()),
            };
            let mut values: Vec<f32> = Vec::new();
            for part in &self.places.parts[self.places.of(tensor)] {
                let words = self.compute().read(self.words(part.slot)).await?;
                let scales = match self.scales(part.slot) {
                    Some(scales) if part.encoding.has_scales() => self.compute().read(scales).await?,
                    _ => Vec::new(),
                };
                let len = usize::try_from(part.len).unwrap_or(usize::MAX);
                let per_word = part.encoding.per_word();
                let words = &words[part.base / per_word..(part.base + len) / per_word];
                // Parts begin at whole scale words.
                let first = if part.encoding.has_scales() { part.base / BLOCK / 2 } else { 0 };
                let width = if matrix { cols } else { 1 };
                values.extend(unpack_rows(words, &scales[first.min(scales.len())..], width, part.encoding));
            }
            if spec.module.is_vocabulary() {
                let rows = vocabulary_rows_per_band(cols);
                for band in values.chunks(rows * cols) {
                    parts.push(tensor, Weight::upload(band.to_vec(), Some(band.len() / cols), cols, device));
                }
            } else {
                let rows = matrix.then(|| spec.shape[0]);
                parts.push(tensor, Weight::upload(values, rows, cols, device));
            }
        }
        Ok(parts.assemble(device))
    }
}

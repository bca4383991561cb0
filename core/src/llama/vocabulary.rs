//! The embedding and the output head: one matrix, cut by rows into buffers that every GPU binds.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Largest buffer of a band, bytes: WebGPU's default `maxStorageBufferBindingSize`.
const MAX_BAND_BYTES: usize = 128 << 20;

/// Rows of a band of a matrix with `cols` columns of f32.
pub(crate) fn rows_per_band(cols: usize) -> usize {
    (MAX_BAND_BYTES / (4 * cols)).max(1)
}

/// `[vocab, hidden]`, held as bands of whole rows.
#[derive(Debug, Clone)]
pub struct VocabularyMatrix {
    bands: Vec<Tensor<2>>,
}

impl VocabularyMatrix {
    /// From bands in order; every band but the last has the same number of rows.
    pub(crate) fn new(bands: Vec<Tensor<2>>) -> Self {
        Self { bands }
    }

    /// The bands in order, each `[rows, hidden]`.
    pub fn bands(&self) -> &[Tensor<2>] {
        &self.bands
    }

    /// The bands with the offset of their first element and their number of elements.
    pub(crate) fn bands_mut(&mut self) -> impl Iterator<Item = (&mut Tensor<2>, u64, u64)> {
        let mut start = 0;
        self.bands.iter_mut().map(move |band| {
            let [rows, cols] = band.dims();
            let len = rows as u64 * cols as u64;
            start += len;
            (band, start - len, len)
        })
    }

    /// The same matrix with `f` applied to each band.
    pub(crate) fn map(&self, f: impl FnMut(&Tensor<2>) -> Tensor<2>) -> Self {
        Self { bands: self.bands.iter().map(f).collect() }
    }

    /// Rows `ids` as `[n, hidden]`. `ids` are host-side so that each band is asked for its own
    /// rows only.
    pub fn lookup(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        let upload = |ids: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::from(ids.as_slice()), device);
        let signed = |id: u32| i32::try_from(id).expect("a token is below 2^24");
        if let [only] = self.bands.as_slice() {
            return only.clone().select(0, upload(ids.iter().map(|&id| signed(id)).collect()));
        }
        // Each band gives its rows and zeros elsewhere; the sum is the lookup, and differentiable.
        let mut start = 0;
        let mut sum: Option<Tensor<2>> = None;
        for band in &self.bands {
            let rows = u32::try_from(band.dims()[0]).expect("a vocabulary is below 2^24");
            let inside = |id: u32| id >= start && id < start + rows;
            if ids.iter().any(|&id| inside(id)) {
                let local = ids.iter().map(|&id| if inside(id) { signed(id - start) } else { 0 });
                let keep: Vec<f32> = ids.iter().map(|&id| f32::from(u8::from(inside(id)))).collect();
                let keep = Tensor::<1>::from_data(TensorData::from(keep.as_slice()), (device, DType::F32));
                let rows = band.clone().select(0, upload(local.collect())) * keep.unsqueeze_dim(1);
                sum = Some(match sum {
                    Some(sum) => sum + rows,
                    None => rows,
                });
            }
            start += rows;
        }
        sum.expect("every token is below vocab_size")
    }

    /// Logits `[n, vocab]` of `hidden` `[n, hidden]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let mut logits: Vec<Tensor<2>> =
            self.bands.iter().map(|band| hidden.clone().matmul(band.clone().transpose())).collect();
        if logits.len() == 1 { logits.remove(0) } else { Tensor::cat(logits, 1) }
    }
}

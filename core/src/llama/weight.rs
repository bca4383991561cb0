//! One named tensor of the model, on the device.

use super::VocabularyMatrix;
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData};

/// An owned weight, or one band of a vocabulary matrix while loading.
#[derive(Debug, Clone)]
pub enum Weight {
    /// A norm's gain, `[hidden]`, or a bias, `[d_output]`.
    Vector(Tensor<1>),
    /// A projection, `[d_output, d_input]`, or a band of vocabulary rows.
    Matrix(Tensor<2>),
}

impl Weight {
    /// Uploads `values` as a matrix of `rows` rows, or as a vector when `rows` is `None`; f32.
    pub(crate) fn upload(values: Vec<f32>, rows: Option<usize>, cols: usize, device: &Device) -> Self {
        match rows {
            Some(rows) => {
                Self::Matrix(Tensor::from_data(TensorData::new(values, [rows, cols]), (device, DType::F32)))
            }
            None => Self::Vector(Tensor::from_data(TensorData::new(values, [cols]), (device, DType::F32))),
        }
    }
}

/// A weight of a model, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum WeightRef<'a> {
    /// A norm's gain, `[hidden]`, or a bias, `[d_output]`.
    Vector(&'a Tensor<1>),
    /// A projection, `[d_output, d_input]`.
    Matrix(&'a Tensor<2>),
    /// The embedding or the head, `[vocab, hidden]` in bands of rows.
    Vocabulary(&'a VocabularyMatrix),
}

impl WeightRef<'_> {
    /// The weight as flat pieces in order, each `[rows · cols]` (one, but for a banded vocabulary).
    pub fn flat_pieces(&self) -> Vec<Tensor<1>> {
        match self {
            Self::Vector(tensor) => vec![(*tensor).clone()],
            Self::Matrix(tensor) => vec![flat(tensor)],
            Self::Vocabulary(matrix) => matrix.bands().iter().map(flat).collect(),
        }
    }
}

fn flat(tensor: &Tensor<2>) -> Tensor<1> {
    let [rows, cols] = tensor.dims();
    tensor.clone().reshape([rows * cols])
}

/// A weight of a model, borrowed to edit it.
#[derive(Debug)]
pub enum WeightMut<'a> {
    /// A norm's gain, `[hidden]`, or a bias, `[d_output]`.
    Vector(&'a mut Tensor<1>),
    /// A projection, `[d_output, d_input]`.
    Matrix(&'a mut Tensor<2>),
    /// The embedding or the head, `[vocab, hidden]` in bands of rows.
    Vocabulary(&'a mut VocabularyMatrix),
}

impl WeightMut<'_> {
    /// Sets the elements at `offsets` (row-major, unique, inside the tensor) to `values`.
    ///
    /// Only these elements move: on a GPU the buffer is written in place.
    pub(crate) fn assign(&mut self, offsets: &[u32], values: &[f32]) {
        debug_assert_eq!(offsets.len(), values.len());
        match self {
            Self::Vector(tensor) => {
                tensor.inplace(|tensor| assign_flat(tensor, offsets, values));
            }
            Self::Matrix(tensor) => assign_matrix(tensor, offsets, values),
            Self::Vocabulary(matrix) => {
                for (band, start, len) in matrix.bands_mut() {
                    let (inside, values): (Vec<u32>, Vec<f32>) = offsets
                        .iter()
                        .zip(values)
                        .filter(|(offset, _)| (start..start + len).contains(&u64::from(**offset)))
                        .map(|(offset, value)| {
                            (u32::try_from(u64::from(*offset) - start).expect("below the offset"), *value)
                        })
                        .unzip();
                    if !inside.is_empty() {
                        assign_matrix(band, &inside, &values);
                    }
                }
            }
        }
    }
}

fn assign_matrix(tensor: &mut Tensor<2>, offsets: &[u32], values: &[f32]) {
    let [rows, cols] = tensor.dims();
    tensor
        .inplace(|tensor| assign_flat(tensor.reshape([rows * cols]), offsets, values).reshape([rows, cols]));
}

fn assign_flat(tensor: Tensor<1>, offsets: &[u32], values: &[f32]) -> Tensor<1> {
    let device = tensor.device();
    let indices = index_tensor(offsets, &device).reshape([offsets.len(), 1]);
    let values = Tensor::<1>::from_data(TensorData::from(values), (&device, DType::F32));
    tensor.scatter_nd(indices, values, IndexingUpdateOp::Assign)
}

/// Values at `offsets` of a flat tensor, on the device.
pub(crate) fn gather_flat(tensor: Tensor<1>, offsets: &[u32]) -> Tensor<1> {
    let device = tensor.device();
    tensor.select(0, index_tensor(offsets, &device))
}

fn index_tensor(offsets: &[u32], device: &Device) -> Tensor<1, Int> {
    // Offsets stay below 2³¹: the largest tensor of an 8B Llama has 5.3·10⁸ elements.
    let offsets: Vec<i32> =
        offsets.iter().map(|&offset| i32::try_from(offset).expect("offset below 2^31")).collect();
    Tensor::from_data(TensorData::from(offsets.as_slice()), device)
}

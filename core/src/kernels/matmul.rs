//! Matrix products, in the three forms that a linear layer's forward and backward pass need.
//!
//! Weights may be held in f16 or bf16: then the other operand is rounded to that too, devices add up in
//! f32 inside the product, and the result is f32 again.
//!
//! On the CPU they go to the gemm crate, as burn's own do, or in bf16 to a product of our own
//! (`kernels/bf16.rs`), and the sums are added to in place: a gradient of the model's size never exists
//! beside its sum.

use burn::tensor::{DType, Tensor};

#[cfg(feature = "flex")]
use super::bf16;
#[cfg(feature = "flex")]
use super::cpu::{self, CpuTensor};

/// `x · weightᵀ`: `[n, d_input]` and `[d_output, d_input]` → `[n, d_output]`.
pub fn product_nt(x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(a), Some((b, operands))) = (CpuTensor::view(x), cpu_weight(weight)) {
        let ([n, k], [m, _]) = (x.dims(), weight.dims());
        let a = Matrix::rows(a.as_slice(), n, k);
        let b = Matrix::rows(b.as_slice(), m, k).transposed();
        return cpu::tensor(gemm_new(a, b, operands), [n, m]);
    }
    in_type(x, weight.dtype()).matmul(weight.clone().transpose()).cast(DType::F32)
}

/// `sum + x · weightᵀ`, for what flows past a layer; shapes as [`product_nt`].
pub fn add_product_nt(sum: &Tensor<2>, x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(sum), Some(a), Some((b, operands))) =
        (CpuTensor::view(sum), CpuTensor::view(x), cpu_weight(weight))
    {
        let ([n, k], [m, _]) = (x.dims(), weight.dims());
        let mut out = cpu::copy(sum.as_slice());
        let a = Matrix::rows(a.as_slice(), n, k);
        gemm_add(&mut out, a, Matrix::rows(b.as_slice(), m, k).transposed(), operands);
        return cpu::tensor(out, [n, m]);
    }
    product_nt(x, weight) + sum.clone()
}

/// `y · weight`: `[n, d_output]` and `[d_output, d_input]` → `[n, d_input]`.
pub fn product_nn(y: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(a), Some((b, operands))) = (CpuTensor::view(y), cpu_weight(weight)) {
        let ([n, m], [_, k]) = (y.dims(), weight.dims());
        let product = gemm_new(Matrix::rows(a.as_slice(), n, m), Matrix::rows(b.as_slice(), m, k), operands);
        return cpu::tensor(product, [n, k]);
    }
    in_type(y, weight.dtype()).matmul(weight.clone()).cast(DType::F32)
}

/// Whether this CPU has instructions that multiply bf16, which makes products faster than in f32.
pub fn multiplies_bf16() -> bool {
    #[cfg(feature = "flex")]
    {
        bf16::available()
    }
    #[cfg(not(feature = "flex"))]
    {
        false
    }
}

fn in_type(x: &Tensor<2>, dtype: DType) -> Tensor<2> {
    x.clone().cast(dtype)
}

/// `sum + y · weight`, in place where nothing else holds `sum`; shapes as [`product_nn`].
pub fn add_product_nn(sum: Tensor<2>, y: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let sum = match (CpuTensor::take(sum), CpuTensor::view(y), cpu_weight(weight)) {
        (Ok(mut sum), Some(a), Some((b, operands))) => {
            let ([n, m], [_, k]) = (y.dims(), weight.dims());
            let (a, b) = (Matrix::rows(a.as_slice(), n, m), Matrix::rows(b.as_slice(), m, k));
            gemm_add(sum.as_mut_slice(), a, b, operands);
            return sum.into_tensor();
        }
        (Ok(sum), ..) => sum.into_tensor(),
        (Err(sum), ..) => sum,
    };
    sum + product_nn(y, weight)
}

/// `yᵀ · x`: `[n, d_output]` and `[n, d_input]` → `[d_output, d_input]`, a weight's gradient.
pub fn product_tn(y: &Tensor<2>, x: &Tensor<2>) -> Tensor<2> {
    product_tn_in(y, x, DType::F32)
}

/// [`product_tn`] of operands rounded to `dtype`, the result f32.
pub fn product_tn_in(y: &Tensor<2>, x: &Tensor<2>, dtype: DType) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let (Some(a), Some(b), Some(operands)) = (CpuTensor::view(y), CpuTensor::view(x), Operands::of(dtype))
    {
        let ([n, m], [_, k]) = (y.dims(), x.dims());
        let a = Matrix::rows(a.as_slice(), n, m).transposed();
        return cpu::tensor(gemm_new(a, Matrix::rows(b.as_slice(), n, k), operands), [m, k]);
    }
    in_type(y, dtype).transpose().matmul(in_type(x, dtype)).cast(DType::F32)
}

/// `sum + yᵀ · x`, in place where nothing else holds `sum`; shapes as [`product_tn`].
pub fn add_product_tn(sum: Tensor<2>, y: &Tensor<2>, x: &Tensor<2>) -> Tensor<2> {
    add_product_tn_in(sum, y, x, DType::F32)
}

/// [`add_product_tn`] of operands rounded to `dtype`.
pub fn add_product_tn_in(sum: Tensor<2>, y: &Tensor<2>, x: &Tensor<2>, dtype: DType) -> Tensor<2> {
    #[cfg(feature = "flex")]
    let sum = match (CpuTensor::take(sum), CpuTensor::view(y), CpuTensor::view(x), Operands::of(dtype)) {
        (Ok(mut sum), Some(a), Some(b), Some(operands)) => {
            let ([n, m], [_, k]) = (y.dims(), x.dims());
            let a = Matrix::rows(a.as_slice(), n, m).transposed();
            gemm_add(sum.as_mut_slice(), a, Matrix::rows(b.as_slice(), n, k), operands);
            return sum.into_tensor();
        }
        (Ok(sum), ..) => sum.into_tensor(),
        (Err(sum), ..) => sum,
    };
    sum + product_tn_in(y, x, dtype)
}

/// What the operands of a product on the CPU are rounded to.
#[cfg(feature = "flex")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operands {
    F32,
    Bf16,
}

#[cfg(feature = "flex")]
impl Operands {
    /// `None` for types that the CPU has no product of here.
    fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }
}

/// A weight on the CPU as f32, which holds every bf16, and what it is multiplied in.
#[cfg(feature = "flex")]
fn cpu_weight(weight: &Tensor<2>) -> Option<(CpuTensor, Operands)> {
    let operands = Operands::of(weight.dtype())?;
    let weight = match operands {
        Operands::F32 => CpuTensor::view(weight)?,
        Operands::Bf16 => CpuTensor::view(&weight.clone().cast(DType::F32))?,
    };
    Some((weight, operands))
}

/// A matrix in memory, with strides.
#[cfg(feature = "flex")]
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

#[cfg(feature = "flex")]
impl<'a> Matrix<'a> {
    /// Whole rows, one after the other.
    pub(super) fn rows(values: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(values, rows, cols, cols)
    }

    /// Rows that begin `row_stride` elements apart.
    ///
    /// # Panics
    /// When `values` ends before the last row does.
    pub(super) fn strided(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let last = rows.saturating_sub(1) * row_stride + cols;
        assert!(rows == 0 || values.len() >= last, "a matrix of {last} elements, found {}", values.len());
        Self { values, rows, cols, row_stride, col_stride: 1 }
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `a · b` as new rows.
#[cfg(feature = "flex")]
fn gemm_new(a: Matrix<'_>, b: Matrix<'_>, operands: Operands) -> Vec<f32> {
    let mut out = Vec::with_capacity(a.rows * b.cols);
    if a.cols == 0 {
        out.resize(a.rows * b.cols, 0.0);
        return out;
    }
    #[expect(unsafe_code, reason = "zeroing what the product overwrites costs a pass over memory")]
    // SAFETY: the capacity is rows · cols; without reading, the product writes each of them.
    unsafe {
        gemm_all(out.as_mut_ptr(), b.cols, a, b, operands, false);
        out.set_len(a.rows * b.cols);
    }
    out
}

/// `out + a · b` in place, on all threads.
#[cfg(feature = "flex")]
fn gemm_add(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, operands: Operands) {
    assert_eq!(out.len(), a.rows * b.cols, "the sum has another shape than the product");
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: the length was just checked.
    unsafe {
        gemm_all(out.as_mut_ptr(), b.cols, a, b, operands, true);
    }
}

/// `a · b` into rows of `out` that begin `row_stride` apart (added to what is there if `add`), on
/// this thread.
#[cfg(feature = "flex")]
pub(super) fn gemm_into(out: &mut [f32], row_stride: usize, a: Matrix<'_>, b: Matrix<'_>, add: bool) {
    let last = a.rows.saturating_sub(1) * row_stride + b.cols;
    assert!(a.rows == 0 || (out.len() >= last && row_stride >= b.cols), "the product does not fit");
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: the last row ends inside `out`, and rows don't overlap.
    unsafe {
        gemm_raw(out.as_mut_ptr(), row_stride, a, b, add, false);
    }
}

/// As [`gemm_raw`] on all threads, in the type of `operands`.
///
/// # Safety
/// As there.
#[cfg(feature = "flex")]
#[expect(unsafe_code, reason = "gemm takes pointers")]
unsafe fn gemm_all(
    out: *mut f32,
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    operands: Operands,
    add: bool,
) {
    let (left, right);
    let (a, b) = match operands {
        Operands::F32 => (a, b),
        Operands::Bf16 if bf16::available() => {
            // SAFETY: the caller answers for `out`.
            return unsafe { bf16::product(out, row_stride, a, b, add, true) };
        }
        Operands::Bf16 => {
            (left, right) = (bf16::rounded(a.values), bf16::rounded(b.values));
            (Matrix { values: &left, ..a }, Matrix { values: &right, ..b })
        }
    };
    // SAFETY: the caller answers for `out`.
    unsafe { gemm_raw(out, row_stride, a, b, add, true) }
}

/// # Safety
/// `out` must have room for `a.rows` rows of `b.cols` elements, `row_stride` apart, and hold
/// numbers already if `add`.
#[cfg(feature = "flex")]
#[expect(unsafe_code, reason = "gemm takes pointers")]
unsafe fn gemm_raw(
    out: *mut f32,
    row_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    add: bool,
    parallel: bool,
) {
    assert_eq!(a.cols, b.rows, "inner sizes differ");
    let stride = |stride: usize| isize::try_from(stride).expect("a stride of memory");
    // Below this many multiplications threads cost more than they give.
    let parallel = parallel && a.rows * a.cols * b.cols >= 1 << 21;
    let parallelism = match parallel {
        #[cfg(feature = "rayon")]
        true => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    // SAFETY: the slices of both matrices reach their last element, checked when they were made;
    // the caller answers for `out`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            stride(row_stride),
            add,
            a.values.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.values.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

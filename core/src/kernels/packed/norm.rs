//! Root-mean-square normalisation of rows.

/// See [`super::Compute::norm`].
pub(super) fn cpu(x: &[f32], gain: &[f32], eps: f32, n: usize, width: usize, out: &mut [f32]) {
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).take(n) {
        let square: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = 1.0 / (square / width as f64 + f64::from(eps)).sqrt();
        for ((out, x), gain) in out.iter_mut().zip(row).zip(gain) {
            #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
            let normed = (f64::from(*x) * scale) as f32;
            *out = normed * gain;
        }
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use cubecl::prelude::*;

    /// One cube a row.
    #[cube(launch_unchecked)]
    pub(crate) fn kernel(
        x: &[f32],
        gain: &[f32],
        out: &mut [f32],
        eps: f32,
        #[comptime] width: usize,
        #[comptime] units: usize,
    ) {
        let row = CUBE_POS_X as usize * width;
        let unit = UNIT_POS_X as usize;
        let mut sums = Shared::<[f32]>::new_slice(units);
        let mut sum = 0.0f32;
        let mut i = unit;
        while i < width {
            let value = x[row + i];
            sum += value * value;
            i += units;
        }
        sums[unit] = sum;
        sync_cube();
        let mut total = 0.0f32;
        for other in 0..units {
            total += sums[other];
        }
        let scale = 1.0f32 / (total / comptime!(width as f32) + eps).sqrt();
        let mut i = unit;
        while i < width {
            out[row + i] = x[row + i] * scale * gain[i];
            i += units;
        }
    }
}

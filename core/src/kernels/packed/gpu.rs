//! GPUs, through CubeCL.

use super::product::gpu::Shape;
use super::{
    Attention, Codes, Compute, ComputeError, Heads, PackedMatrix, Product, attention, embedding, norm,
    product, rotary, statistics, switch,
};
use burn::backend::DispatchDevice;
use codingspot_pack::Encoding;
use cubecl::bytes::Bytes;
use cubecl::prelude::*;
use cubecl::server::Handle;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Units of a cube of the small operations.
const UNITS: usize = 64;
/// Cubes of one dimension, at most.
const MAX_CUBES: u32 = 65_535;

/// A GPU, through the client of the runtime that drives it.
#[derive(Clone)]
pub struct Gpu {
    client: Client,
    /// Lanes of a plane, where all planes have as many.
    plane: Option<usize>,
    /// Software: every unit of a cube runs on a few processors' lanes.
    software: bool,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("plane", &self.plane)
            .field("software", &self.software)
            .finish_non_exhaustive()
    }
}

/// A buffer on a GPU.
#[derive(Debug)]
pub struct GpuBuffer {
    handle: Handle,
    len: usize,
}

impl Gpu {
    /// The device of `client`. `software`: an adapter that is emulated on the CPU.
    pub fn new(client: Client, software: bool) -> Self {
        let hardware = &client.properties().hardware;
        let planes = hardware.plane_size_min == hardware.plane_size_max
            && client.features().plane.contains(cubecl::ir::features::Plane::Ops);
        let plane = planes.then_some(hardware.plane_size_min as usize).filter(|&plane| plane > 1);
        Self { client, plane, software }
    }

    /// As [`Self::new`], of a device of burn's; `None` when it is no GPU.
    pub fn of(device: &burn::tensor::Device, software: bool) -> Option<Self> {
        match device.as_dispatch() {
            DispatchDevice::Cube(device) => Some(Self::new(device.client(), software)),
            // Which others there are depends on features.
            #[allow(unreachable_patterns, reason = "with GPUs alone there is no other")]
            _ => None,
        }
    }

    /// The largest buffer that the device gives and binds, bytes.
    pub fn largest_buffer(&self) -> u64 {
        self.client.properties().memory.max_page_size
    }

    /// Binds a buffer as elements of `words` words.
    #[expect(unsafe_code, reason = "the length is the buffer's own")]
    fn bind(buffer: &GpuBuffer, words: usize) -> BufferArg {
        // SAFETY: `len` is what the handle was made with.
        unsafe { BufferArg::from_raw_parts(buffer.handle.clone(), buffer.len / words) }
    }

    /// One cube for `UNITS` of `units`.
    fn elementwise(units: usize) -> (CubeCount, CubeDim) {
        let cubes = u32::try_from(units.div_ceil(UNITS)).expect("fewer than 2^32 cubes");
        let (x, y) = if cubes <= MAX_CUBES { (cubes, 1) } else { (MAX_CUBES, cubes.div_ceil(MAX_CUBES)) };
        (CubeCount::Static(x, y, 1), CubeDim::new_1d(UNITS as u32))
    }

    /// How a product is shared out.
    fn shape(&self, encoding: Encoding, rows: usize, cols: usize, bias: bool, product: Product) -> Shape {
        let per_word = encoding.per_word();
        let step = match encoding {
            Encoding::Q8 | Encoding::Q4 => 32,
            Encoding::F16 => [8, 4, 2].into_iter().find(|step| cols % step == 0).expect("an even width"),
            Encoding::F32 => [4, 2, 1].into_iter().find(|step| cols % step == 0).expect("a multiple of 1"),
        };
        let outputs_in_all = if product.gated { rows / 2 } else { rows };
        let steps = cols / step;
        let (lanes, lines, outputs) = if self.software {
            (1, 4, if product.n == 1 && !product.gated { 2 } else { 1 })
        } else {
            let lanes = match self.plane {
                Some(plane) if plane <= 64 => plane,
                _ => 16,
            };
            (lanes.min(steps.next_power_of_two()), (64 / lanes).max(1), if product.n == 1 { 2 } else { 1 })
        };
        let planes = self.plane == Some(lanes);
        Shape {
            encoding,
            rows,
            cols,
            lanes,
            lines,
            outputs: outputs.min(outputs_in_all),
            step,
            word_vector: (step / per_word).min(4),
            x_vector: step.min(4),
            bias,
            planes,
            product,
        }
    }
}

fn word_bytes(words: &[u32]) -> Bytes {
    Bytes::from_bytes_vec(bytemuck::cast_slice(words).to_vec())
}

#[expect(
    unsafe_code,
    reason = "launches without CubeCL's own checks: every index is below what the caller sized"
)]
impl Compute for Gpu {
    type Buffer = GpuBuffer;

    fn upload(&self, words: &[u32]) -> GpuBuffer {
        GpuBuffer { handle: self.client.create(word_bytes(words)), len: words.len() }
    }

    fn reserve(&self, len: usize) -> GpuBuffer {
        GpuBuffer { handle: self.client.empty(len * 4), len }
    }

    fn write(&self, buffer: &GpuBuffer, at: usize, words: &[u32]) {
        assert!(at + words.len() <= buffer.len, "a write beyond the buffer");
        let (start, end) = (at as u64 * 4, (buffer.len - at - words.len()) as u64 * 4);
        let place = buffer.handle.clone().offset_start(start).offset_end(end);
        self.client.write(&place, word_bytes(words));
    }

    fn read(&self, buffer: &GpuBuffer) -> impl Future<Output = Result<Vec<u32>, ComputeError>> + use<> {
        let (client, handle) = (self.client.clone(), buffer.handle.clone());
        let mut read: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { client.read_async(vec![handle]).await });
        // The first poll registers the copy, so that later calls can't get before it.
        let first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        async move {
            let bytes = match first {
                Poll::Ready(bytes) => bytes,
                Poll::Pending => read.await,
            };
            let bytes = bytes.map_err(|error| ComputeError(error.to_string()))?;
            let bytes = bytes.first().ok_or_else(|| ComputeError("nothing was read".to_owned()))?;
            Ok(bytemuck::pod_collect_to_vec(bytes))
        }
    }

    fn flush(&self) {
        // A failure stays with the buffers that it spoiled: reading them tells.
        drop(self.client.flush());
    }

    fn embed(
        &self,
        band: &PackedMatrix<GpuBuffer>,
        first_row: usize,
        tokens: &GpuBuffer,
        n: usize,
        out: &GpuBuffer,
    ) {
        let (count, dim) = Self::elementwise(n * band.cols / band.encoding.per_word());
        // SAFETY: units beyond `n` rows do nothing; an id outside of the band reads no word of it; `tokens` has `n` ids and
        // `out` `n` rows, as `Compute::embed` says.
        unsafe {
            embedding::gpu::kernel::launch_unchecked(
                &self.client,
                count,
                dim,
                Self::bind(&band.words, 1),
                Self::bind(&band.scales, 1),
                Self::bind(tokens, 1),
                Self::bind(out, 1),
                band.encoding,
                band.cols,
                u32::try_from(band.rows).expect("a vocabulary is below 2^24"),
                u32::try_from(first_row).expect("a vocabulary is below 2^24"),
                n,
            );
        }
    }

    fn norm(&self, x: &GpuBuffer, gain: &GpuBuffer, eps: f32, n: usize, width: usize, out: &GpuBuffer) {
        // SAFETY: a cube stays in its row, columns stay below `width`, and `x`, `gain` and `out` have as many.
        unsafe {
            norm::gpu::kernel::launch_unchecked(
                &self.client,
                CubeCount::Static(n as u32, 1, 1),
                CubeDim::new_1d(UNITS as u32),
                Self::bind(x, 1),
                Self::bind(gain, 1),
                Self::bind(out, 1),
                eps,
                width,
                UNITS,
            );
        }
    }

    fn product(
        &self,
        matrix: &PackedMatrix<GpuBuffer>,
        bias: Option<&GpuBuffer>,
        x: &GpuBuffer,
        product: Product,
        out: &GpuBuffer,
    ) {
        let shape = self.shape(matrix.encoding, matrix.rows, matrix.cols, bias.is_some(), product);
        let cubes = shape.outputs_in_all().div_ceil(shape.lines * shape.outputs);
        // SAFETY: rows beyond the last are computed as the last and not written; `shape` is that of the matrix, whose words
        // and scales were sized by it, and `x` and `out` have the rows of `product`. Without a bias none is read.
        unsafe {
            product::gpu::kernel::launch_unchecked(
                &self.client,
                CubeCount::Static(u32::try_from(cubes).expect("fewer than 2^32 cubes"), 1, 1),
                CubeDim::new_2d(shape.lanes as u32, shape.lines as u32),
                shape.word_vector,
                shape.x_vector,
                Self::bind(&matrix.words, shape.word_vector),
                Self::bind(&matrix.scales, 1),
                Self::bind(bias.unwrap_or(&matrix.scales), 1),
                Self::bind(x, shape.x_vector),
                Self::bind(out, 1),
                shape,
            );
        }
    }

    fn rotate(
        &self,
        qkv: &GpuBuffer,
        table: &GpuBuffer,
        heads: Heads,
        position: usize,
        n: usize,
        queries: &GpuBuffer,
        keys: &GpuBuffer,
        values: &GpuBuffer,
    ) {
        let (count, dim) = Self::elementwise(n * heads.columns() / 2);
        // SAFETY: units beyond `n` rows do nothing; `position + n` is within the caches' capacity and the table, which
        // `PackedLlama` checks before it asks.
        unsafe {
            rotary::gpu::kernel::launch_unchecked(
                &self.client,
                count,
                dim,
                Self::bind(qkv, 1),
                Self::bind(table, 1),
                Self::bind(queries, 1),
                Self::bind(keys, 1),
                Self::bind(values, 1),
                u32::try_from(position).expect("a context is below 2^32"),
                heads,
                n,
            );
        }
    }

    fn attend(
        &self,
        queries: &GpuBuffer,
        keys: &GpuBuffer,
        values: &GpuBuffer,
        attention: Attention,
        out: &GpuBuffer,
    ) {
        let Attention { heads, position, n, window } = attention;
        // SAFETY: keys end at `position + n`, which is within the capacity that the caches were sized by; a head's columns
        // stay below `heads.dim`.
        unsafe {
            attention::gpu::kernel::launch_unchecked(
                &self.client,
                CubeCount::Static(heads.query as u32, n as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                Self::bind(queries, 1),
                Self::bind(keys, 1),
                Self::bind(values, 1),
                Self::bind(out, 1),
                u32::try_from(position).expect("a context is below 2^32"),
                heads,
                window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX)),
                UNITS,
            );
        }
    }

    fn statistics(
        &self,
        logits: &GpuBuffer,
        n: usize,
        width: usize,
        targets: &GpuBuffer,
        next: &GpuBuffer,
        out: &GpuBuffer,
    ) {
        // Units compare their findings all with all: an emulated adapter pays for each of them.
        let units = if self.software { UNITS } else { 4 * UNITS };
        // SAFETY: a cube stays in its row of `width` logits; a target beyond it is not looked up; `out` has
        // `STATISTICS_WORDS` a row and `next` a word.
        unsafe {
            statistics::gpu::kernel::launch_unchecked(
                &self.client,
                CubeCount::Static(n as u32, 1, 1),
                CubeDim::new_1d(units as u32),
                Self::bind(logits, 1),
                Self::bind(targets, 1),
                Self::bind(next, 1),
                Self::bind(out, 1),
                width,
                units,
            );
        }
    }

    fn gather(&self, words: &GpuBuffer, codes: Codes, offsets: &GpuBuffer, out: &GpuBuffer) {
        let (count, dim) = Self::elementwise(codes.len);
        // SAFETY: units beyond `codes.len` do nothing; offsets were checked against the matrix when the spot was placed.
        unsafe {
            switch::gpu::gather::launch_unchecked(
                &self.client,
                count,
                dim,
                Self::bind(words, 1),
                Self::bind(offsets, 1),
                Self::bind(out, 1),
                u32::try_from(codes.base).expect("a buffer has fewer than 2^32 elements"),
                u32::try_from(codes.len).expect("a buffer has fewer than 2^32 elements"),
                codes.encoding,
            );
        }
    }

    fn toggle(
        &self,
        words: &GpuBuffer,
        codes: Codes,
        offsets: &GpuBuffer,
        values: &GpuBuffer,
        range: Range<usize>,
    ) {
        if range.is_empty() {
            return;
        }
        let (count, dim) = Self::elementwise(range.len());
        // SAFETY: units beyond the range do nothing; the range is one of `offsets` and `values`, and offsets were checked
        // against the matrix when the spot was placed. Words that several units change are atomic.
        unsafe {
            switch::gpu::toggle::launch_unchecked(
                &self.client,
                count,
                dim,
                Self::bind(words, 1),
                Self::bind(offsets, 1),
                Self::bind(values, 1),
                u32::try_from(codes.base).expect("a buffer has fewer than 2^32 elements"),
                u32::try_from(range.start).expect("a buffer has fewer than 2^32 elements"),
                u32::try_from(range.len()).expect("a buffer has fewer than 2^32 elements"),
                codes.encoding,
            );
        }
    }
}

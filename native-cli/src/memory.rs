//! How much memory there is, and what people say about it.

use crate::output::{bytes, grouped};
use codingspot_core::Device;
use codingspot_core::config::LlamaConfig;
use codingspot_core::score::{MemoryPlan, PlanRequest};
use std::time::Instant;

/// What is used where nothing is known about a device's memory, bytes.
const UNKNOWN: u64 = 8 << 30;

/// Lets the allocator keep what is freed until the program ends. Scoring frees and takes buffers of
/// the same few sizes over and over; given back in between, every page of them is faulted in and
/// zeroed again.
pub(crate) fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc.h, which the bindings have no name for; −1 is never.
    const PURGE_DELAY: std::ffi::c_int = 15;
    #[expect(unsafe_code, reason = "the allocator's options are set by a C function")]
    // SAFETY: it writes a number into a table, under an index that the table has.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

/// A size as people write it: `8GiB`, `500MB`, `1073741824`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        format!("{text:?} is not a size; expected for instance 8GiB, 500MB, or a number of bytes")
    })
}

/// Bytes that may be used where `--memory-limit` says nothing: four fifths of what is free in host
/// memory, 8 GiB of a device of its own (no interface tells how much it has).
pub(crate) fn default_limit(shared_memory: bool) -> u64 {
    if !shared_memory {
        return UNKNOWN;
    }
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    available.map_or(UNKNOWN, |kib| kib * 1024 / 5 * 4)
}

/// Most bytes that were resident so far; `None` where the system doesn't say.
pub(crate) fn peak_resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Floating-point operations a second of a matrix product of middling size.
pub(crate) fn measure_flops(device: &Device) -> f64 {
    const SIZE: usize = 768;
    use burn::tensor::{Distribution, Tensor};
    let a = Tensor::<2>::random([SIZE, SIZE], Distribution::Default, device);
    let b = Tensor::<2>::random([SIZE, SIZE], Distribution::Default, device);
    let run = |times: usize| {
        let begun = Instant::now();
        let mut last = a.clone();
        for _ in 0..times {
            last = codingspot_core::kernels::matmul::product_nt(&a, &b);
        }
        // Reading waits for the device.
        drop(last.sum().into_data());
        begun.elapsed().as_secs_f64()
    };
    run(3);
    let times = 8;
    (2 * SIZE * SIZE * SIZE * times) as f64 / run(times).max(1e-9)
}

/// The plan as people read it.
pub(crate) fn describe(
    plan: &MemoryPlan,
    config: &LlamaConfig,
    request: &PlanRequest,
    tokens: Option<(u64, f64)>,
) -> String {
    let place =
        |resident: bool, streamed: &str| if resident { "stay on the device" } else { streamed }.to_owned();
    let blocks = config.num_hidden_layers;
    let mut text = format!(
        "Plan for batches of {} × {} tokens within {}:\n",
        request.batch_size,
        request.seq_len,
        bytes(request.limit)
    );
    let passes = match plan.batches_per_pass {
        1 => "1 batch a pass".to_owned(),
        n => format!("{n} batches a pass"),
    };
    let mut line = |what: &str, how: String, size: Option<u64>| {
        let size = size.map(bytes).unwrap_or_default();
        text += format!("  {what:<12} {how:<58} {size:>11}").trim_end();
        text.push('\n');
    };
    line(
        "weights",
        place(plan.weights_resident, "block by block from the mapped files, the next one read ahead"),
        Some(plan.weights_bytes),
    );
    if request.reductions > 0 {
        line(
            "sums",
            place(plan.sums_resident, &format!("in files; visit the device once a pass ({passes})")),
            Some(plan.sums_bytes),
        );
        let kept = if plan.keep_activations {
            format!("of all {blocks} blocks kept")
        } else {
            "computed again block by block".to_owned()
        };
        let head = if plan.head_resident { "head whole" } else { "head band by band, twice" };
        line("activations", format!("{kept}; {head}"), Some(plan.activations_bytes));
    } else {
        line("activations", "forward passes only".to_owned(), Some(plan.activations_bytes));
    }
    line("program", String::new(), Some(plan.overhead_bytes));
    line("peak", "expected".to_owned(), Some(plan.peak_bytes));
    if let Some((tokens, flops)) = tokens {
        let seconds = tokens as f64 * plan.flops_per_token / flops;
        line(
            "time",
            format!(
                "about {seconds:.0} s for {} tokens at {:.0} GFLOP/s measured",
                grouped(tokens),
                flops / 1e9
            ),
            None,
        );
    }
    text
}

//! Choosing where to compute.

use crate::args::{DeviceChoice, UsageError};
use crate::output;
use anyhow::Context as _;
use burn::tensor::DeviceKind;
use burn::tensor::wgpu::wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};
use codingspot_core::Device;

/// A device with what people know it by.
#[derive(Debug, Clone)]
pub(crate) struct ChosenDevice {
    pub(crate) device: Device,
    /// For instance `cpu` or `wgpu (llvmpipe, software)`.
    pub(crate) name: String,
}

/// One adapter that wgpu lists.
#[derive(Debug)]
struct Adapter {
    kind: DeviceKind,
    name: String,
    software: bool,
}

fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor::new_without_display_handle());
    let mut counts = [0_usize; 3];
    let mut adapters: Vec<(u8, Adapter)> = pollster::block_on(instance.enumerate_adapters(Backends::PRIMARY))
        .into_iter()
        .map(|adapter| {
            let info = adapter.get_info();
            let mut next = |slot: usize| {
                counts[slot] += 1;
                counts[slot] - 1
            };
            let (order, kind, software) = match info.device_type {
                DeviceType::DiscreteGpu => (0, DeviceKind::DiscreteGpu(next(0)), false),
                DeviceType::IntegratedGpu => (1, DeviceKind::IntegratedGpu(next(1)), false),
                DeviceType::VirtualGpu => (2, DeviceKind::VirtualGpu(next(2)), false),
                DeviceType::Cpu => (4, DeviceKind::Cpu, true),
                DeviceType::Other => (3, DeviceKind::DefaultDevice, false),
            };
            (order, Adapter { kind, name: info.name, software })
        })
        .collect();
    adapters.sort_by_key(|(order, _)| *order);
    adapters.into_iter().map(|(_, adapter)| adapter).collect()
}

fn init_wgpu(adapter: &Adapter) -> anyhow::Result<ChosenDevice> {
    let device = Device::wgpu_options()
        .device_kind(adapter.kind.clone())
        .init()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("the adapter {} can't be used", adapter.name))?;
    let software = if adapter.software { ", software" } else { "" };
    Ok(ChosenDevice { device, name: format!("wgpu ({}{software})", adapter.name) })
}

fn cpu() -> ChosenDevice {
    ChosenDevice { device: Device::flex(), name: "cpu".to_owned() }
}

/// The device for `choice`; says on stderr which it is.
pub(crate) fn choose(choice: DeviceChoice) -> anyhow::Result<ChosenDevice> {
    let chosen = match choice {
        DeviceChoice::Cpu => cpu(),
        DeviceChoice::Auto => match adapters().into_iter().find(|adapter| !adapter.software) {
            // A software adapter is slower than the CPU backend, so only hardware counts here.
            None => {
                output::note("No GPU found, so the CPU is used.");
                cpu()
            }
            Some(adapter) => init_wgpu(&adapter).unwrap_or_else(|error| {
                output::note(&format!("{error:#}; the CPU is used."));
                cpu()
            }),
        },
        DeviceChoice::Wgpu => {
            let adapter = adapters().into_iter().next().context(
                "no GPU adapter was found; install a Vulkan driver (Debian's mesa-vulkan-drivers has a software one), or use --device cpu",
            )?;
            init_wgpu(&adapter)?
        }
        DeviceChoice::Vulkan => vulkan()?,
        DeviceChoice::Cuda => cuda()?,
    };
    output::note(&format!("Device: {}", chosen.name));
    Ok(chosen)
}

#[cfg(feature = "vulkan")]
fn vulkan() -> anyhow::Result<ChosenDevice> {
    let adapter = adapters()
        .into_iter()
        .find(|adapter| !adapter.software)
        .context("no hardware Vulkan adapter was found; use --device wgpu for a software one")?;
    let device = Device::wgpu_options()
        .device_kind(adapter.kind.clone())
        .graphics_api(burn::tensor::wgpu::WgpuBackend::Vulkan)
        .init()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("the adapter {} can't be used", adapter.name))?;
    Ok(ChosenDevice { device, name: format!("vulkan ({})", adapter.name) })
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> anyhow::Result<ChosenDevice> {
    Err(UsageError(
        "this build has no SPIR-V; build it with --features vulkan, or use --device wgpu".to_owned(),
    )
    .into())
}

#[cfg(feature = "cuda")]
fn cuda() -> anyhow::Result<ChosenDevice> {
    // Opening the driver panics where there is none.
    let device = std::panic::catch_unwind(|| {
        let device = Device::cuda(0);
        drop(burn::tensor::Tensor::<1>::zeros([1], &device).into_data());
        device
    })
    .map_err(|_| {
        anyhow::anyhow!("no NVIDIA GPU can be used; check the driver with nvidia-smi, or use --device wgpu")
    })?;
    Ok(ChosenDevice { device, name: "cuda".to_owned() })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> anyhow::Result<ChosenDevice> {
    Err(UsageError(
        "this build has no CUDA; build it with --features cuda, or use --device auto, cpu or wgpu".to_owned(),
    )
    .into())
}

//! WebGPU if it works, else the CPU, with the reason.

use crate::protocol::{Backend, BackendReason, FromEngine};
use codingspot_core::Device;
use codingspot_core::kernels::packed::Gpu;
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Launches that are submitted at once, at most: a pass of a model of 28 layers. Passes are submitted when they end.
const TASKS_MAX: usize = 256;

/// What was chosen.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// For what burn computes (scoring).
    pub(crate) device: Device,
    /// For what our kernels compute; `None` is the CPU.
    pub(crate) gpu: Option<Gpu>,
    pub(crate) backend: Backend,
    pub(crate) adapter: String,
    pub(crate) reason: Option<BackendReason>,
}

/// An adapter that can be used.
struct Adapter {
    name: String,
    /// It is emulated on the CPU.
    software: bool,
}

/// Probes the adapter before the runtime is asked to use it: the runtime panics without `timestamp-query`, and a panic
/// ends the worker.
pub(crate) async fn choose(force_cpu: bool) -> Chosen {
    let probed = if force_cpu { Err(BackendReason::Asked) } else { probe().await };
    let reason = match probed {
        Err(reason) => reason,
        Ok(adapter) => match Device::wgpu_options().tasks_max(TASKS_MAX).init_with_setup_async().await {
            Ok((device, setup)) => {
                setup.device.set_device_lost_callback(|_, message| {
                    super::send(&FromEngine::DeviceLost { token: super::run::tokens_so_far(), message });
                });
                let gpu = Gpu::of(&device, adapter.software);
                return Chosen { device, gpu, backend: Backend::WebGpu, adapter: adapter.name, reason: None };
            }
            Err(error) => BackendReason::NoDevice(error.to_string()),
        },
    };
    Chosen {
        device: Device::flex(),
        gpu: None,
        backend: Backend::Cpu,
        adapter: "WebAssembly".to_owned(),
        reason: Some(reason),
    }
}

/// The adapter, or why there is none.
async fn probe() -> Result<Adapter, BackendReason> {
    let get = |object: &JsValue, name: &str| {
        Reflect::get(object, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
    };
    let gpu = get(&js_sys::global(), "navigator")
        .and_then(|navigator| get(&navigator, "gpu"))
        .ok_or(BackendReason::NoWebGpu)?;
    let request: Function = get(&gpu, "requestAdapter")
        .and_then(|function| function.dyn_into().ok())
        .ok_or(BackendReason::NoWebGpu)?;
    let promise = request.call0(&gpu).map_err(|_| BackendReason::NoAdapter)?;
    let adapter = JsFuture::from(Promise::resolve(&promise)).await.map_err(|_| BackendReason::NoAdapter)?;
    if adapter.is_null() || adapter.is_undefined() {
        return Err(BackendReason::NoAdapter);
    }
    let missing = || BackendReason::MissingFeature("timestamp-query".to_owned());
    let features = get(&adapter, "features").ok_or_else(missing)?;
    let has: Function = get(&features, "has").and_then(|f| f.dyn_into().ok()).ok_or_else(missing)?;
    let timestamps = has.call1(&features, &"timestamp-query".into()).map_err(|_| missing())?;
    if !timestamps.is_truthy() {
        return Err(missing());
    }
    let info = get(&adapter, "info");
    let field =
        |name: &str| info.as_ref().and_then(|info| get(info, name)).and_then(|value| value.as_string());
    let name: Vec<String> = [field("vendor"), field("architecture")]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let fallback = |object: &JsValue| get(object, "isFallbackAdapter").is_some_and(|value| value.is_truthy());
    let software = info.as_ref().is_some_and(fallback) || fallback(&adapter);
    let name = if name.is_empty() { "unnamed adapter".to_owned() } else { name.join("/") };
    Ok(Adapter { name, software })
}

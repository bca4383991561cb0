//! WebGPU if it works, else the CPU, with the reason.

use crate::protocol::Backend;
use codingspot_core::Device;
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

/// What was chosen.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) device: Device,
    pub(crate) backend: Backend,
    pub(crate) adapter: String,
    pub(crate) reason: Option<String>,
}

/// Probes the adapter before the runtime is asked to use it: the runtime panics without
/// `timestamp-query`, and a panic ends the worker.
pub(crate) async fn choose(force_cpu: bool) -> Chosen {
    let probed = if force_cpu { Err("it was asked for".to_owned()) } else { probe().await };
    let reason = match probed {
        Err(reason) => reason,
        Ok(adapter) => match Device::wgpu_options().init_async().await {
            Ok(device) => return Chosen { device, backend: Backend::WebGpu, adapter, reason: None },
            Err(error) => error.to_string(),
        },
    };
    Chosen { device: Device::flex(), backend: Backend::Flex, adapter: "CPU".to_owned(), reason: Some(reason) }
}

/// Name of the adapter, or why there is none.
async fn probe() -> Result<String, String> {
    let get = |object: &JsValue, name: &str| {
        Reflect::get(object, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
    };
    let gpu = get(&js_sys::global(), "navigator")
        .and_then(|navigator| get(&navigator, "gpu"))
        .ok_or("this browser has no WebGPU in workers")?;
    let request: Function = get(&gpu, "requestAdapter")
        .and_then(|function| function.dyn_into().ok())
        .ok_or("this browser's WebGPU has no requestAdapter")?;
    let promise = request.call0(&gpu).map_err(|_| "the adapter request failed")?;
    let adapter =
        JsFuture::from(Promise::resolve(&promise)).await.map_err(|_| "the adapter request failed")?;
    if adapter.is_null() || adapter.is_undefined() {
        return Err("the browser gives no GPU adapter".to_owned());
    }
    let features = get(&adapter, "features").ok_or("the adapter lists no features")?;
    let has: Function =
        get(&features, "has").and_then(|f| f.dyn_into().ok()).ok_or("the adapter lists no features")?;
    let timestamps =
        has.call1(&features, &"timestamp-query".into()).map_err(|_| "the adapter lists no features")?;
    if !timestamps.is_truthy() {
        return Err("the adapter has no timestamp-query".to_owned());
    }
    let info = get(&adapter, "info");
    let field =
        |name: &str| info.as_ref().and_then(|info| get(info, name)).and_then(|value| value.as_string());
    let name: Vec<String> = [field("vendor"), field("architecture")]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    Ok(if name.is_empty() { "unnamed adapter".to_owned() } else { name.join(" ") })
}

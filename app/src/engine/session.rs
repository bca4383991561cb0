//! What the worker holds, and what it does for each request.

use super::backend::{self, Chosen};
use super::load::{Plan, Ready, network};
use super::loading::Loading;
use super::masks::Refusal;
use super::run::{Request, tokens_so_far};
use super::source::Directory;
use super::wait::now_ms;
use super::{Message, Stops, failure, send, store};
use crate::protocol::{
    Arm, Encoding, EngineError, ErrorCode, Fault, FromEngine, ModelSource, PROTOCOL_VERSION, RequestId,
    Snippet, SpotSource, ToEngine,
};
use codingspot_core::kernels::packed::{Cpu, Gpu};
use std::cell::Cell;
use std::rc::Rc;
use web_sys::{AbortController, File};

/// A model on the device that was chosen.
#[derive(Debug)]
enum Loaded {
    Gpu(Ready<Gpu>),
    Cpu(Ready<Cpu>),
}

/// The same for a model on either device.
macro_rules! on {
    ($loaded:expr, $ready:ident => $body:expr) => {
        match $loaded {
            Loaded::Gpu($ready) => $body,
            Loaded::Cpu($ready) => $body,
        }
    };
}

/// Device, model and spot.
#[derive(Debug, Default)]
pub(crate) struct Session {
    chosen: Option<Chosen>,
    loaded: Option<Loaded>,
    fault: Option<Fault>,
}

fn no_model(code: ErrorCode) -> EngineError {
    failure(code, "no model is loaded; load one first")
}

impl Session {
    /// Runs one request to its terminal message.
    pub(crate) async fn handle(&mut self, message: Message, stops: &Stops) -> Result<(), EngineError> {
        let Message { body, files } = message;
        match body {
            ToEngine::Hello { version, force_cpu } => self.hello(version, force_cpu).await,
            ToEngine::EstimateMemory { id, source, encoding } => {
                self.estimate(id, &source, encoding, files, stops).await
            }
            ToEngine::OpenModel { id, source, encoding, keep } => {
                self.open_model(id, &source, encoding, keep, files, stops).await
            }
            ToEngine::OpenSpot { id, source, control_seed } => {
                self.open_spot(id, &source, files, control_seed, stops).await
            }
            ToEngine::ScoreCode { id, documents, no_norm, control_seed } => {
                self.score_code(id, &documents, no_norm, control_seed, stops).await
            }
            ToEngine::SetMask { id, arm, count } => self.set_mask(id, arm, count),
            ToEngine::Generate { id, prompt, count, arms, mode, given, sampling } => {
                let request = Request { prompt, count, arms, mode, given, sampling };
                self.generate(id, &request, stops).await
            }
            ToEngine::ScoreLanguages { id, snippets, count, arms } => {
                self.languages(id, &snippets, count, &arms, stops).await
            }
            ToEngine::ListCache { id } => {
                list_cache(id).await;
                Ok(())
            }
            ToEngine::EvictCache { id, key } => {
                store::evict(key.as_deref()).await.map_err(|error| failure(ErrorCode::Network, error))?;
                list_cache(id).await;
                Ok(())
            }
            ToEngine::Release { id } => {
                self.loaded = None;
                send(&FromEngine::Released { id });
                Ok(())
            }
            ToEngine::InjectFault { fault } => {
                self.fault = Some(fault);
                Ok(())
            }
            // Handled when they arrive.
            ToEngine::CancelLoad { .. } | ToEngine::StopRun { .. } => Ok(()),
        }
    }

    async fn hello(&mut self, version: u32, force_cpu: bool) -> Result<(), EngineError> {
        if version != PROTOCOL_VERSION {
            let text = format!(
                "page and worker are of different versions ({version} and {PROTOCOL_VERSION}); reload the page"
            );
            return Err(failure(ErrorCode::Protocol, text));
        }
        let chosen = backend::choose(force_cpu).await;
        send(&FromEngine::Ready {
            version: PROTOCOL_VERSION,
            backend: chosen.backend,
            adapter: chosen.adapter.clone(),
            reason: chosen.reason.clone(),
        });
        self.chosen = Some(chosen);
        Ok(())
    }

    fn loading(&self, id: RequestId, stops: &Stops) -> Result<Rc<Loading>, EngineError> {
        let abort = AbortController::new()
            .map_err(|_| failure(ErrorCode::Network, "this browser can't abort fetches"))?;
        stops.abort_with(abort.clone());
        Ok(Rc::new(Loading::new(id, stops.clone(), abort)))
    }

    async fn estimate(
        &mut self,
        id: RequestId,
        source: &ModelSource,
        encoding: Option<Encoding>,
        files: Vec<File>,
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let loading = self.loading(id, stops)?;
        let directory =
            Directory::open(source, files, loading, true).await.map_err(|error| network(&error))?;
        let needs = Plan::new(directory, encoding).await?.needs().await?;
        send(&FromEngine::MemoryEstimate { id, needs });
        Ok(())
    }

    async fn open_model(
        &mut self,
        id: RequestId,
        source: &ModelSource,
        encoding: Option<Encoding>,
        keep: bool,
        files: Vec<File>,
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let chosen = self
            .chosen
            .clone()
            .ok_or_else(|| failure(ErrorCode::Protocol, "no device was chosen; reload the page"))?;
        // The old model goes before the new one comes: memory holds one.
        self.loaded = None;
        if self.fault == Some(Fault::OutOfMemory) {
            self.fault = None;
            return Err(failure(ErrorCode::GpuMemory, "not enough GPU memory: the device refused a buffer"));
        }
        let loading = self.loading(id, stops)?;
        loading.stall.set(self.fault == Some(Fault::Stall));
        let full = self.fault == Some(Fault::Quota);
        if matches!(self.fault, Some(Fault::Stall | Fault::Quota)) {
            self.fault = None;
        }
        let directory =
            Directory::open(source, files, loading, keep).await.map_err(|error| network(&error))?;
        let kept = directory.clone();
        let loaded = async {
            let plan = Plan::new(directory, encoding).await?;
            Ok(match chosen.gpu {
                Some(gpu) => {
                    let limit = gpu.largest_buffer();
                    Loaded::Gpu(plan.load(gpu, Some(limit), full).await?)
                }
                None => Loaded::Cpu(plan.load(Cpu, None, full).await?),
            })
        };
        match loaded.await {
            Err(_) if stops.asked() => {
                send(&FromEngine::LoadCancelled { id, kept_bytes: kept.kept_bytes().await });
                Ok(())
            }
            Err(error) => Err(error),
            Ok(loaded) => {
                let model = on!(&loaded, ready => ready.facts());
                self.loaded = Some(loaded);
                send(&FromEngine::ModelReady { id, model });
                Ok(())
            }
        }
    }

    async fn open_spot(
        &mut self,
        id: RequestId,
        source: &SpotSource,
        files: Vec<File>,
        control_seed: u64,
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let loading = self.loading(id, stops)?;
        let loaded = self.loaded.as_mut().ok_or_else(|| no_model(ErrorCode::Spot))?;
        let opened = on!(loaded, ready => ready.open_spot(source, files, loading, control_seed).await);
        match opened {
            Ok(spot) => send(&FromEngine::SpotReady { id, spot }),
            Err(Refusal::Mismatch(mismatch)) => send(&FromEngine::SpotRejected { id, mismatch }),
            Err(Refusal::Error(error)) => return Err(error),
        }
        Ok(())
    }

    async fn score_code(
        &mut self,
        id: RequestId,
        documents: &[Snippet],
        no_norm: bool,
        control_seed: u64,
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let device = self.chosen.as_ref().map(|chosen| chosen.device.clone()).unwrap_or_default();
        let loaded = self.loaded.as_mut().ok_or_else(|| no_model(ErrorCode::Spot))?;
        let spot = on!(loaded, ready => {
            ready.score_code(id, documents, no_norm, control_seed, &device, stops).await?
        });
        send(&match spot {
            Some(spot) => FromEngine::SpotReady { id, spot },
            None => FromEngine::RunStopped { id },
        });
        Ok(())
    }

    fn set_mask(&mut self, id: RequestId, arm: Arm, count: u64) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(|| no_model(ErrorCode::Spot))?;
        let start = now_ms();
        let change = on!(loaded, ready => ready.set_mask(arm, count)?);
        send(&FromEngine::MaskApplied {
            id,
            arm,
            count: change.count,
            changed: change.changed,
            milliseconds: now_ms() - start,
            by_tensor: change.by_tensor,
        });
        Ok(())
    }

    async fn generate(&mut self, id: RequestId, request: &Request, stops: &Stops) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(|| no_model(ErrorCode::Generate))?;
        let at = match self.fault {
            Some(Fault::DeviceLost { token }) => Some(token),
            _ => None,
        };
        let lost_at = Cell::new(at);
        let ended = on!(loaded, ready => ready.run(id, request, stops, &lost_at).await);
        if at.is_some() && lost_at.get().is_none() {
            self.fault = None;
            self.loaded = None;
            send(&FromEngine::DeviceLost {
                token: tokens_so_far(),
                message: "A test asked for it.".to_owned(),
            });
            return Ok(());
        }
        let done = ended?;
        send(&if done { FromEngine::RunFinished { id } } else { FromEngine::RunStopped { id } });
        Ok(())
    }

    async fn languages(
        &mut self,
        id: RequestId,
        snippets: &[Snippet],
        count: u64,
        arms: &[Arm],
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(|| no_model(ErrorCode::Generate))?;
        let done = on!(loaded, ready => ready.languages(id, snippets, count, arms, stops).await?);
        send(&if done { FromEngine::RunFinished { id } } else { FromEngine::RunStopped { id } });
        Ok(())
    }
}

async fn list_cache(id: RequestId) {
    let entries = store::list().await;
    let quota_bytes = store::quota().await.map(|(quota, _)| quota);
    send(&FromEngine::CacheListing { id, entries, quota_bytes });
}

//! What the worker holds, and what it does for each request.

use super::http::{Client, HttpFile};
use super::turn::{Turns, now_ms};
use super::{Stops, backend, send};
use crate::protocol::{
    Arm, EngineError, FromEngine, ModelFacts, PROTOCOL_VERSION, RequestId, Sampling, SpotFacts, StopReason,
    ToEngine,
};
use codingspot_core::Device;
use codingspot_core::ablate::Ablation;
use codingspot_core::checkpoint::{CheckpointError, LoadedModel, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::generate::{self, GenerateOptions, generate};
use codingspot_core::spot::Spot;
use codingspot_core::tokenizer::Tokenizer;
use std::fmt::Display;
use std::ops::ControlFlow;
use web_sys::AbortController;

/// Time between two progress messages, milliseconds.
const PROGRESS_EVERY_MS: f64 = 50.0;

/// A model that can be used.
#[derive(Debug)]
struct Ready {
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    ablation: Option<Ablation>,
}

/// Device, model and spot.
#[derive(Debug, Default)]
pub(crate) struct Session {
    device: Option<Device>,
    ready: Option<Ready>,
    turns: Turns,
}

fn failure(code: &str, error: impl Display) -> EngineError {
    let mut message = error.to_string();
    // Core's sentences begin in lower case, as causes do; people read them alone.
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !message.ends_with('.') {
        message.push('.');
    }
    EngineError { code: code.to_owned(), message }
}

impl Session {
    /// Runs one request to its terminal message.
    pub(crate) async fn handle(&mut self, message: ToEngine, stops: &Stops) -> Result<(), EngineError> {
        match message {
            ToEngine::Hello { version, force_cpu } => self.hello(version, force_cpu).await,
            ToEngine::OpenModel { id, url } => self.open_model(id, &url, stops).await,
            ToEngine::OpenSpot { id, url } => self.open_spot(id, &url).await,
            ToEngine::Generate { id, prompt, count, arms, sampling } => {
                self.generate(id, &prompt, count, &arms, &sampling, stops).await
            }
            // Handled when they arrive.
            ToEngine::CancelLoad { .. } | ToEngine::StopRun { .. } => Ok(()),
        }
    }

    async fn hello(&mut self, version: u32, force_cpu: bool) -> Result<(), EngineError> {
        if version != PROTOCOL_VERSION {
            return Err(failure(
                "protocol",
                format!(
                    "page and worker are of different versions ({version} and {PROTOCOL_VERSION}); reload the page"
                ),
            ));
        }
        let chosen = backend::choose(force_cpu).await;
        self.device = Some(chosen.device);
        send(&FromEngine::Ready {
            version: PROTOCOL_VERSION,
            backend: chosen.backend,
            adapter: chosen.adapter,
            reason: chosen.reason,
        });
        Ok(())
    }

    async fn open_model(&mut self, id: RequestId, url: &str, stops: &Stops) -> Result<(), EngineError> {
        let device = self
            .device
            .clone()
            .ok_or_else(|| failure("protocol", "no device was chosen; reload the page"))?;
        // The old model goes before the new one comes: memory holds one.
        self.ready = None;
        let abort =
            AbortController::new().map_err(|_| failure("network", "this browser can't abort fetches"))?;
        stops.abort_with(abort.clone());
        match self.load(id, url, &device, &Client::new(abort), stops).await {
            Err(_) if stops.asked() => {
                send(&FromEngine::LoadCancelled { id });
                Ok(())
            }
            Err(error) => Err(error),
            Ok(ready) => {
                let config = ready.loaded.model.config();
                let model = ModelFacts {
                    parameters: ready.loaded.model.layout().num_parameters(),
                    context: u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX),
                    fingerprint: ready.loaded.fingerprint.to_string(),
                };
                self.ready = Some(ready);
                send(&FromEngine::ModelReady { id, model });
                Ok(())
            }
        }
    }

    async fn load(
        &self,
        id: RequestId,
        url: &str,
        device: &Device,
        client: &Client,
        stops: &Stops,
    ) -> Result<Ready, EngineError> {
        let network = |error| failure("network", error);
        let checkpoint = |error: CheckpointError| failure("checkpoint", error);
        let config = client.whole(&format!("{url}config.json")).await.map_err(network)?;
        let config =
            String::from_utf8(config).map_err(|_| failure("checkpoint", "config.json is not text"))?;
        let config = LlamaConfig::from_json(&config).map_err(|error| failure("checkpoint", error))?;
        let tokenizer = client.whole(&format!("{url}tokenizer.json")).await.map_err(network)?;
        let tokenizer =
            Tokenizer::from_bytes(&tokenizer, &config).map_err(|error| failure("checkpoint", error))?;
        let file = HttpFile::open(client, format!("{url}model.safetensors")).await.map_err(network)?;
        let source = SafetensorsSource::open(vec![file]).await.map_err(checkpoint)?;
        let mut told_ms = 0.0;
        let loaded = load_model(&source, &config, device, async |progress| {
            let whole = progress.done_bytes == progress.total_bytes;
            if whole || now_ms() - told_ms > PROGRESS_EVERY_MS {
                told_ms = now_ms();
                let (done_bytes, total_bytes) = (progress.done_bytes, progress.total_bytes);
                send(&FromEngine::LoadProgress { id, done_bytes, total_bytes });
            }
            self.turns.take().await;
            if stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await
        .map_err(checkpoint)?;
        Ok(Ready { loaded, tokenizer, ablation: None })
    }

    async fn open_spot(&mut self, id: RequestId, url: &str) -> Result<(), EngineError> {
        let ready =
            self.ready.as_mut().ok_or_else(|| failure("spot", "no model is loaded; load one first"))?;
        let abort =
            AbortController::new().map_err(|_| failure("network", "this browser can't abort fetches"))?;
        let bytes = Client::new(abort).whole(url).await.map_err(|error| failure("network", error))?;
        let spot = Spot::from_bytes(&bytes).map_err(|error| failure("spot", error))?;
        // Restore before another spot's originals are read.
        if let Some(mut old) = ready.ablation.take() {
            old.set(&mut ready.loaded.model, 0);
        }
        let header = spot.header();
        let facts = SpotFacts {
            scope: header.scope.name().to_owned(),
            parameters_in_scope: header.parameters_in_scope,
            len: spot.len() as u64,
            max_k: header.max_k,
        };
        let ablation = Ablation::new(&ready.loaded.model, &ready.loaded.fingerprint, spot)
            .await
            .map_err(|error| failure("spot", error))?;
        ready.ablation = Some(ablation);
        send(&FromEngine::SpotReady { id, spot: facts });
        Ok(())
    }

    async fn generate(
        &mut self,
        id: RequestId,
        prompt: &str,
        count: u64,
        arms: &[Arm],
        sampling: &Sampling,
        stops: &Stops,
    ) -> Result<(), EngineError> {
        let ready =
            self.ready.as_mut().ok_or_else(|| failure("generate", "no model is loaded; load one first"))?;
        let ids = ready.tokenizer.encode_document(prompt).map_err(|error| failure("generate", error))?;
        let options = GenerateOptions {
            max_tokens: sampling.max_tokens as usize,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            seed: sampling.seed,
            stop: Vec::new(),
        };
        for &arm in arms {
            let wanted = match arm {
                Arm::Original => 0,
                Arm::Spot => usize::try_from(count).unwrap_or(usize::MAX),
            };
            match &mut ready.ablation {
                Some(ablation) => ablation.set(&mut ready.loaded.model, wanted),
                None if wanted > 0 => {
                    return Err(failure("spot", "no spot is loaded; choose one first"));
                }
                None => {}
            }
            send(&FromEngine::ArmStarted { id, arm });
            let mut first_ms = None;
            let turns = &self.turns;
            let generation =
                generate(&ready.loaded.model, Some(&ready.tokenizer), &ids, &options, async |token| {
                    first_ms.get_or_insert_with(now_ms);
                    let (text, token, logprob) = (token.text.clone(), token.id, token.logprob);
                    send(&FromEngine::Token { id, arm, token, text, logprob });
                    turns.take().await;
                    if stops.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .await
                .map_err(|error| failure("generate", error))?;
            let stop = match generation.stop_reason {
                generate::StopReason::Cancelled => {
                    send(&FromEngine::RunStopped { id });
                    return Ok(());
                }
                generate::StopReason::Eos | generate::StopReason::StopString => StopReason::Eos,
                generate::StopReason::Length => StopReason::Length,
            };
            let tokens = u32::try_from(generation.ids.len()).unwrap_or(u32::MAX);
            let seconds = first_ms.map_or(0.0, |first| (now_ms() - first) / 1000.0);
            let tokens_per_s = (tokens > 1 && seconds > 0.0).then(|| f64::from(tokens - 1) / seconds);
            send(&FromEngine::ArmFinished { id, arm, stop, text: generation.text, tokens, tokens_per_s });
        }
        send(&FromEngine::RunFinished { id });
        Ok(())
    }
}

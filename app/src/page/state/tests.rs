//! The state follows messages and clicks as the page needs it.

use super::*;

fn listening() -> State {
    let mut state = State::new("http://host/models/demo/".into());
    state.receive(
        FromEngine::Ready {
            version: PROTOCOL_VERSION,
            backend: Backend::WebGpu,
            adapter: "apple/m2".into(),
            reason: None,
        },
        0.0,
    );
    state
}

fn model() -> ModelFacts {
    ModelFacts { parameters: 5_405_184, context: 1024, fingerprint: "0".repeat(64) }
}

fn spot() -> SpotFacts {
    SpotFacts { scope: "no-norm".into(), parameters_in_scope: 5_401_856, len: 13_505, max_k: 0.25 }
}

fn sent_id(commands: &[Command]) -> RequestId {
    match commands.first() {
        Some(Command::Send(
            ToEngine::OpenModel { id, .. } | ToEngine::OpenSpot { id, .. } | ToEngine::Generate { id, .. },
        )) => *id,
        other => panic!("no request: {other:?}"),
    }
}

fn sent_arms(commands: &[Command]) -> (u64, Vec<Arm>) {
    match commands {
        [Command::Send(ToEngine::Generate { count, arms, .. })] => (*count, arms.clone()),
        other => panic!("no run: {other:?}"),
    }
}

fn ready() -> State {
    let mut state = listening();
    let id = sent_id(&state.load(0.0));
    let id = sent_id(&state.receive(FromEngine::ModelReady { id, model: model() }, 1.0));
    assert_eq!(state.phase, Phase::Loading);
    assert!(state.receive(FromEngine::SpotReady { id, spot: spot() }, 2.0).is_empty());
    assert_eq!(state.phase, Phase::Ready);
    state
}

fn token(id: RequestId, arm: Arm, text: &str, logprob: f32) -> FromEngine {
    FromEngine::Token { id, arm, token: 5, text: text.into(), logprob }
}

fn finish_arm(state: &mut State, id: RequestId, arm: Arm) {
    state.receive(FromEngine::ArmStarted { id, arm }, 0.0);
    state.receive(token(id, arm, "a", -0.5), 0.0);
    state.receive(token(id, arm, "b", -1.5), 0.0);
    let done = FromEngine::ArmFinished {
        id,
        arm,
        stop: StopReason::Length,
        text: "ab".into(),
        tokens: 2,
        tokens_per_s: Some(40.0),
    };
    state.receive(done, 0.0);
}

/// Both arms of a run, to its end.
fn after_a_run() -> State {
    let mut state = ready();
    let id = sent_id(&state.generate("fn".into(), &Settings::default()));
    finish_arm(&mut state, id, Arm::Original);
    finish_arm(&mut state, id, Arm::Spot);
    assert!(state.receive(FromEngine::RunFinished { id }, 0.0).is_empty());
    state
}

#[test]
fn the_model_loads_and_its_spot_follows() {
    let state = ready();
    assert_eq!(state.status_text(), "codingspot-demo ready. WebGPU, apple/m2, f32.");
    assert_eq!(state.backend_text(), "WebGPU: apple/m2");
    assert!(state.can_generate() && !state.can_load());
}

#[test]
fn loading_tells_bytes_and_after_three_seconds_its_speed() {
    let mut state = listening();
    let id = sent_id(&state.load(0.0));
    let progress = |done_bytes| FromEngine::LoadProgress { id, done_bytes, total_bytes: 10_809_704 };
    state.receive(progress(1_100_000), 1_000.0);
    let text = |state: &State| state.progress.as_ref().unwrap().text(&state.model_name());
    assert_eq!(text(&state), "Loading codingspot-demo: 1.1 MB of 10.8 MB.");
    state.receive(progress(3_100_000), 3_100.0);
    assert_eq!(text(&state), "Loading codingspot-demo: 3.1 MB of 10.8 MB, 1.0 MB/s, about 8 s left.");
    assert_eq!(state.progress.as_ref().unwrap().percent(), 28);
}

#[test]
fn speed_forgets_what_is_older_than_its_window() {
    let mut progress = Progress::new(0.0, 1_000_000_000);
    progress.advance(5_000.0, 500_000_000, 1_000_000_000);
    progress.advance(20_000.0, 500_000_000, 1_000_000_000);
    progress.advance(22_000.0, 520_000_000, 1_000_000_000);
    // 20 MB since second 5, of which the window still holds the sample before it began.
    assert!(progress.rate().unwrap() < 2e6, "{:?}", progress.rate());
    progress.advance(25_500.0, 555_000_000, 1_000_000_000);
    assert_eq!(format::rate(progress.rate().unwrap()), "10 MB/s");
}

#[test]
fn a_cancelled_load_ends_in_cancelled_and_can_begin_again() {
    let mut state = listening();
    let id = sent_id(&state.load(0.0));
    assert_eq!(state.cancel(), [Command::Send(ToEngine::CancelLoad { id }), Command::WatchStop(id)]);
    assert!(state.cancel().is_empty());
    state.receive(FromEngine::LoadCancelled { id }, 0.0);
    assert_eq!(state.phase, Phase::Cancelled);
    assert!(state.can_load());
    // Too late, and from a request that is over.
    state.receive(FromEngine::ModelReady { id, model: model() }, 0.0);
    assert!(state.model.is_none());
    assert!(state.stop_overdue(id).is_empty());
}

#[test]
fn arms_stream_and_finish() {
    let mut state = ready();
    let commands = state.generate("fn".into(), &Settings::default());
    let id = sent_id(&commands);
    assert_eq!(sent_arms(&commands), (0, vec![Arm::Original, Arm::Spot]));
    assert_eq!(state.without_spot.phase, ArmPhase::Waiting);
    finish_arm(&mut state, id, Arm::Original);
    assert_eq!(state.run_text().unwrap(), "Generating: original done, spot waiting.");
    assert_eq!(state.original.mean_nll(), Some(1.0));
    // From an earlier run.
    state.receive(token(id - 1, Arm::Spot, "x", -1.0), 0.0);
    assert_eq!(state.without_spot.text, "");
    finish_arm(&mut state, id, Arm::Spot);
    state.receive(FromEngine::RunFinished { id }, 0.0);
    assert_eq!(state.phase, Phase::Ready);
    assert_eq!(state.status_text(), "Original: 2 tokens, NLL 1.00. Spot removed: 2 tokens, NLL 1.00.");
}

#[test]
fn a_new_count_runs_the_spot_again_and_only_it() {
    let mut state = after_a_run();
    state.preview_tick(200);
    assert_eq!(state.count_text(), "0.25 %, 13,505 parameters");
    assert_eq!(state.phase, Phase::Ready);
    let commands = state.commit_count();
    assert_eq!(sent_arms(&commands), (13_505, vec![Arm::Spot]));
    assert_eq!(state.original.phase, ArmPhase::Finished);
    let id = sent_id(&commands);
    finish_arm(&mut state, id, Arm::Spot);
    state.receive(FromEngine::RunFinished { id }, 0.0);
    assert!(state.commit_count().is_empty(), "the same count needs no run");
}

#[test]
fn without_a_run_a_count_changes_labels_only() {
    let mut state = ready();
    assert_eq!(state.count_text(), "nothing ablated");
    state.preview_count(135);
    assert_eq!(state.count_text(), "0.0025 %, 135 parameters");
    state.preview_tick(1);
    assert_eq!(state.count_text(), "0.000019 %, 1 parameter");
    assert!(state.commit_count().is_empty());
}

#[test]
fn a_count_during_a_run_stops_it_and_runs_after() {
    let mut state = after_a_run();
    state.preview_tick(50);
    let id = sent_id(&state.commit_count());
    state.preview_tick(60);
    assert_eq!(state.commit_count(), [Command::Send(ToEngine::StopRun { id }), Command::WatchStop(id)]);
    state.preview_tick(70);
    assert!(state.commit_count().is_empty());
    let (count, arms) = sent_arms(&state.receive(FromEngine::RunStopped { id }, 0.0));
    assert_eq!((count, arms), (state.count, vec![Arm::Spot]));
}

#[test]
fn another_scope_runs_the_spot_again() {
    let mut state = after_a_run();
    let commands = state.choose_scope(Scope::All);
    assert!(matches!(&commands[..], [Command::Send(ToEngine::OpenSpot { url, .. })]
        if url == "http://host/models/demo/spot-all.safetensors"));
    let id = sent_id(&commands);
    let (_, arms) = sent_arms(&state.receive(FromEngine::SpotReady { id, spot: spot() }, 0.0));
    assert_eq!(arms, [Arm::Spot]);
}

#[test]
fn a_stopped_run_says_where_and_runs_whole_next_time() {
    let mut state = ready();
    let id = sent_id(&state.generate("fn".into(), &Settings::default()));
    state.receive(FromEngine::ArmStarted { id, arm: Arm::Original }, 0.0);
    state.receive(token(id, Arm::Original, "a", -0.5), 0.0);
    assert_eq!(state.stop(), [Command::Send(ToEngine::StopRun { id }), Command::WatchStop(id)]);
    state.receive(FromEngine::RunStopped { id }, 0.0);
    assert_eq!(state.phase, Phase::Stopped);
    assert_eq!(state.original.phase, ArmPhase::Stopped);
    assert_eq!(state.status_text(), "Stopped at token 1. Choose Generate to start again.");
    state.preview_tick(9);
    assert_eq!(sent_arms(&state.commit_count()).1, [Arm::Original, Arm::Spot]);
}

#[test]
fn a_worker_that_does_not_stop_is_started_again() {
    let mut state = ready();
    let id = sent_id(&state.generate("fn".into(), &Settings::default()));
    state.stop();
    assert_eq!(state.stop_overdue(id), [Command::Restart]);
    assert_eq!(state.phase, Phase::Starting);
    assert!(state.model.is_none() && state.alert.as_ref().unwrap().contains("Load the model again"));
    assert!(!state.can_load());
}

#[test]
fn failures_end_what_they_concern_and_name_a_next_step() {
    let error = |code: &str| EngineError { code: code.into(), message: "It is bad.".into() };
    let mut state = listening();
    let id = sent_id(&state.load(0.0));
    state.receive(FromEngine::Failed { id: Some(id), error: error("network") }, 0.0);
    assert_eq!(state.phase, Phase::Failed);
    assert_eq!(state.alert.as_deref(), Some("It is bad. Check the connection, then load the model again."));
    assert!(state.can_load());
    state.dismiss();
    assert_eq!(state.alert, None);

    let mut state = after_a_run();
    let id = sent_id(&state.generate("fn".into(), &Settings::default()));
    state.receive(FromEngine::Failed { id: Some(id), error: error("generate") }, 0.0);
    assert!(state.can_generate() && state.phase == Phase::Failed);
    state.preview_tick(3);
    assert!(state.commit_count().is_empty());
}

#[test]
fn a_crash_restarts_the_worker_but_not_one_that_never_started() {
    let mut state = ready();
    assert_eq!(state.engine_failed("unreachable"), [Command::Restart]);
    assert_eq!(state.phase, Phase::Failed);
    assert!(state.engine_failed("again").is_empty());
    let mut state = State::new(String::new());
    let version = PROTOCOL_VERSION + 1;
    let hello = FromEngine::Ready { version, backend: Backend::Flex, adapter: String::new(), reason: None };
    assert!(state.receive(hello, 0.0).is_empty());
    assert_eq!(state.phase, Phase::Failed);
}

#[test]
fn the_cpu_says_why_and_how_fast() {
    let mut state = after_a_run();
    state.engine = Some(EngineFacts {
        backend: Backend::Flex,
        adapter: "flex".into(),
        reason: Some("no adapter".into()),
    });
    assert_eq!(
        state.backend_text(),
        "No WebGPU here (no adapter). Running on the CPU at 40 tokens per second."
    );
}

#[test]
fn settings_that_are_not_numbers_start_nothing() {
    let mut state = ready();
    let settings = Settings { max_tokens: "0".into(), ..Settings::default() };
    assert!(state.generate("fn".into(), &settings).is_empty());
    assert_eq!(
        state.alert.as_deref(),
        Some("Max tokens must be a whole number from 1 to 512. Correct it in Settings.")
    );
    for bad in ["", "x", "-1", "NaN", "inf"] {
        assert!(Settings { temperature: bad.into(), ..Settings::default() }.sampling().is_err(), "{bad}");
    }
    assert!(Settings { top_p: "0".into(), ..Settings::default() }.sampling().is_err());
    assert_eq!(Settings::default().sampling().unwrap().max_tokens, 48);
}

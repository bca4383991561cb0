//! The state follows messages and clicks as the page needs it.

use super::*;
use crate::protocol::{
    Arm, Backend, BackendReason, CacheEntry, Encoding, EngineError, ErrorCode, ModelFacts, PROTOCOL_VERSION,
    SpotFacts, SpotMismatch, SpotSource, StopReason, TensorFacts, TokenInfo,
};

fn listening() -> State {
    let mut state = State::new("http://host/models/".into());
    state.catalogue = models::read_catalogue(models::EXAMPLE).unwrap();
    let ready = FromEngine::Ready {
        version: PROTOCOL_VERSION,
        backend: Backend::WebGpu,
        adapter: "apple/m2".into(),
        reason: None,
    };
    assert!(matches!(state.receive(ready, 0.0)[..], [Command::Send(ToEngine::ListCache { .. }, _)]));
    state
}

fn needs() -> MemoryNeeds {
    MemoryNeeds {
        download_bytes: 10_809_704,
        total_bytes: 10_809_704,
        weight_bytes: 21_620_736,
        context_bytes: 6_000_000,
        quota_bytes: None,
    }
}

fn model() -> ModelFacts {
    ModelFacts {
        name: "demo".into(),
        parameters: 5_405_184,
        context: 1024,
        fingerprint: "0".repeat(64),
        encoding: Encoding::F32,
        weight_bytes: 21_620_736,
        tensors: vec![TensorFacts {
            name: "model.embed_tokens.weight".into(),
            layer: None,
            module: "embed_tokens".into(),
            parameters: 1_048_576,
        }],
        spots: Vec::new(),
    }
}

fn spot() -> SpotFacts {
    SpotFacts {
        scope: "no-norm".into(),
        parameters_in_scope: 5_401_856,
        len: 13_505,
        max_k: 0.25,
        languages: Vec::new(),
        levels: Vec::new(),
    }
}

fn messages(commands: &[Command]) -> Vec<&ToEngine> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Send(message, _) => Some(message),
            _ => None,
        })
        .collect()
}

fn pending(state: &State) -> RequestId {
    state.pending.unwrap().id()
}

fn run_of(commands: &[Command]) -> Option<(u64, Vec<Arm>, Vec<u32>)> {
    messages(commands).into_iter().find_map(|message| match message {
        ToEngine::Generate { count, arms, given, .. } => Some((*count, arms.clone(), given.clone())),
        _ => None,
    })
}

fn masks(commands: &[Command]) -> Vec<u64> {
    messages(commands)
        .into_iter()
        .filter_map(|message| match message {
            ToEngine::SetMask { count, .. } => Some(*count),
            _ => None,
        })
        .collect()
}

fn apply_mask(state: &mut State, commands: &[Command]) {
    for message in messages(commands) {
        if let ToEngine::SetMask { id, arm, count } = message {
            let applied = FromEngine::MaskApplied {
                id: *id,
                arm: *arm,
                count: *count,
                changed: 1,
                milliseconds: 0.1,
                by_tensor: vec![*count],
            };
            state.receive(applied, 0.0);
        }
    }
}

fn loading() -> State {
    let mut state = listening();
    assert!(matches!(messages(&state.load(0.0))[..], [ToEngine::EstimateMemory { .. }]));
    let id = pending(&state);
    let commands = state.receive(FromEngine::MemoryEstimate { id, needs: needs() }, 1.0);
    assert!(matches!(messages(&commands)[..], [ToEngine::OpenModel { keep: true, .. }]));
    state
}

fn ready() -> State {
    let mut state = loading();
    let id = pending(&state);
    let commands = state.receive(FromEngine::ModelReady { id, model: model() }, 1.0);
    assert!(matches!(messages(&commands)[0], ToEngine::OpenSpot { source: SpotSource::Url(url), .. }
        if url == "http://host/models/demo/spot-no-norm.safetensors"));
    let id = pending(&state);
    let commands = state.receive(FromEngine::SpotReady { id, spot: spot() }, 2.0);
    assert_eq!(masks(&commands), [0]);
    apply_mask(&mut state, &commands);
    assert_eq!(state.phase, Phase::Ready);
    state
}

fn token(token: u32, logprob: f32) -> TokenInfo {
    TokenInfo { token, text: "x".into(), logprob, top: Vec::new() }
}

fn finish(state: &mut State, arms: &[Arm]) -> Vec<Command> {
    let id = pending(state);
    for &arm in arms {
        state.receive(FromEngine::ArmStarted { id, arm }, 0.0);
        let tokens = vec![token(1, -0.5), token(2, -1.5)];
        state.receive(FromEngine::TokenBatch { id, arm, first: 0, tokens }, 0.0);
        let stop = StopReason::Length;
        state.receive(FromEngine::ArmFinished { id, arm, stop, tokens: 2, tokens_per_s: Some(40.0) }, 0.0);
    }
    state.receive(FromEngine::RunFinished { id }, 0.0)
}

fn after_a_run() -> State {
    let mut state = ready();
    let commands = state.generate("fn".into(), &Settings::default());
    assert_eq!(run_of(&commands).unwrap().1, arms::ALL);
    assert!(finish(&mut state, &arms::ALL).is_empty());
    state
}

#[test]
fn nothing_is_asked_for_before_someone_asks() {
    let mut state = listening();
    assert_eq!(state.phase.name(), "idle");
    assert_eq!(state.load_label(), "Load model (10.8 MB)");
    // A choice that a link holds is not a wish to load.
    assert!(state.choose_model(ModelChoice::Hub("a/b".into())).is_empty());
    assert!(state.choose_spot(SpotChoice::Named("all".into())).is_empty());
    state.preview_count(77);
    assert!(state.commit_count().is_empty());
}

#[test]
fn the_model_loads_and_its_spot_follows() {
    let state = ready();
    assert_eq!(state.status_text(), "codingspot-demo ready. WebGPU, apple/m2, f32.");
    assert_eq!(state.backend_text(), "WebGPU: apple/m2");
    assert!(state.can_generate() && !state.can_load());
}

#[test]
fn a_model_of_the_hub_says_its_size_before_it_loads() {
    let mut state = listening();
    state.choose_hub("org/name");
    assert_eq!(state.load_label(), "Ask for its size");
    state.load(0.0);
    let id = pending(&state);
    assert!(state.receive(FromEngine::MemoryEstimate { id, needs: needs() }, 0.0).is_empty());
    assert_eq!(state.phase, Phase::Idle);
    assert_eq!(state.load_label(), "Load model (10.8 MB)");
    assert!(state.needs_text().unwrap().starts_with("Needs 27.6 MB of GPU memory"));
    assert!(matches!(messages(&state.load(1.0))[..], [ToEngine::OpenModel { .. }]));
}

#[test]
fn the_states_of_loading_say_what_they_are_to_say() {
    let mut state = loading();
    let id = pending(&state);
    let phase = crate::protocol::LoadPhase::Fetch;
    let progress = |done_bytes| FromEngine::LoadProgress {
        id,
        phase,
        done_bytes,
        total_bytes: 10_809_704,
        kept_bytes: 0,
    };
    state.receive(progress(1_100_000), 1_000.0);
    assert_eq!(state.line_text(), "Loading codingspot-demo: 1.1 MB of 10.8 MB.");
    state.receive(FromEngine::LoadStalled { id, seconds: 10, attempt: 2, attempts: 5 }, 11_000.0);
    assert_eq!(
        (state.phase.name(), state.line_text().as_str()),
        ("stalled", "No data for 10 s. Trying again (2 of 5).")
    );
    state.receive(progress(1_200_000), 12_000.0);
    assert_eq!(state.phase.name(), "loading");
    state.receive(FromEngine::NotKept { id, quota_bytes: 1_000_000, needed_bytes: 10_809_704 }, 12_000.0);
    assert_eq!(state.phase.name(), "quota");
    assert_eq!(
        state.alert.as_ref().unwrap().text,
        "This browser allows 1.0 MB of storage; 10.8 MB needed. Continuing without keeping a copy."
    );
    state.receive(progress(1_300_000), 12_500.0);
    assert_eq!(state.phase.name(), "quota");
    assert!(matches!(messages(&state.cancel())[..], [ToEngine::CancelLoad { .. }]));
    assert!(state.cancel().is_empty());
    state.receive(FromEngine::LoadCancelled { id, kept_bytes: 812_000_000 }, 0.0);
    assert_eq!(
        (state.phase.name(), state.line_text().as_str()),
        ("cancelled", "Loading stopped. 812 MB are kept in this browser.")
    );
    assert!(state.can_load());
    // Too late, and from a request that is over.
    state.receive(FromEngine::ModelReady { id, model: model() }, 0.0);
    assert!(state.model.is_none());
    assert!(state.stop_overdue(id).is_empty());
}

#[test]
fn asking_what_a_model_needs_can_be_stopped_too() {
    let mut state = listening();
    state.load(0.0);
    let id = pending(&state);
    assert!(matches!(
        messages(&state.cancel())[..],
        [ToEngine::CancelLoad { .. }, ToEngine::ListCache { .. }]
    ));
    assert_eq!(state.phase, Phase::Cancelled);
    assert!(state.receive(FromEngine::MemoryEstimate { id, needs: needs() }, 0.0).is_empty());
    assert!(state.can_load());
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let mut state = loading();
    let id = pending(&state);
    let error = EngineError { code: ErrorCode::GpuMemory, message: "No buffer.".into() };
    state.receive(FromEngine::Failed { id: Some(id), error }, 0.0);
    let alert = state.alert.clone().unwrap();
    assert_eq!((state.phase.name(), alert.text.as_str()), ("oom", "Not enough GPU memory: 27.6 MB needed."));
    assert_eq!(alert.actions, [Action::SmallerModel, Action::RunOnCpu]);
    assert!(state.reload_model(true).contains(&Command::Restart) && state.force_cpu);
    // On the CPU, before anything is fetched.
    let mut state = listening();
    state.engine.as_mut().unwrap().backend = Backend::Cpu;
    state.load(0.0);
    let id = pending(&state);
    let much = MemoryNeeds { weight_bytes: 12_900_000_000, ..needs() };
    assert!(state.receive(FromEngine::MemoryEstimate { id, needs: much }, 0.0).is_empty());
    assert_eq!(state.alert.unwrap().text, "Not enough page memory: 12.91 GB needed.");
}

#[test]
fn arms_stream_and_finish() {
    let mut state = ready();
    let commands = state.generate("fn".into(), &Settings::default());
    assert_eq!(run_of(&commands).unwrap(), (0, arms::ALL.to_vec(), vec![]));
    let id = pending(&state);
    state.receive(FromEngine::ArmStarted { id, arm: Arm::Original }, 0.0);
    state.receive(
        FromEngine::TokenBatch { id, arm: Arm::Original, first: 0, tokens: vec![token(1, -1.0)] },
        0.0,
    );
    assert_eq!(state.line_text(), "Generating: original 1 of 48, spot waiting.");
    // From an earlier run.
    state.receive(
        FromEngine::TokenBatch { id: 0, arm: Arm::Spot, first: 0, tokens: vec![token(1, -1.0)] },
        0.0,
    );
    assert!(state.arms.get(Arm::Spot).tokens.is_empty());
    finish(&mut state, &arms::ALL);
    assert_eq!(state.phase, Phase::Ready);
    assert_eq!(
        state.status_text(),
        "Original: 2 tokens, NLL 1.00. Spot removed: 2 tokens, NLL 1.00. Random removed: 2 tokens, NLL 1.00."
    );
    assert_eq!(state.arms.get(Arm::Spot).mean_delta(), Some(0.0));
}

#[test]
fn a_new_count_runs_the_ablated_arms_again_and_only_them() {
    let mut state = after_a_run();
    state.preview_tick(200);
    assert_eq!(state.count_text(), "0.25 %, 13,505 parameters");
    assert_eq!(state.phase, Phase::Ready);
    let commands = state.commit_count();
    assert_eq!(masks(&commands), [13_505]);
    assert_eq!(run_of(&commands).unwrap(), (13_505, vec![Arm::Spot, Arm::Random], vec![1, 2]));
    assert_eq!(state.arms.get(Arm::Original).phase, ArmPhase::Finished);
    apply_mask(&mut state, &commands);
    assert_eq!(state.mask.by_tensor, [13_505]);
    finish(&mut state, &[Arm::Spot, Arm::Random]);
    assert!(state.commit_count().is_empty(), "the same count needs no run");
    // In the other mode nothing is given.
    let commands = state.choose_mode(RunMode::OwnText);
    assert_eq!(run_of(&commands).unwrap(), (13_505, vec![Arm::Spot, Arm::Random], vec![]));
}

#[test]
fn an_original_is_known_by_model_prompt_and_sampling() {
    let mut state = after_a_run();
    let commands = state.generate("fn".into(), &Settings::default());
    assert_eq!(run_of(&commands).unwrap().1, [Arm::Spot, Arm::Random]);
    finish(&mut state, &[Arm::Spot, Arm::Random]);
    let commands = state.generate("other".into(), &Settings::default());
    assert_eq!(run_of(&commands).unwrap().1, arms::ALL);
}

#[test]
fn another_seed_draws_the_control_again_before_the_run() {
    let mut state = after_a_run();
    let settings = Settings { seed: "5".into(), ..Settings::default() };
    let commands = state.generate("fn".into(), &settings);
    assert!(matches!(messages(&commands)[..], [ToEngine::OpenSpot { control_seed: 5, .. }]));
    let id = pending(&state);
    let commands = state.receive(FromEngine::SpotReady { id, spot: spot() }, 0.0);
    assert_eq!(run_of(&commands).unwrap().1, arms::ALL);
    assert!(state.arm_subject(Arm::Random).starts_with("Nothing removed"));
    assert_eq!(state.arms.seed, 5);
}

#[test]
fn without_a_run_a_count_changes_labels_and_the_mask() {
    let mut state = ready();
    assert_eq!(state.count_text(), "0 %, nothing removed");
    state.preview_count(135);
    assert_eq!(state.count_text(), "0.0025 %, 135 parameters");
    state.preview_tick(1);
    assert_eq!(state.count_text(), "0.000019 %, 1 parameter");
    let commands = state.commit_count();
    assert_eq!((masks(&commands), run_of(&commands)), (vec![1], None));
    assert!(state.commit_count().is_empty());
}

#[test]
fn a_count_during_a_run_stops_it_and_runs_after() {
    let mut state = after_a_run();
    state.preview_tick(50);
    let commands = state.commit_count();
    apply_mask(&mut state, &commands);
    let id = pending(&state);
    state.preview_tick(60);
    assert!(matches!(
        state.commit_count()[..],
        [Command::Send(ToEngine::StopRun { .. }, _), Command::WatchStop(_)]
    ));
    state.preview_tick(70);
    assert!(state.commit_count().is_empty());
    let commands = state.receive(FromEngine::RunStopped { id }, 0.0);
    let (count, arms, _) = run_of(&commands).unwrap();
    assert_eq!((count, arms), (state.count, vec![Arm::Spot, Arm::Random]));
    assert_eq!(masks(&commands), [state.count]);
}

#[test]
fn another_spot_runs_the_ablated_arms_again() {
    let mut state = after_a_run();
    let commands = state.choose_spot(SpotChoice::Named("all".into()));
    assert!(matches!(messages(&commands)[..], [ToEngine::OpenSpot { source: SpotSource::Url(url), .. }]
        if url == "http://host/models/demo/spot-all.safetensors"));
    let id = pending(&state);
    let commands = state.receive(FromEngine::SpotReady { id, spot: spot() }, 0.0);
    assert_eq!(run_of(&commands).unwrap().1, [Arm::Spot, Arm::Random]);
}

#[test]
fn a_spot_of_another_model_changes_nothing_but_says_so() {
    let mut state = after_a_run();
    let before = state.spot.clone();
    state.choose_spot(SpotChoice::File("other.safetensors".into()));
    let id = pending(&state);
    let model = "0".repeat(64);
    let known = "9033b3c0eafd131017d3d81ea51304692517dad1b45801c72dd9886cb2303f05".to_owned();
    let mismatch = SpotMismatch::ModelHash { spot: known, model };
    state.receive(FromEngine::SpotRejected { id, mismatch }, 0.0);
    let alert = state.alert.clone().unwrap();
    assert_eq!(
        alert.text,
        "This spot file was made for codingspot-demo (9033b3c0). The loaded model is codingspot-demo (00000000). \
         It was not applied."
    );
    assert_eq!(alert.actions, [Action::LoadNamed("demo".into()), Action::ChooseFile]);
    assert_eq!((state.phase, &state.spot), (Phase::Ready, &before));
    assert_eq!(state.spot_choice, SpotChoice::Named("no-norm".into()));
}

#[test]
fn a_stopped_run_says_where_and_goes_on_where_it_was() {
    let mut state = ready();
    state.generate("fn".into(), &Settings::default());
    let id = pending(&state);
    state.receive(FromEngine::ArmStarted { id, arm: Arm::Original }, 0.0);
    state.receive(
        FromEngine::TokenBatch { id, arm: Arm::Original, first: 0, tokens: vec![token(1, -0.5)] },
        0.0,
    );
    assert!(matches!(state.stop()[..], [Command::Send(ToEngine::StopRun { .. }, _), Command::WatchStop(_)]));
    state.receive(FromEngine::RunStopped { id }, 0.0);
    assert_eq!(state.phase, Phase::Stopped);
    assert_eq!(state.status_text(), "Stopped at token 1. Partial runs are left out of averages.");
    assert_eq!(state.arms.get(Arm::Original).mean_nll(), None);
    assert!(state.can_continue());
    assert_eq!(run_of(&state.continue_run()).unwrap().1, arms::ALL);
}

#[test]
fn a_worker_that_does_not_stop_is_started_again() {
    let mut state = ready();
    state.generate("fn".into(), &Settings::default());
    let id = pending(&state);
    state.stop();
    assert_eq!(state.stop_overdue(id), [Command::Restart]);
    assert_eq!(state.phase, Phase::Starting);
    assert!(state.model.is_none() && state.alert.as_ref().unwrap().text.contains("Load the model again"));
    assert!(!state.can_load());
}

#[test]
fn a_lost_device_keeps_the_text_and_a_second_loss_offers_the_cpu() {
    let mut state = after_a_run();
    state.generate("other".into(), &Settings::default());
    let id = pending(&state);
    state.receive(FromEngine::ArmStarted { id, arm: Arm::Original }, 0.0);
    state.receive(
        FromEngine::TokenBatch { id, arm: Arm::Original, first: 0, tokens: vec![token(1, -0.5)] },
        0.0,
    );
    state.receive(FromEngine::DeviceLost { token: Some(37), message: String::new() }, 1_000.0);
    let alert = state.alert.clone().unwrap();
    assert_eq!(alert.text, "The browser reset the GPU at token 37. Text so far is kept.");
    assert_eq!((state.phase.name(), alert.actions), ("device-lost", vec![Action::ReloadModel]));
    assert_eq!(state.arms.get(Arm::Original).tokens.len(), 1);
    assert_eq!(state.reload_model(false), [Command::Restart]);
    let ready = FromEngine::Ready {
        version: PROTOCOL_VERSION,
        backend: Backend::WebGpu,
        adapter: "apple/m2".into(),
        reason: None,
    };
    let commands = state.receive(ready, 2_000.0);
    assert!(messages(&commands).iter().any(|message| matches!(message, ToEngine::OpenModel { .. })));
    state.receive(FromEngine::DeviceLost { token: None, message: "reset".into() }, 30_000.0);
    assert_eq!(state.alert.unwrap().actions, [Action::RunOnCpu]);
}

#[test]
fn failures_end_what_they_concern_and_name_a_next_step() {
    let error = |code| EngineError { code, message: "It is bad.".into() };
    let mut state = loading();
    let id = pending(&state);
    state.receive(FromEngine::Failed { id: Some(id), error: error(ErrorCode::Network) }, 0.0);
    assert_eq!(state.phase, Phase::Failed);
    assert_eq!(
        state.alert.as_ref().unwrap().text,
        "It is bad. Check the connection, then load the model again."
    );
    assert!(state.can_load());
    state.dismiss();
    assert_eq!(state.alert, None);

    let mut state = after_a_run();
    state.generate("other".into(), &Settings::default());
    let id = pending(&state);
    state.receive(FromEngine::Failed { id: Some(id), error: error(ErrorCode::Generate) }, 0.0);
    assert!(state.can_generate() && state.phase == Phase::Failed);
    state.preview_tick(3);
    assert_eq!(run_of(&state.commit_count()), None);
}

#[test]
fn a_crash_restarts_the_worker_but_not_one_that_never_started() {
    let mut state = ready();
    assert_eq!(state.engine_failed("unreachable"), [Command::Restart]);
    assert_eq!(state.phase, Phase::Failed);
    assert!(state.engine_failed("again").is_empty());
    let mut state = State::new(String::new());
    let version = PROTOCOL_VERSION + 1;
    let hello = FromEngine::Ready { version, backend: Backend::Cpu, adapter: String::new(), reason: None };
    assert!(state.receive(hello, 0.0).is_empty());
    assert_eq!(state.phase, Phase::Failed);
}

#[test]
fn the_cpu_says_why_and_how_fast() {
    let mut state = after_a_run();
    state.engine = Some(EngineFacts {
        backend: Backend::Cpu,
        adapter: "flex".into(),
        reason: Some(BackendReason::NoAdapter),
    });
    assert_eq!(
        state.backend_text(),
        "No WebGPU here (the browser gives no adapter). Running on the CPU at 40 tokens per second."
    );
}

#[test]
fn without_a_network_the_page_says_what_there_is() {
    let mut state = listening();
    state.online = false;
    assert_eq!(state.net().0, "offline-missing");
    assert_eq!(state.net().1, "Offline, and codingspot-demo is not kept here. Recorded results still work.");
    let entry = CacheEntry {
        key: "0123456789abcdef".into(),
        name: "demo".into(),
        bytes: 2_470_000_000,
        total_bytes: 2_470_000_000,
    };
    assert_eq!(state.kept_title(&entry), "codingspot-demo");
    state.cache.listed(vec![entry], None);
    assert_eq!(
        state.net(),
        ("offline-cached", "Offline. Using the copy kept in this browser (2.47 GB).".into())
    );
}

#[test]
fn languages_are_measured_for_each_arm() {
    let mut state = ready();
    state.languages.texts =
        languages::read_languages(include_str!("../../../../demo/snippets.json")).unwrap();
    let commands = state.measure_languages();
    assert!(matches!(messages(&commands)[..], [ToEngine::ScoreLanguages { snippets, arms, .. }]
        if snippets.len() == 36 && arms.len() == 3));
    let id = pending(&state);
    let nll = FromEngine::LanguageNll {
        id,
        arm: Arm::Spot,
        language: "go".into(),
        mean: 3.0,
        half_width: None,
        tokens: 9,
    };
    state.receive(nll, 0.0);
    assert_eq!(state.line_text(), "Measuring languages: 1 of 36 done.");
    state.receive(FromEngine::RunFinished { id }, 0.0);
    assert_eq!(state.phase, Phase::Ready);
}

#[test]
fn tests_run_for_each_arm_and_problem() {
    use super::super::python_protocol::{FromPython, ToPython};
    let mut state = ready();
    state.tests.problems = python::read_problems(include_str!("../../../../demo/problems.json")).unwrap();
    let problems = state.tests.problems.len();
    let commands = state.run_tests(None);
    assert!(matches!(commands[0], Command::Python(ToPython::Boot { .. })));
    let id = pending(&state);
    state.receive(FromEngine::ArmStarted { id, arm: Arm::Original }, 0.0);
    let text = "    return 1\ndef more".to_owned();
    let tokens = vec![TokenInfo { token: 1, text, logprob: 0.0, top: Vec::new() }];
    state.receive(FromEngine::TokenBatch { id, arm: Arm::Original, first: 0, tokens }, 0.0);
    let done = FromEngine::ArmFinished {
        id,
        arm: Arm::Original,
        stop: StopReason::Length,
        tokens: 1,
        tokens_per_s: None,
    };
    let commands = state.receive(done, 0.0);
    let [Command::Python(ToPython::Run { id: run, program, .. })] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert!(program.ends_with("    return 1\n") && program.starts_with(&state.tests.rows[0].problem.prompt));
    state.receive_python(FromPython::TimedOut { id: *run, message: "Timed out after 5 s".into() });
    assert_eq!(state.tests.rows[0].verdicts[0].word(), "timed out");
    for _ in 0..problems - 1 {
        let id = pending(&state);
        assert!(run_of(&state.receive(FromEngine::RunFinished { id }, 0.0)).is_some());
    }
    let id = pending(&state);
    assert!(state.receive(FromEngine::RunFinished { id }, 0.0).is_empty());
    assert_eq!((state.phase, state.tests.passed(Arm::Original)), (Phase::Ready, (0, 1)));
}

//! `codingspot fetch-data` against a hub on this machine that keeps the bundled questions as Parquet.

#![expect(clippy::unwrap_used, reason = "what a test's helper can't do fails the test")]

#[path = "common/hub.rs"]
mod hub;
#[path = "common/parquet_file.rs"]
mod parquet_file;

use codingspot_tasks::bundled;
use codingspot_tasks::document::Dataset;
use codingspot_tasks::row::Part;
use codingspot_tasks::task::Task;
use hub::{
    Home, LIMIT, Reply, Request, Server, TOKEN, bounded, fetched, file_names, git_sha1, ranged, refused,
    sha256, stdout,
};
use parquet_file::{Settings, write};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::time::Instant;

const CONVERTED: &str = "refs/convert/parquet";
const GSM8K: &str = "message schema { optional binary question (UTF8); optional binary answer (UTF8); }";
const GSM8K_TEST: &str = "main/test-00000-of-00001.parquet";
const GSM8K_TRAIN: &str = "main/train-00000-of-00001.parquet";

/// A list of texts, as Arrow writes it.
fn texts(name: &str) -> String {
    format!("optional group {name} (LIST) {{ repeated group list {{ optional binary element (UTF8); }} }}")
}

/// Fields of text.
fn fields(names: &[&str]) -> String {
    names.iter().fold(String::new(), |fields, name| fields + &format!("optional binary {name} (UTF8); "))
}

/// The schema of a task's set on the hub.
fn schema(task: Task) -> String {
    let fields = match task {
        Task::HumanEval | Task::HumanEvalStripped => {
            fields(&["task_id", "prompt", "canonical_solution", "test", "entry_point"])
        }
        Task::Gsm8k => return GSM8K.to_owned(),
        Task::HellaSwag => {
            "optional int32 ind; ".to_owned()
                + &fields(&["activity_label", "ctx_a", "ctx_b", "ctx"])
                + &texts("endings")
                + &fields(&["source_id", "split", "split_type", "label"])
        }
        Task::Mmlu => fields(&["question", "subject"]) + &texts("choices") + "optional int64 answer;",
        Task::TruthfulQaMc1 | Task::TruthfulQaMc2 => {
            let targets = |name: &str| {
                format!(
                    "optional group {name} {{ {} optional group labels (LIST) {{ repeated group list {{ optional int32 \
                     element; }} }} }}",
                    texts("choices")
                )
            };
            fields(&["question"]) + &targets("mc1_targets") + &targets("mc2_targets")
        }
        Task::WinoGrande => fields(&["sentence", "option1", "option2", "answer"]),
        Task::MultiPlE(_) => {
            fields(&["name", "language", "prompt", "doctests", "original", "prompt_terminology", "tests"])
                + &texts("stop_tokens")
        }
    };
    format!("message schema {{ {fields} }}")
}

fn values(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Repository, and the files of the documents and of the pool on its main branch.
fn place(task: Task) -> Option<(&'static str, String, Option<&'static str>)> {
    let (repo, documents, pool) = match task {
        Task::HumanEval | Task::HumanEvalStripped => {
            ("openai/openai_humaneval", "openai_humaneval/test-00000-of-00001.parquet", None)
        }
        Task::Gsm8k => ("openai/gsm8k", GSM8K_TEST, Some(GSM8K_TRAIN)),
        Task::HellaSwag => (
            "Rowan/hellaswag",
            "data/validation-00000-of-00001.parquet",
            Some("data/train-00000-of-00001.parquet"),
        ),
        Task::Mmlu => {
            ("cais/mmlu", "all/test-00000-of-00001.parquet", Some("all/dev-00000-of-00001.parquet"))
        }
        Task::TruthfulQaMc1 | Task::TruthfulQaMc2 => {
            ("truthfulqa/truthful_qa", "multiple_choice/validation-00000-of-00001.parquet", None)
        }
        Task::WinoGrande => (
            "allenai/winogrande",
            "winogrande_xl/validation-00000-of-00001.parquet",
            Some("winogrande_xl/train-00000-of-00001.parquet"),
        ),
        Task::MultiPlE(_) => {
            let config = match task.name() {
                "multiple-py" => return None,
                name => name.replace("multiple-", "humaneval-"),
            };
            return Some(("nuprl/MultiPL-E", format!("{config}/test-00000-of-00001.parquet"), None));
        }
    };
    Some((repo, documents.to_owned(), pool))
}

/// What a hub has: files by repository and revision.
type Contents = BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>;

fn contents_of(rows: impl Fn(Task) -> Option<(String, Option<String>)>) -> Contents {
    let mut contents = Contents::new();
    for task in Task::all() {
        let (Some((repo, documents, pool)), Some((lines, pool_lines))) = (place(task), rows(task)) else {
            continue;
        };
        let schema = schema(task);
        let file = |lines: &str| write(&schema, &values(lines), &Settings::default());
        let files = contents.entry((repo.to_owned(), "main".to_owned())).or_default();
        files.insert("README.md".to_owned(), b"# A set".to_vec());
        files.insert(documents, file(&lines));
        if let (Some(pool), Some(lines)) = (pool, pool_lines) {
            files.insert(pool.to_owned(), file(&lines));
        }
    }
    contents
}

/// The bundled questions, as the hub would keep them.
fn contents() -> Contents {
    contents_of(|task| {
        let (documents, pool) = bundled::rows(task);
        Some((documents.to_owned(), pool.map(str::to_owned)))
    })
}

/// The only files of gsm8k, at `main`.
fn gsm8k(contents: &mut Contents) -> &mut BTreeMap<String, Vec<u8>> {
    contents.get_mut(&("openai/gsm8k".to_owned(), "main".to_owned())).unwrap()
}

/// The commit of a revision.
fn commit(repo: &str, revision: &str) -> String {
    git_sha1(format!("{repo}@{revision}").as_bytes())
}

fn answer(contents: &Contents, request: &Request) -> Reply {
    for ((repo, revision), files) in contents {
        let commit = commit(repo, revision);
        let api = format!("/api/datasets/{repo}/revision/{}?blobs=true", revision.replace('/', "%2F"));
        if request.target == api {
            let siblings: Vec<Value> = files
                .iter()
                .map(|(name, bytes)| {
                    let lfs = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
                    let lfs = if name.ends_with("parquet") { lfs } else { Value::Null };
                    json!({"rfilename": name, "size": bytes.len(), "blobId": git_sha1(bytes), "lfs": lfs})
                })
                .collect();
            return Reply::new(200, json!({"id": repo, "sha": commit, "siblings": siblings}).to_string());
        }
        let name = request.target.strip_prefix(&format!("/datasets/{repo}/resolve/{commit}/"));
        if let Some(bytes) = name.and_then(|name| files.get(name)) {
            return ranged(request, bytes);
        }
    }
    let known =
        contents.keys().any(|(repo, _)| request.target.starts_with(&format!("/api/datasets/{repo}/")));
    let code = if known { "RevisionNotFound" } else { "RepoNotFound" };
    Reply::new(404, "{}").with("X-Error-Code", code)
}

fn serve(contents: Contents) -> Server {
    Server::start(Box::new(move |request| answer(&contents, request)))
}

impl Home {
    fn data(&self) -> PathBuf {
        self.path().join("caches/codingspot/data")
    }

    fn fetch(&self, server: &Server, more: &[&str]) -> Output {
        self.fetch_with(server, more, &[])
    }

    fn fetch_with(&self, server: &Server, more: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(&server.url(), &[&["fetch-data"][..], more].concat());
        command.env("XDG_CACHE_HOME", self.path().join("caches"));
        bounded(command.envs(variables.iter().copied()).spawn().unwrap())
    }
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The sets of a task in the program's JSON.
fn sets<'v>(result: &'v Value, task: &str) -> &'v Vec<Value> {
    let tasks = result["tasks"].as_array().unwrap();
    tasks.iter().find(|entry| entry["task"] == task).unwrap()["sets"].as_array().unwrap()
}

/// Asserts that the last line on stderr is a failure with all of `last`, and that all of `parts` are somewhere there.
fn failed(output: &Output, parts: &[&str], last: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let end = stderr.lines().last().unwrap();
    assert!(end.starts_with("error: ") && last.iter().all(|part| end.contains(part)), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn every_set_arrives_with_the_content_that_it_had() {
    let (home, server) = (Home::new(), serve(contents()));
    let result = fetched(&home.fetch(&server, &["--json", "--few-shot-pools"]));
    assert_eq!(result["path"], home.data().to_str().unwrap());
    let names: Vec<&Value> = result["tasks"].as_array().unwrap().iter().map(|entry| &entry["task"]).collect();
    let expected: Vec<&str> = Task::all().map(Task::name).filter(|name| *name != "multiple-py").collect();
    assert_eq!(names, expected);
    for task in Task::all().filter(|task| place(*task).is_some()) {
        let (repo, _, pool_file) = place(task).unwrap();
        let data = bundled::dataset(task).unwrap();
        let sets = sets(&result, task.name());
        assert_eq!(sets.len(), 1 + usize::from(pool_file.is_some()), "{task}");
        for (set, part) in sets.iter().zip([Part::Documents, Part::Pool]) {
            assert_eq!(set["sha256"], data.sha256(part).unwrap(), "{task}");
            assert_eq!((&set["known"], &set["repo"]), (&Value::Null, &json!(repo)));
            assert_eq!(set["commit"], commit(repo, "main"));
        }
        assert_eq!(sets[0]["rows"], data.len());
        // What was written is read back with the same content.
        let (documents, pool) = task.files();
        let read = |stem: &str| unpacked(&home.data().join(format!("{stem}.jsonl.gz")));
        let again = Dataset::parse(task, &read(documents), pool.map(read).as_deref()).unwrap();
        assert_eq!(again.sha256(Part::Pool), data.sha256(Part::Pool), "{task}");
        assert_eq!(again.sha256(Part::Documents), data.sha256(Part::Documents), "{task}");
    }
    // Fields keep their names, order and types.
    let first = unpacked(&home.data().join("hellaswag_val.jsonl.gz"));
    let (bundled, _) = bundled::rows(Task::HellaSwag);
    assert_eq!(
        first.lines().next().unwrap().replace(' ', ""),
        bundled.lines().next().unwrap().replace(' ', "")
    );
    // Every repository was listed once, though several tasks share it.
    let lists = server.requests().iter().filter(|(request, _)| request.target.starts_with("/api/")).count();
    assert_eq!(lists, 7, "{:?}", server.requests());
    assert_eq!(server.requests_for("README.md").len(), 0);
}

#[test]
fn large_pools_come_on_request_and_lines_name_every_set() {
    let (home, server) = (Home::new(), serve(contents()));
    let tasks = ["--tasks", "gsm8k,winogrande,gsm8k"];
    let said = stdout(&home.fetch(&server, &tasks));
    let data = bundled::dataset(Task::Gsm8k).unwrap();
    let line = |part, name: &str, rows: usize| {
        format!(
            "gsm8k, {name}: {rows} rows, sha256 {}, not a set that is known\n",
            &data.sha256(part).unwrap()[..12]
        )
    };
    let expected =
        line(Part::Documents, "documents", data.len()) + &line(Part::Pool, "pool", data.pool_len());
    assert!(said.starts_with(&(expected + "winogrande, documents: 3 rows")), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    let mut names = file_names(&home.data());
    names.sort();
    assert_eq!(names, ["gsm8k_test.jsonl.gz", "gsm8k_train.jsonl.gz", "winogrande_dev.jsonl.gz"]);
    // The layout of the cache is huggingface_hub's.
    let snapshot = home.cached("datasets--openai--gsm8k/snapshots").join(commit("openai/gsm8k", "main"));
    assert_eq!(fs::read(snapshot.join(GSM8K_TEST)).unwrap(), gsm8k(&mut contents())[GSM8K_TEST]);
    #[cfg(unix)]
    {
        let blob = sha256(&gsm8k(&mut contents())[GSM8K_TEST]);
        let link = fs::read_link(snapshot.join(GSM8K_TEST)).unwrap();
        assert_eq!(link, Path::new("../../../blobs").join(blob));
    }
    // Offline, the cache is enough for what was fetched; what was not is named, and the rest goes on.
    let before = server.requests().len();
    let other = home.path().join("other");
    let place = ["--data", other.to_str().unwrap()];
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_eq!(stdout(&home.fetch_with(&server, &[&tasks[..], &place[..]].concat(), &offline)), said);
    let more = [&["--tasks", "humaneval,gsm8k", "--json"][..], &place[..]].concat();
    let output = home.fetch_with(&server, &more, &offline);
    failed(
        &output,
        &["humaneval: openai/openai_humaneval@main is not in", "unset HF_HUB_OFFLINE"],
        &["1 of 2 tasks", "humaneval"],
    );
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sets(&result, "gsm8k").len(), 2);
    assert!(result["tasks"][0]["error"].as_str().unwrap().contains("HF_HUB_OFFLINE"));
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_split_in_parts_is_joined_in_order_and_a_missing_part_is_noticed() {
    let mut contents = contents();
    let files = gsm8k(&mut contents);
    files.remove(GSM8K_TRAIN);
    let (_, pool) = bundled::rows(Task::Gsm8k);
    let rows = values(pool.unwrap());
    for (index, rows) in rows.chunks(3).enumerate() {
        let name = format!("main/train-{index:05}-of-00003.parquet");
        files.insert(name, write(GSM8K, rows, &Settings::default()));
    }
    // Other splits and configurations whose names begin alike.
    files.insert("main/training-00000-of-00001.parquet".to_owned(), b"other".to_vec());
    files.insert("socratic/train-00000-of-00001.parquet".to_owned(), b"other".to_vec());
    let home = Home::new();
    let arguments = ["--tasks", "gsm8k", "--json"];
    let result = fetched(&home.fetch(&serve(contents.clone()), &arguments));
    let data = bundled::dataset(Task::Gsm8k).unwrap();
    assert_eq!(sets(&result, "gsm8k")[1]["sha256"], data.sha256(Part::Pool).unwrap());

    gsm8k(&mut contents).remove("main/train-00001-of-00003.parquet");
    let output = Home::new().fetch(&serve(contents), &arguments);
    failed(&output, &["main/train-00000-of-00003.parquet is one of 2 files"], &["1 of 1 tasks"]);
}

#[test]
fn a_set_that_is_no_parquet_comes_from_the_hubs_own_conversion() {
    let mut contents = contents();
    let files = std::mem::take(gsm8k(&mut contents));
    gsm8k(&mut contents).insert("main/test.jsonl".to_owned(), b"{}".to_vec());
    let converted = [("main/test/0000.parquet", GSM8K_TEST), ("main/train/0000.parquet", GSM8K_TRAIN)];
    let converted = converted.map(|(name, from)| (name.to_owned(), files[from].clone()));
    let mut without = contents.clone();
    contents.insert(("openai/gsm8k".to_owned(), CONVERTED.to_owned()), converted.into());
    let home = Home::new();
    let server = serve(contents);
    let result = fetched(&home.fetch(&server, &["--tasks", "gsm8k", "--json"]));
    let set = &sets(&result, "gsm8k")[0];
    assert_eq!(set["sha256"], bundled::dataset(Task::Gsm8k).unwrap().sha256(Part::Documents).unwrap());
    assert_eq!(set["commit"], commit("openai/gsm8k", CONVERTED));
    let reference = home.cached("datasets--openai--gsm8k/refs").join(CONVERTED);
    assert_eq!(fs::read_to_string(reference).unwrap(), commit("openai/gsm8k", CONVERTED));

    // A configuration that is nowhere fails by itself.
    let mmlu = without.get_mut(&("cais/mmlu".to_owned(), "main".to_owned())).unwrap();
    mmlu.retain(|name, _| !name.starts_with("all/"));
    let home = Home::new();
    let output = home.fetch(&serve(without), &["--tasks", "gsm8k,mmlu,truthfulqa_mc1"]);
    let said = [
        "gsm8k: openai/gsm8k has no Parquet files of the configuration main and split test",
        "mmlu: cais/mmlu has no Parquet files of the configuration all and split test",
        "has no revision refs/convert/parquet",
    ];
    failed(&output, &said, &["2 of 3 tasks", "gsm8k, mmlu"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("truthfulqa_mc1, documents: 2 rows"));
    assert_eq!(file_names(&home.data()), ["truthfulqa_mc.jsonl.gz"]);
}

#[test]
fn a_cut_download_goes_on_and_wrong_content_is_refused() {
    let (contents, asked) = (contents(), Mutex::new(0));
    let whole = gsm8k(&mut contents.clone())[GSM8K_TRAIN].len();
    let cut = contents.clone();
    let server = Server::start(Box::new(move |request| {
        let reply = answer(&cut, request);
        let mut asked = asked.lock().unwrap();
        if !request.target.ends_with(GSM8K_TRAIN) {
            return reply;
        }
        *asked += 1;
        if *asked == 1 { reply.cut_after(500) } else { reply }
    }));
    let home = Home::new();
    let started = Instant::now();
    fetched(&home.fetch(&server, &["--tasks", "gsm8k", "--json"]));
    assert!(started.elapsed() < LIMIT);
    let requests = server.requests_for(GSM8K_TRAIN);
    let starts: Vec<_> = requests.iter().map(|(request, _)| request.range_start()).collect();
    assert_eq!(starts, [None, Some(500)]);
    assert_eq!(requests[0].1 + requests[1].1, whole);

    let server = Server::start(Box::new(move |request| {
        let mut reply = answer(&contents, request);
        if request.target.ends_with(GSM8K_TEST) {
            reply.body[100] ^= 1;
        }
        reply
    }));
    let home = Home::new();
    let output = home.fetch(&server, &["--tasks", "gsm8k,humaneval"]);
    failed(
        &output,
        &["gsm8k: main/test-00000-of-00001.parquet of openai/gsm8k@main was refused", "hashes to"],
        &["gsm8k"],
    );
    assert_eq!(file_names(&home.data()), ["humaneval.jsonl.gz"]);
}

#[test]
fn rows_that_a_task_can_not_use_are_named_and_not_written() {
    let question = "message schema { optional binary question (UTF8); }";
    let rows = [json!({"question": "1 + 1?"})];
    let two = "message schema { optional binary question (UTF8); optional binary answer (UTF8); }";
    let null = [json!({"question": "1?", "answer": "#### 1"}), json!({"question": "2?", "answer": null})];
    let bytes = [json!({"question": [255], "answer": "#### 1"})];
    for (file, said) in [
        (write(question, &rows, &Settings::default()), "gsm8k, documents, row 1: no field `answer`"),
        (write(two, &null, &Settings::default()), "gsm8k, documents, row 2, field `answer`: not text"),
        (
            write(&GSM8K.replace(" (UTF8)", ""), &bytes, &Settings::default()),
            "main/test-00000-of-00001.parquet of openai/gsm8k@main was refused: column question, row 1: bytes that",
        ),
        (b"PAR1 is how it begins".to_vec(), "was refused: it is not a Parquet file, or is cut"),
    ] {
        let mut contents = contents();
        gsm8k(&mut contents).insert(GSM8K_TEST.to_owned(), file);
        let home = Home::new();
        failed(&home.fetch(&serve(contents), &["--tasks", "gsm8k"]), &[said], &["1 of 1 tasks"]);
        assert!(!home.data().exists());
    }
}

#[test]
fn names_sizes_and_gates_of_the_hub_are_not_trusted() {
    let contents = contents();
    for (from, to, said) in [
        (GSM8K_TEST, "main/test-%2e%2e.parquet", "main/test-%2e%2e.parquet"),
        (GSM8K_TEST, "main/test-../../../x.parquet", "has no Parquet files"),
        ("\"size\":", "\"size\":9999999", "more than the 268435456 that are read"),
    ] {
        let contents = contents.clone();
        let server = Server::start(Box::new(move |request| {
            let mut reply = answer(&contents, request);
            if request.target.starts_with("/api/") {
                reply.body = String::from_utf8(reply.body).unwrap().replace(from, to).into_bytes();
            }
            reply
        }));
        let home = Home::new();
        failed(&home.fetch(&server, &["--tasks", "gsm8k"]), &[said], &["1 of 1"]);
        assert!(server.requests().iter().all(|(request, _)| request.target.starts_with("/api/")));
        assert!(!home.data().exists());
    }
    let server = Server::start(Box::new(move |request| {
        if request.target.contains("gsm8k") {
            return Reply::new(403, "").with("X-Error-Code", "GatedRepo");
        }
        answer(&contents, request)
    }));
    let home = Home::new();
    let output = home.fetch_with(&server, &["--tasks", "gsm8k,humaneval"], &[("HF_TOKEN", TOKEN)]);
    let page = format!("{}/datasets/openai/gsm8k", server.url());
    failed(&output, &["gsm8k: ", "403", "licence", &page, "HF_TOKEN"], &["gsm8k"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(TOKEN));
    assert_eq!(file_names(&home.data()), ["humaneval.jsonl.gz"]);
    let (request, _) = server.requests().swap_remove(0);
    assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
}

#[test]
fn tasks_that_there_are_not_are_wrong_usage() {
    let (home, server) = (Home::new(), serve(Contents::new()));
    let output = home.run(&server.url(), &["fetch-data", "--tasks", "gsm9k"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("gsm9k") && said.contains("humaneval, "), "{said}");
    let output = home.fetch(&server, &["--tasks", "multiple-py"]);
    failed(&output, &["multiple-py: the hub has no set", "humaneval"], &["multiple-py"]);
    assert!(server.requests().is_empty());
    // An endpoint that is none fails as a whole.
    let mut command = home.command(&server.url(), &["fetch-data", "--tasks", "gsm8k"]);
    let output =
        bounded(command.env("HF_ENDPOINT", "ftp://x").env("XDG_CACHE_HOME", home.path()).spawn().unwrap());
    refused(&output, 1, &["HF_ENDPOINT", "ftp://x"]);
}

#[test]
fn full_sets_are_known_when_they_come_as_parquet() {
    let shared = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let bench = shared.join("data/bench");
    if !bench.is_dir() {
        println!("skipped: {} is not there (set CODINGSPOT_SHARED)", bench.display());
        return;
    }
    let tasks = [
        "humaneval",
        "gsm8k",
        "mmlu",
        "truthfulqa_mc1",
        "truthfulqa_mc2",
        "winogrande",
        "multiple-rs",
        "multiple-go",
    ];
    let contents = contents_of(|task| {
        if !tasks.contains(&task.name()) {
            return None;
        }
        let (documents, pool) = task.files();
        let read = |stem: &str| unpacked(&bench.join(format!("{stem}.jsonl.gz")));
        Some((read(documents), pool.filter(|_| task != Task::WinoGrande).map(read)))
    });
    let result = fetched(&Home::new().fetch(&serve(contents), &["--json", "--tasks", &tasks.join(",")]));
    for name in tasks {
        let stems = Task::from_name(name).unwrap().files();
        for (set, stem) in sets(&result, name).iter().zip([Some(stems.0), stems.1]) {
            let known = set["known"].as_str().unwrap_or_default();
            assert!(known.starts_with(stem.unwrap()), "{name}: {set}");
        }
    }
}

//! `codingspot fetch`, and models named by their place on the hub, against a hub on this machine:
//! what is asked for, what is sent, what stands in the cache afterwards, and what is said.

#![expect(clippy::unwrap_used, reason = "what a test's helper can't do fails the test")]

#[path = "common/hub.rs"]
mod hub;

use hub::{
    Home, LIMIT, Reply, Request, Server, TOKEN, bounded, fetched, file_names, git_sha1, ranged, refused,
    sha256, stdout,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/llama32-tiny").join(name)).unwrap()
}

/// The files of a repository `org/tiny`, with more in it than a Llama needs.
fn files() -> BTreeMap<String, Vec<u8>> {
    [
        ("config.json", fixture("config.json")),
        ("generation_config.json", b"{\"max_new_tokens\": 7}".to_vec()),
        (WEIGHTS, fixture(WEIGHTS)),
        ("README.md", b"# A model".to_vec()),
        ("pytorch_model.bin", b"pickled".to_vec()),
        ("consolidated.00.pth", b"pickled".to_vec()),
        ("consolidated.safetensors", b"other names".to_vec()),
        ("original/params.json", b"{}".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}

fn is_weights(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "safetensors" || extension == "bin")
}

/// What the hub says of `files` at `main`.
fn listing(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            let pointer = format!("pointer to {name}");
            if is_weights(name) {
                json!({"rfilename": name, "size": bytes.len(), "blobId": git_sha1(pointer.as_bytes()),
                    "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134}})
            } else {
                json!({"rfilename": name, "size": bytes.len(), "blobId": git_sha1(bytes)})
            }
        })
        .collect();
    json!({"id": "org/tiny", "sha": COMMIT, "private": false, "siblings": siblings})
}

/// The hub's answers, in its own form.
fn answer(files: &BTreeMap<String, Vec<u8>>, request: &Request) -> Reply {
    if request.target == "/api/models/org/tiny/revision/main?blobs=true" {
        return Reply::new(200, listing(files).to_string());
    }
    if let Some(name) = request.target.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"))
        && let Some(bytes) = files.get(name)
    {
        return ranged(request, bytes).with("X-Repo-Commit", COMMIT);
    }
    let known = request.target.starts_with("/api/models/org/tiny/");
    let code = if known { "RevisionNotFound" } else { "RepoNotFound" };
    Reply::new(404, "{}").with("X-Error-Code", code)
}

fn tiny_hub() -> Server {
    let files = files();
    Server::start(Box::new(move |request| answer(&files, request)))
}

/// A hub that answers for the weights with `weights`, given how often they were asked for before.
fn hub_with(weights: impl Fn(&Request, &[u8], usize) -> Reply + Send + 'static) -> Server {
    let files = files();
    let asked = Mutex::new(0);
    Server::start(Box::new(move |request| {
        if request.target.ends_with("/model.safetensors") {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            weights(request, &files[WEIGHTS], *asked - 1)
        } else {
            answer(&files, request)
        }
    }))
}

impl Home {
    fn repo(&self) -> PathBuf {
        self.cached("models--org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT)
    }

    fn fetch(&self, server: &Server) -> Output {
        self.run(&server.url(), &["fetch", "org/tiny", "--json"])
    }

    /// Names of all files below the cache but locks.
    fn contents(&self) -> Vec<String> {
        file_names(&self.repo())
    }
}

#[test]
fn a_fetched_model_is_used_offline_and_not_fetched_again() {
    let (home, server) = (Home::new(), tiny_hub());
    let result = fetched(&home.fetch(&server));
    let names: Vec<&str> =
        result["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["config.json", "generation_config.json", WEIGHTS]);
    assert_eq!(result["commit"], COMMIT);
    assert_eq!(result["path"], home.snapshot().to_str().unwrap());
    assert_eq!(result["bytes"], result["downloaded_bytes"]);
    assert_eq!(result["files"][2]["hash"], format!("sha256:{}", sha256(&fixture(WEIGHTS))));

    // The layout is that of huggingface_hub: contents by their hash, relative links, a reference.
    let snapshot: Vec<_> = fs::read_dir(home.snapshot()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(snapshot.len(), 3, "{snapshot:?}");
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
    assert_eq!(fs::read_to_string(home.repo().join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    {
        let link = |name: &str| fs::read_link(home.snapshot().join(name)).unwrap();
        let blobs = Path::new("../../blobs");
        assert_eq!(link(WEIGHTS), blobs.join(sha256(&fixture(WEIGHTS))));
        assert_eq!(link("config.json"), blobs.join(git_sha1(&fixture("config.json"))));
    }

    // Only the list is asked for the second time, in text mode too.
    let before = server.requests().len();
    let again = home.run(&server.url(), &["fetch", "org/tiny"]);
    assert_eq!(stdout(&again), format!("{}\n", home.snapshot().display()));
    assert_eq!(server.requests().len(), before + 1, "{:?}", server.requests());

    let nowhere = "http://127.0.0.1:9";
    for id in ["org/tiny", "org/tiny@main", &format!("org/tiny@{COMMIT}")] {
        let inspected = home.run(nowhere, &["inspect", id, "--json"]);
        let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/llama32-tiny");
        let directly = home.run(nowhere, &["inspect", expected.to_str().unwrap(), "--json"]);
        assert_eq!(fetched(&inspected), fetched(&directly), "{id}");
    }
    let offline = bounded(
        home.command(&server.url(), &["fetch", "org/tiny"]).env("HF_HUB_OFFLINE", "1").spawn().unwrap(),
    );
    assert_eq!(stdout(&offline), format!("{}\n", home.snapshot().display()));
    assert_eq!(server.requests().len(), before + 1);
}

#[test]
fn a_model_argument_is_fetched_unless_offline() {
    let (home, server) = (Home::new(), tiny_hub());
    let inspect = ["inspect", "org/tiny", "--json"];
    let offline = bounded(home.command(&server.url(), &inspect).env("HF_HUB_OFFLINE", "1").spawn().unwrap());
    refused(&offline, 1, &["org/tiny", "HF_HUB_OFFLINE"]);
    assert!(server.requests().is_empty());
    let output = home.run(&server.url(), &inspect);
    assert_eq!(fetched(&output)["architecture"], "LlamaForCausalLM");
    assert!(String::from_utf8_lossy(&output.stderr).contains("fetching org/tiny@main"));
    // Neither a directory nor of the hub's form.
    refused(&home.run(&server.url(), &["inspect", "tiny"]), 1, &["tiny", "not a directory", "ORG/NAME"]);
    let file = home.path().join("org/file");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "").unwrap();
    refused(&home.run(&server.url(), &["inspect", "org/file"]), 1, &["org/file", "not a directory"]);
}

#[test]
fn another_cache_and_the_hub_cache_variable_are_used() {
    let (home, server) = (Home::new(), tiny_hub());
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let fetch = ["fetch", "org/tiny@main", "--cache-dir", first.to_str().unwrap()];
    stdout(&home.run(&server.url(), &fetch));
    stdout(&bounded(
        home.command(&server.url(), &["fetch", "org/tiny"]).env("HF_HUB_CACHE", &second).spawn().unwrap(),
    ));
    for cache in [first, second] {
        assert!(cache.join("models--org--tiny/snapshots").join(COMMIT).join(WEIGHTS).is_file());
    }
    assert!(!home.path().join("hub").exists());
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let home = Home::new();
    let server = hub_with(|request, bytes, before| {
        let reply = ranged(request, bytes);
        match before {
            0 => reply.cut_after(60_000),
            1 => Reply::new(503, "busy"),
            _ => reply,
        }
    });
    fetched(&home.fetch(&server));
    let requests = server.requests_for(WEIGHTS);
    let starts: Vec<_> = requests.iter().map(|(request, _)| request.range_start()).collect();
    assert_eq!(starts, [None, Some(60_000), Some(60_000)]);
    assert_eq!(requests[0].1 + requests[2].1, fixture(WEIGHTS).len());
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
    assert!(!home.contents().iter().any(|name| name.contains("part")), "{:?}", home.contents());
}

#[test]
fn a_killed_download_goes_on_in_the_next_run() {
    let home = Home::new();
    let server = hub_with(|request, bytes, before| {
        let reply = ranged(request, bytes);
        if before == 0 { Reply { hang: true, ..reply.cut_after(60_000) } } else { reply }
    });
    let mut child = home.command(&server.url(), &["fetch", "org/tiny"]).spawn().unwrap();
    let part = home.repo().join("blobs").join(format!("{}.codingspot-part", sha256(&fixture(WEIGHTS))));
    let started = Instant::now();
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 60_000 {
        assert!(started.elapsed() < LIMIT, "the download did not begin");
        thread::sleep(Duration::from_millis(20));
    }
    // SIGKILL on Unix: nothing of ours runs at the end.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!home.snapshot().exists());
    let result = fetched(&home.fetch(&server));
    let requests = server.requests_for(WEIGHTS);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].0.range_start(), Some(60_000));
    assert_eq!(requests[1].1, fixture(WEIGHTS).len() - 60_000);
    // The config was whole, so it was not asked for again.
    assert_eq!(server.requests_for("config.json").len(), 1);
    assert_eq!(result["files"][0]["downloaded"], false);
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let home = Home::new();
    let server = hub_with(|_, bytes, before| {
        let reply = Reply::new(200, bytes);
        if before == 0 { reply.cut_after(60_000) } else { reply }
    });
    fetched(&home.fetch(&server));
    assert_eq!(server.requests_for(WEIGHTS).len(), 2);
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
}

#[test]
fn a_server_that_always_fails_is_left_after_a_few_attempts() {
    let home = Home::new();
    let server = hub_with(|_, _, _| Reply::new(503, "busy"));
    refused(&home.fetch(&server), 1, &[WEIGHTS, "503", "later"]);
    assert_eq!(server.requests_for(WEIGHTS).len(), 5);
    assert!(!home.snapshot().exists());
}

#[test]
fn wrong_content_is_refused_and_removed() {
    let home = Home::new();
    let flipped = hub_with(|request, bytes, _| {
        let mut bytes = bytes.to_vec();
        bytes[100_000] ^= 1;
        ranged(request, &bytes)
    });
    let expected = sha256(&fixture(WEIGHTS));
    refused(&home.fetch(&flipped), 1, &[WEIGHTS, &expected, "hashes to", "removed", "run the command again"]);
    let short = hub_with(|request, bytes, _| ranged(request, &bytes[..1000]));
    refused(&home.fetch(&short), 1, &[WEIGHTS, "1000 bytes", "150000", "removed"]);
    assert!(!home.snapshot().exists() && !home.repo().join("refs").exists());
    assert!(!home.contents().iter().any(|name| name.contains(&expected)), "{:?}", home.contents());
    // A small file is checked as well.
    let home = Home::new();
    let files = files();
    let config = Server::start(Box::new(move |request| {
        let mut reply = answer(&files, request);
        if request.target.ends_with("/config.json") {
            reply.body[0] = b' ';
        }
        reply
    }));
    refused(&home.fetch(&config), 1, &["config.json", "git-sha1:", "removed"]);
    // And the same cache is whole after a fetch from a sound hub.
    fetched(&home.fetch(&tiny_hub()));
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
}

#[test]
fn damage_in_the_cache_is_fetched_again() {
    let (home, server) = (Home::new(), tiny_hub());
    fetched(&home.fetch(&server));
    let blob = home.repo().join("blobs").join(sha256(&fixture(WEIGHTS)));
    let mut bytes = fixture(WEIGHTS);
    bytes[99] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let output = home.fetch(&server);
    assert!(String::from_utf8_lossy(&output.stderr).contains("damaged"));
    assert_eq!(fetched(&output)["downloaded_bytes"], 150_000);
    assert_eq!(fs::read(home.snapshot().join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
}

#[test]
fn gated_and_missing_models_are_explained() {
    let home = Home::new();
    let files = files();
    let gated = Server::start(Box::new(move |request| {
        if request.target.starts_with("/api/") {
            return answer(&files, request);
        }
        let status = if request.headers.contains_key("authorization") { 403 } else { 401 };
        Reply::new(status, "Access to model org/tiny is restricted").with("X-Error-Code", "GatedRepo")
    }));
    let page = format!("{}/org/tiny", gated.url());
    refused(&home.fetch(&gated), 1, &["401", "licence", &page, "HF_TOKEN"]);
    let fetch = ["fetch", "org/tiny"];
    let mut with_token = home.command(&gated.url(), &fetch);
    refused(&bounded(with_token.env("HF_TOKEN", TOKEN).spawn().unwrap()), 1, &["403", "licence", &page]);
    fs::write(home.path().join("token"), format!("{TOKEN}\n")).unwrap();
    refused(&home.run(&gated.url(), &fetch), 1, &["403", "licence", "/token"]);
    assert_eq!(gated.requests_for("config.json")[2].0.headers["authorization"], format!("Bearer {TOKEN}"));
    let mut bad = home.command(&gated.url(), &fetch);
    refused(&bounded(bad.env("HF_TOKEN", format!("{TOKEN}\u{e9}")).spawn().unwrap()), 1, &["HF_TOKEN"]);

    let server = tiny_hub();
    refused(&home.run(&server.url(), &["fetch", "org/other"]), 1, &["404", "org/other", "main"]);
    let revision = ["fetch", "org/tiny", "--revision", "v9"];
    refused(&home.run(&server.url(), &revision), 1, &["org/tiny", "no revision v9"]);
    refused(&home.run("http://127.0.0.1:9", &fetch), 1, &["127.0.0.1:9", "can't be reached", "network"]);
    refused(&home.run("ftp://x", &fetch), 1, &["HF_ENDPOINT", "ftp://x"]);
    for bad in ["../x", "a/b/c", "/etc/passwd", "a/..", "org/tiny@../x", ""] {
        refused(&home.run(&server.url(), &["fetch", bad]), 2, &["expected"]);
    }
    refused(&home.run(&server.url(), &["fetch", "org/tiny", "--revision", "a/../b"]), 2, &["a/../b"]);
    assert!(!home.snapshot().exists());
}

#[test]
fn a_token_goes_to_the_hub_and_not_where_it_redirects() {
    let home = Home::new();
    let other = Server::start(Box::new(|request| ranged(request, &fixture(WEIGHTS))));
    let elsewhere = format!("{}/signed?x=1", other.url());
    let files = files();
    let server = Server::start(Box::new(move |request| {
        if request.target.ends_with("/model.safetensors") {
            return Reply::new(302, "").with("Location", &elsewhere);
        }
        // A renamed repository: the hub's own relative redirect, which needs the token.
        if let Some(name) = request.target.strip_prefix("/renamed/") {
            let target = format!("/org/tiny/resolve/{COMMIT}/{name}");
            return answer(&files, &Request { target, headers: request.headers.clone() });
        }
        if request.target.ends_with("/config.json") {
            return Reply::new(307, "").with("Location", "/renamed/config.json");
        }
        answer(&files, request)
    }));
    let mut command = home.command(&server.url(), &["fetch", "org/tiny", "--json"]);
    let output = bounded(command.env("HF_TOKEN", TOKEN).spawn().unwrap());
    fetched(&output);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(TOKEN));
    assert_eq!(other.requests().len(), 1);
    for (request, _) in other.requests() {
        assert!(!format!("{request:?}").contains(TOKEN), "{request:?}");
    }
    assert_eq!(server.requests_for("config.json").len(), 2);
    for (request, _) in server.requests() {
        assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"), "{request:?}");
    }
    // A redirect that never ends is an end.
    let home = Home::new();
    let around = Server::start(Box::new(|request| Reply::new(302, "").with("Location", &request.target)));
    refused(&home.fetch(&around), 1, &["can't be reached", "redirects"]);
}

#[test]
fn what_is_no_llama_is_refused_before_its_weights() {
    for (from, to, said) in [
        ("LlamaForCausalLM", "GPT2LMHeadModel", "GPT2LMHeadModel"),
        ("\"hidden_size\": 48", "\"hidden_size\": \"wide\"", "config.json"),
    ] {
        let home = Home::new();
        let mut files = files();
        let config = String::from_utf8(fixture("config.json")).unwrap();
        assert!(config.contains(from));
        files.insert("config.json".to_owned(), config.replace(from, to).into_bytes());
        let server = Server::start(Box::new(move |request| answer(&files, request)));
        refused(&home.fetch(&server), 1, &["config.json of org/tiny@main", said]);
        assert!(server.requests_for(WEIGHTS).is_empty());
        assert!(!home.snapshot().exists());
    }
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index = |shard: &str| json!({"metadata": {}, "weight_map": {"a": shard, "b": shard}}).to_string();
    let serve = |shard: &str| {
        let mut files = files();
        files.remove(WEIGHTS);
        files.insert("model.safetensors.index.json".to_owned(), index(shard).into_bytes());
        files.insert("model-00001-of-00001.safetensors".to_owned(), b"weights".to_vec());
        files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
        Server::start(Box::new(move |request| answer(&files, request)))
    };
    let home = Home::new();
    let result = fetched(&home.fetch(&serve("model-00001-of-00001.safetensors")));
    let names: Vec<&Value> = result["files"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors.index.json",
            "generation_config.json",
            "tokenizer.json",
            "model-00001-of-00001.safetensors"
        ]
    );
    for (bad, said) in [
        ("../../../x.safetensors", "../../../x.safetensors"),
        ("/etc/passwd", "/etc/passwd"),
        (".hidden.safetensors", ".hidden"),
        ("pytorch_model.bin", "pytorch_model.bin"),
        ("a%2fb.safetensors", "a%2fb"),
        ("missing.safetensors", "has no missing.safetensors"),
    ] {
        let (home, server) = (Home::new(), serve(bad));
        refused(&home.fetch(&server), 1, &["org/tiny@main", said]);
        assert!(!home.snapshot().exists());
        assert!(!server.requests().iter().any(|(request, _)| is_weights(&request.target)));
    }
}

#[test]
fn a_list_that_lies_is_refused() {
    for (path, value, said) in [
        ("/sha", json!("../../.."), "commit"),
        ("/siblings", json!(7), "something else"),
        ("/siblings", json!([]), "config.json"),
        ("/siblings/1/blobId", json!("../../../../etc/passwd"), "can't be checked"),
        ("/siblings/1/size", json!(1_u64 << 60), "can't be checked"),
        ("/siblings/1/size", json!(1_u64 << 30), "more than the 67108864"),
        ("/siblings/1/size", Value::Null, "can't be checked"),
    ] {
        let home = Home::new();
        let files = files();
        let mut lie = listing(&files);
        let names: Vec<_> = files.keys().cloned().collect();
        let config = names.iter().position(|name| name == "config.json").unwrap();
        *lie.pointer_mut(&path.replace("/1/", &format!("/{config}/"))).unwrap() = value;
        let server = Server::start(Box::new(move |request| {
            if request.target.starts_with("/api/") {
                Reply::new(200, lie.to_string())
            } else {
                answer(&files, request)
            }
        }));
        refused(&home.fetch(&server), 1, &[said]);
        assert!(server.requests_for("config.json").is_empty(), "{path}");
    }
}

//! Conversations and documents under chat templates against those of `chat.py`, which renders them with Jinja; and
//! templates that mean harm.
#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use codingspot_tasks::bundled;
use codingspot_tasks::chat::{self, ChatError, ChatTemplate, Message, Role, TemplateFiles};
use codingspot_tasks::document::{Dataset, Options, Request};
use codingspot_tasks::task::Task;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const REGENERATE: &str = "python3 tasks/tests/chat.py SHARED > tasks/tests/chat.json";

#[derive(Deserialize)]
struct Reference {
    now: i64,
    templates: BTreeMap<String, String>,
    tokens: serde_json::Value,
    conversations: Vec<Conversation>,
    bundled: Vec<Case>,
    full: Vec<Case>,
}

#[derive(Deserialize, Debug)]
struct Conversation {
    template: String,
    messages: Vec<(String, String)>,
    add_generation_prompt: bool,
    text: Option<String>,
    error: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize, Debug)]
struct Case {
    task: String,
    template: String,
    num_fewshot: u32,
    limit: Option<usize>,
    documents: usize,
    requests: String,
}

impl Reference {
    fn read() -> Self {
        serde_json::from_str(include_str!("chat.json")).unwrap()
    }

    fn template(&self, name: &str) -> ChatTemplate {
        let mut config = self.tokens.clone();
        config["chat_template"] = json!(self.templates[name]);
        from_config(&config).unwrap()
    }

    fn check(&self, data: &Dataset, case: &Case) {
        let template = self.template(&case.template);
        let options =
            Options { num_fewshot: Some(case.num_fewshot), limit: case.limit, ..Options::default() };
        let mut hasher = sha2::Sha256::new();
        let mut add = |text: &str| hasher.update(format!("{}:{text}", text.len()));
        let mut documents = 0;
        for document in data.documents(&options).unwrap() {
            let mut document = document.unwrap();
            chat::apply(&mut document, &template, self.now).unwrap();
            documents += 1;
            for request in &document.requests {
                add(request.context());
                match request {
                    Request::Loglikelihood { continuation, .. } => add(continuation),
                    Request::Generate { stop, .. } => stop.iter().for_each(|stop| add(stop)),
                }
            }
        }
        assert_eq!(documents, case.documents, "{case:?}; {REGENERATE}");
        let mut hash = String::new();
        hasher.finalize().iter().for_each(|byte| write!(hash, "{byte:02x}").unwrap());
        assert_eq!(hash, case.requests, "{case:?}; {REGENERATE}");
    }
}

fn from_config(config: &serde_json::Value) -> Result<ChatTemplate, ChatError> {
    let config = config.to_string();
    let files = TemplateFiles { tokenizer_config: Some(&config), ..TemplateFiles::default() };
    Ok(ChatTemplate::new(&files)?.unwrap())
}

fn role(name: &str) -> Role {
    [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.name() == name).unwrap()
}

/// What a template makes of one question.
fn ask(template: &str) -> Result<String, ChatError> {
    from_config(&json!({"chat_template": template}))?.render(&[Message::new(Role::User, "hi")], true, 0)
}

#[test]
fn conversations_are_rendered_as_jinja_renders_them() {
    let reference = Reference::read();
    for case in &reference.conversations {
        let messages: Vec<_> =
            case.messages.iter().map(|(name, said)| Message::new(role(name), said)).collect();
        let found =
            reference.template(&case.template).render(&messages, case.add_generation_prompt, reference.now);
        match (&found, case.error.as_deref()) {
            (Ok(text), None) => assert_eq!(Some(text), case.text.as_ref(), "{case:?}; {REGENERATE}"),
            (Err(ChatError::Raised(message)), Some("raised")) => {
                assert_eq!(Some(message), case.message.as_ref(), "{case:?}; {REGENERATE}");
            }
            (Err(ChatError::Failed(_)), Some("failed")) => {}
            _ => panic!("{case:?}: {found:?}; {REGENERATE}"),
        }
    }
    for name in reference.templates.keys() {
        assert!(reference.conversations.iter().any(|case| case.template == *name), "{name}; {REGENERATE}");
    }
}

#[test]
fn bundled_questions_are_put_as_python_puts_them() {
    let reference = Reference::read();
    for case in &reference.bundled {
        let task = Task::from_name(&case.task).unwrap();
        reference.check(&bundled::dataset(task).unwrap(), case);
    }
    for task in Task::all() {
        assert!(reference.bundled.iter().any(|case| case.task == task.name()), "{task}; {REGENERATE}");
    }
}

#[test]
fn full_sets_are_put_as_python_puts_them() {
    let shared = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let bench = shared.join("data/bench");
    if !bench.is_dir() {
        println!("skipped: {} is not there (set CODINGSPOT_SHARED)", bench.display());
        return;
    }
    let read = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(bench.join(format!("{name}.jsonl.gz"))).ok()?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        Some(text)
    };
    let reference = Reference::read();
    for case in &reference.full {
        let task = Task::from_name(&case.task).unwrap();
        let (documents, pool) = task.files();
        let documents = read(documents).unwrap();
        // Where the pool isn't at hand, the documents stand in, as in Python.
        let pool = pool.map(|pool| read(pool).unwrap_or_else(|| documents.clone()));
        reference.check(&Dataset::parse(task, &documents, pool.as_deref()).unwrap(), case);
    }
}

#[test]
fn the_file_of_its_own_comes_first_and_default_is_taken_of_several() {
    let several =
        json!([{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "several"}]);
    let config = |template: serde_json::Value| json!({ "chat_template": template }).to_string();
    let text = |files: &TemplateFiles<'_>| ChatTemplate::new(files).unwrap().unwrap().render(&[], false, 0);
    let (one, several) = (config(json!("one")), config(several));
    let of = |config| TemplateFiles { tokenizer_config: Some(config), ..TemplateFiles::default() };
    assert_eq!(text(&of(&one)).unwrap(), "one");
    assert_eq!(text(&of(&several)).unwrap(), "several");
    let file = TemplateFiles { chat_template: Some("file"), ..of(&one) };
    assert_eq!(text(&file).unwrap(), "file");
    assert_eq!(text(&TemplateFiles { tokenizer_config: None, ..file }).unwrap(), "file");
    for none in [None, Some("{}"), Some(r#"{"chat_template":null,"bos_token":7}"#)] {
        let files = TemplateFiles { tokenizer_config: none, ..TemplateFiles::default() };
        assert!(ChatTemplate::new(&files).unwrap().is_none());
    }
    let error = from_config(&json!({"chat_template": [{"name": "rag", "template": ""}]})).unwrap_err();
    assert_eq!(error, ChatError::NoDefault { names: vec!["rag".into()] });
    for (config, part) in [
        ("{", "EOF"),
        ("[]", "a map"),
        (r#"{"chat_template":7}"#, "\"chat_template\""),
        (r#"{"chat_template":"","bos_token":7}"#, "\"bos_token\""),
        (r#"{"chat_template":"","additional_special_tokens":[[]]}"#, "\"additional_special_tokens\""),
    ] {
        let error = ChatTemplate::new(&of(config)).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json") && error.contains(part), "{error}");
    }
}

#[test]
fn special_tokens_come_from_both_files() {
    let text = |config: serde_json::Value, map: serde_json::Value| {
        let mut config = config;
        config["chat_template"] = json!(
            "{{ bos_token is defined }} {{ bos_token }} {{ eos_token }} {{ additional_special_tokens is defined }}"
        );
        let (config, map) = (config.to_string(), map.to_string());
        let files = TemplateFiles {
            tokenizer_config: Some(&config),
            special_tokens_map: Some(&map),
            ..TemplateFiles::default()
        };
        let template = ChatTemplate::new(&files).unwrap().unwrap();
        (template.render(&[], false, 0).unwrap(), template.bos().map(String::from))
    };
    let added = json!({"content": "<s>", "lstrip": false});
    let (found, bos) = text(json!({"bos_token": added}), json!({"eos_token": {"content": "</s>"}}));
    assert_eq!((&*found, bos.as_deref()), ("True <s> </s> False", Some("<s>")));
    let (found, bos) = text(json!({"bos_token": "a"}), json!({"bos_token": "b", "eos_token": "c"}));
    assert_eq!((&*found, bos.as_deref()), ("True b c False", Some("b")));
    // Newer files say it all.
    let newer = json!({"added_tokens_decoder": {}, "bos_token": null, "eos_token": "a"});
    let (found, bos) = text(newer, json!({"bos_token": "b", "eos_token": "c"}));
    assert_eq!((&*found, bos), ("False  a False", None));
}

#[test]
fn a_text_says_whether_it_begins_with_bos() {
    let config = json!({"chat_template": "{{ bos_token }}x", "bos_token": "<s>"});
    let template = from_config(&config).unwrap();
    assert!(template.begins_with_bos(&template.render(&[], true, 0).unwrap()));
    assert!(!template.begins_with_bos("x<s>"));
    for config in
        [json!({"chat_template": "x", "bos_token": ""}), json!({"chat_template": "x", "bos_token": null})]
    {
        assert!(!from_config(&config).unwrap().begins_with_bos("x"));
    }
}

#[test]
fn a_description_is_left_out_where_it_is_refused() {
    let reference = Reference::read();
    let data = bundled::dataset(Task::Mmlu).unwrap();
    let document = || data.documents(&Options::default()).unwrap().next().unwrap().unwrap();
    let description = "The following are multiple choice questions";
    for (template, has) in [("llama3.1", true), ("mistral", false)] {
        let mut applied = document();
        chat::apply(&mut applied, &reference.template(template), reference.now).unwrap();
        for (request, before) in applied.requests.iter().zip(&document().requests) {
            assert_eq!(request.context().contains(description), has, "{template}");
            let (
                Request::Loglikelihood { continuation, .. },
                Request::Loglikelihood { continuation: old, .. },
            ) = (request, before)
            else {
                panic!("{request:?}")
            };
            assert_eq!(format!(" {continuation}"), *old);
        }
        assert_eq!(applied.target_text(), document().target_text());
    }
    // A template that refuses everything leaves the document as it was.
    let mut applied = document();
    let template = from_config(&json!({"chat_template": "{{ raise_exception('no') }}"})).unwrap();
    assert_eq!(chat::apply(&mut applied, &template, 0), Err(ChatError::Raised("no".into())));
    assert_eq!(applied, document());
}

#[test]
fn failures_say_what_failed() {
    for (template, part) in [
        ("{% if %}", "chat_template:1"),
        ("{{ raise_exception('Only one turn') }}", "refuses this conversation: Only one turn"),
        ("{% macro f() %}{{ raise_exception('deep') }}{% endmacro %}{{ f() }}", "conversation: deep"),
        ("\n\n{{ messages.x.y }}", "undefined value (in chat_template:3)"),
        ("{{ nothing() }}", "unknown"),
        ("{{ 1|nothing }}", "nothing"),
        ("{% include 'a' %}", "unknown"),
        ("{{ messages[0].content.mro() }}", "mro"),
        ("{{ missing|tojson }}", "JSON has no undefined"),
        ("{{ [1]|tojson(indent=100000) }}", "indent"),
        ("{{ [1]|tojson(spaces=1) }}", "spaces"),
    ] {
        let error = ask(template).unwrap_err().to_string();
        assert!(error.contains(part), "{template}: {error}");
    }
    let template = from_config(&json!({"chat_template": ""})).unwrap();
    assert_eq!(template.render(&[], true, i64::MAX), Err(ChatError::Date(i64::MAX)));
}

/// Asserts that a template comes to an end soon, whatever its end.
fn ends(template: &str) -> Result<String, ChatError> {
    let start = Instant::now();
    let found = ask(template);
    let begin: String = template.chars().take(80).collect();
    assert!(start.elapsed() < Duration::from_mins(1), "{begin}: {:?}", start.elapsed());
    found
}

#[test]
fn endless_templates_are_stopped() {
    let nested = "{% for a in range(99999) %}".repeat(4) + "{{ 'x' * 999 }}" + &"{% endfor %}".repeat(4);
    assert_eq!(ends(&nested), Err(ChatError::LongText));
    for template in [
        "{% for a in range(99999) %}".repeat(4) + &"{% endfor %}".repeat(4),
        "{% set ns = namespace(x='a') %}{% for i in range(99999) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
            .into(),
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
            .into(),
        "{{ 'a' * 999999999 }}".into(),
        "{{ ('a' * 99999).replace('', 'b' * 99999) }}".into(),
        "{{ '%99999999s'|format('x') }}".into(),
        "{{ [1]|batch(99999999, 0)|list }}".into(),
    ] {
        assert_eq!(ends(&template), Err(ChatError::OutOfFuel), "{template}");
    }
    assert_eq!(ends("{{ 'a' * 5000000 }}"), Err(ChatError::LongText));
    for template in [
        "{{ range(999999999)|list }}",
        "{{ '{:999999999}'.format(5) }}",
        "{{ '{:.99999999f}'.format(5) }}",
        "{{ 'a'|indent(999999999) }}{{ 'a'|indent(width=999999999) }}",
        "{{ 2 ** 99999999 }}",
    ] {
        assert!(matches!(ends(template), Err(ChatError::Failed(_))), "{template}");
    }
}

#[test]
fn templates_that_would_exhaust_the_stack_are_refused() {
    let chain = |before: &str, link: &str, after: &str| [before, &link.repeat(20_000), after].concat();
    for template in [
        chain("{{ 1", "+1", " }}"),
        chain("{{ ", "not ", "1 }}"),
        chain("{{ ", "1 if 1 else ", "1 }}"),
        chain("{{ 1", "|int", " }}"),
        chain("{{ x", ".a", " }}"),
        chain("{{ x", "[0]", " }}"),
        chain("{{ 1", " is defined", " }}"),
        chain("{{ ", "-", "1 }}"),
        chain("{{ 1", "**1", " }}"),
        chain("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        "x".repeat(1 << 19),
    ] {
        let error = ends(&template).unwrap_err();
        let refused = matches!(error, ChatError::ComplexTemplate { .. } | ChatError::LongTemplate { .. });
        assert!(refused, "{}: {error}", &template[..20]);
    }
    // As long as they may be.
    for template in [
        ["{{ 1", &"+1".repeat(380), " }}"].concat(),
        ["{{ ", &"not ".repeat(760), "1 }}"].concat(),
        ["{{ ", &"1 if 1 else ".repeat(190), "1 }}"].concat(),
        ["{{ 'x'", &"|e".repeat(380), " }}"].concat(),
        ["{{ 1", &"**1".repeat(380), " }}"].concat(),
        ["{% if 0 %}", &"{% elif 0 %}".repeat(256), "{% endif %}"].concat(),
        "{% set x = [] %}".to_owned() + &"{% set x = [x] %}".repeat(60),
    ] {
        assert!(ends(&template).is_ok(), "{}", &template[..20]);
    }
    let brackets = ["{{ ", &"[".repeat(5000), &"]".repeat(5000), " }}"].concat();
    assert!(matches!(ends(&brackets), Err(ChatError::ComplexTemplate { .. } | ChatError::Syntax(_))));
    let brackets = ["{{ ", &"[".repeat(300), &"]".repeat(300), " }}"].concat();
    assert!(matches!(ends(&brackets), Err(ChatError::Syntax(_))));
    let blocks = ["{% if 1 %}".repeat(5000), "{% endif %}".repeat(5000)].concat();
    assert!(matches!(ends(&blocks), Err(ChatError::Syntax(_))));
}

#[test]
fn values_that_would_exhaust_the_stack_are_not_built() {
    let deep = |first: &str, next: &str, last: &str| {
        format!(
            "{{% set ns = namespace(x={first}) %}}{{% for i in range(99999) %}}{{% set ns.x = {next} %}}\
             {{% endfor %}}{last}"
        )
    };
    for template in [
        deep("[]", "[ns.x]", ""),
        deep("[]", "[ns.x]", "{{ ns.x }}"),
        deep("{}", "{'a': ns.x}", "{{ ns.x|tojson }}"),
        deep("{}", "{'a': ns.x}.values()", ""),
        deep("1", "(1, ns.x)", ""),
        deep("1", "namespace(x=ns.x)", ""),
        deep("1", "ns", "{{ ns }}"),
        deep("1", "[ns]", "{{ ns.x ~ '' }}"),
        deep("1", "dict(a=ns)", "{{ ns|tojson }}"),
        deep("1", "loop", ""),
        "{% macro f() %}{% endmacro %}{% set ns = namespace() %}{% set ns.f = f %}".into(),
        "{% set x = [] %}".to_owned() + &"{% set x = [x] %}".repeat(10_000),
        "{% set x = namespace() %}".to_owned() + &"{% set x = namespace(a=x) %}".repeat(5_000),
        "{% set (a, ns) = (1, namespace()) %}{% set ns.x = ns %}".into(),
        "{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}".into(),
        "{% for a in [1] recursive %}{{ loop([[a]]) }}{% endfor %}".into(),
    ] {
        let found = ends(&template);
        assert!(matches!(found, Err(ChatError::Failed(_))), "{}: {found:?}", &template[..70]);
    }
    // Iterators of iterators are taken apart at once, so that many of them are one list.
    let reversed = "{% set ns = namespace(x=[1, 2]) %}{% for i in range(9999) %}{% set ns.x = ns.x|reverse %}\
                    {% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x|join }}";
    assert_eq!(ends(reversed).unwrap(), "21");
    // What templates do with namespaces and loops stays possible.
    let outer = "{% set ns = namespace(a=[], b={'c': (1, 2)}) %}{% for m in messages %}{% set outer = loop %}\
                 {% set ns.a = ns.a + [outer.index] %}{% endfor %}{{ ns.a }}{{ ns.b }}";
    assert_eq!(ends(outer).unwrap(), "[1]{'c': (1, 2)}");
}

#[test]
fn nothing_of_the_program_is_in_reach() {
    for template in [
        "{{ messages.__class__ }}{{ ''.__class__ }}{{ lipsum }}{{ self }}{{ config }}{{ debug }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ ''|attr('__class__')|attr('__mro__') }}",
        "{% import 'os' as os %}",
    ] {
        let Ok(text) = ends(template) else { continue };
        assert_eq!(text, "", "{template}");
    }
}

proptest! {
    #[test]
    fn any_template_is_used_or_refused(template in r"(\{\{|\}\}|\{%|%\}|\{#|#\}|[ a-z0-9'(\[\])=.|+~-]|set |ns|raw|endraw|for|in|if|elif|endif|endfor|messages|generation|endgeneration){0,60}") {
        drop(ask(&template));
    }

    #[test]
    fn altered_templates_are_used_or_refused(name in 0..64_usize, at in 0..2000_usize, len in 0..40_usize, with in r"(\{\{|\}\}|\{%|%\}|[ a-z'(\[\])=.|-]){0,8}") {
        let reference = Reference::read();
        let template = reference.templates.values().nth(name % reference.templates.len()).cloned().unwrap_or_default();
        let mut characters: Vec<char> = template.chars().collect();
        let at = at.min(characters.len());
        let end = (at + len).min(characters.len());
        characters.splice(at..end, with.chars());
        let altered: String = characters.into_iter().collect();
        drop(ask(&altered));
    }

    #[test]
    fn any_message_is_rendered_whole(said in any::<String>()) {
        let reference = Reference::read();
        let text = reference.template("chatml").render(&[Message::new(Role::User, &*said)], true, 0)?;
        prop_assert_eq!(text, format!("<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"));
    }

    #[test]
    fn any_date_format_is_written(format in r"[%a-zA-Z0-9_. -]{0,20}", seconds in any::<i64>()) {
        let template = from_config(&json!({"chat_template": format!("{{{{ strftime_now('{format}') }}}}")}))?;
        let found = template.render(&[], true, seconds);
        prop_assert!(matches!(found, Ok(_) | Err(ChatError::Date(_))), "{found:?}");
    }
}

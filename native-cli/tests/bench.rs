//! `codingspot bench`: every benchmark at a tiny size gives its figures.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn bench(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_codingspot")).arg("bench").args(args).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((figures["bench"].as_str(), figures["schema_version"].as_u64()), (Some(args[0]), Some(1)));
    assert!(figures["machine"]["threads"].as_u64().unwrap() > 0);
    assert_eq!(figures["version"], env!("CARGO_PKG_VERSION"));
    times(&figures);
    figures
}

/// Two repeats, and a median and a minimum that are theirs.
fn times(figures: &Value) {
    let seconds: Vec<f64> =
        figures["repeats"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert_eq!(seconds.len(), 2);
    assert!(seconds.iter().all(|&s| s > 0.0), "{figures}");
    let (median, min) = (figures["median_s"].as_f64().unwrap(), figures["min_s"].as_f64().unwrap());
    assert!((median - f64::midpoint(seconds[0], seconds[1])).abs() < 1e-9);
    assert!((min - seconds[0].min(seconds[1])).abs() < 1e-9);
}

fn positive(figures: &Value, names: &[&str]) {
    for name in names {
        assert!(figures[name].as_f64().unwrap() > 0.0, "{name}: {figures}");
    }
}

fn fixture() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/llama32-tiny");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn select_reports_figures() {
    let figures = bench(&["select", "--parameters", "1000003", "--k", "0.25", "--repeats", "2", "--cold"]);
    assert_eq!(figures["parameters"]["scores"], 1_000_003);
    assert_eq!(figures["parameters"]["selected"], 2500);
    positive(&figures, &["bytes", "bytes_per_s", "times_plain_read"]);
    times(&figures["plain_read"]);
    positive(&figures["plain_read"], &["bytes", "bytes_per_s"]);
}

#[test]
fn load_reports_figures() {
    let figures = bench(&["load", "--model", &fixture(), "--device", "cpu", "--repeats", "2"]);
    positive(&figures, &["bytes", "bytes_per_s", "times_plain_read"]);
    positive(&figures["parameters"], &["parameters"]);
    times(&figures["plain_read"]);
}

#[test]
fn decode_reports_figures() {
    let config = fixture() + "/config.json";
    let args =
        ["--prompt-tokens", "5", "--tokens", "4", "--device", "cpu", "--repeats", "2", "--dtype", "f32"];
    let figures = bench(&[&["decode", "--config", &config], &args[..]].concat());
    for part in ["prefill", "decode"] {
        times(&figures[part]);
        positive(&figures[part], &["tokens", "tokens_per_s"]);
    }
    assert_eq!(figures["decode"]["tokens"], 3);
}

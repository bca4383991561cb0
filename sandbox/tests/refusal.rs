//! What happens where a building block is missing: a refusal, and no run.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use codingspot_sandbox::{Sandbox, SandboxOptions, Verdict, python};

fn options() -> SandboxOptions {
    let launcher = Some(env!("CARGO_BIN_EXE_codingspot-sandbox-launcher").into());
    SandboxOptions { launcher, ..SandboxOptions::default() }
}

/// Not a test of its own: says what there is, to those that start it elsewhere.
#[test]
#[ignore = "says what there is"]
fn says_what_there_is() {
    match Sandbox::new(options()) {
        Ok(sandbox) => {
            let mut program = python("");
            program.argv = vec!["/bin/true".into()];
            assert_eq!(sandbox.run(&program).unwrap().verdict, Verdict::Exited(0));
            println!("RUNS, as nobody: {}", sandbox.protection().as_nobody);
        }
        Err(refusal) => println!("REFUSES: {refusal}"),
    }
}

/// What a sandbox says in a new user namespace, after a shell command there.
#[expect(clippy::print_stdout, reason = "only tests call it")]
fn within(setup: &str) -> Option<String> {
    let unshare = Path::new("/usr/bin/unshare");
    if !unshare.exists()
        || !Command::new(unshare).args(["-Ur", "true"]).status().is_ok_and(|ended| ended.success())
    {
        println!("skipped: no user namespaces to test in");
        return None;
    }
    let script = format!("{setup} && exec \"$0\" --exact says_what_there_is --ignored --nocapture");
    let mut command = Command::new(unshare);
    command.args(["-Urm", "sh", "-c", &script]).arg(std::env::current_exe().ok()?);
    let output = command.output().ok()?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn refuses_without_user_namespaces() {
    let Some(said) = within("echo 0 > /proc/sys/user/max_user_namespaces") else { return };
    assert!(said.contains("REFUSES: can't run programs safely here: namespaces"), "{said}");
    assert!(said.contains("max_user_namespaces="), "hints: {said}");
    assert!(!said.contains("RUNS"), "{said}");
}

#[test]
fn refuses_without_network_namespaces() {
    let Some(said) = within("echo 0 > /proc/sys/user/max_net_namespaces") else { return };
    assert!(said.contains("REFUSES: can't run programs safely here: namespaces"), "{said}");
}

#[test]
fn refuses_where_proc_is_masked() {
    // As containers do.
    let Some(said) = within("mount -t tmpfs none /proc/sys") else { return };
    assert!(said.contains("REFUSES: can't run programs safely here: mount namespace: /proc"), "{said}");
}

#[test]
fn runs_within_another_user_namespace() {
    let Some(said) = within("true") else { return };
    assert!(said.contains("RUNS, as nobody: false"), "{said}");
}

#[test]
fn refuses_where_the_program_can_not_be_started_anew() {
    // This test's main does not begin with the launcher.
    let refusal = Sandbox::probe().unwrap_err();
    assert_eq!(refusal.missing, "launcher");
}

#[test]
fn refuses_a_launcher_that_is_none() {
    for launcher in ["/bin/true", "/bin/false", "/no/such/program"] {
        let refusal =
            Sandbox::new(SandboxOptions { launcher: Some(launcher.into()), ..options() }).unwrap_err();
        assert_eq!(refusal.missing, "sandbox", "{refusal}");
    }
}

//! Launcher of sandboxed programs as a program of its own, for callers that can't be started anew.

fn main() -> std::process::ExitCode {
    codingspot_sandbox::launch_if_asked();
    std::process::ExitCode::from(2)
}

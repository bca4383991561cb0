//! Launcher of sandboxed programs, for tests, whose own main can't become it.

fn main() -> std::process::ExitCode {
    codingspot_sandbox::launch_if_asked();
    std::process::ExitCode::from(2)
}

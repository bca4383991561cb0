//! The `codingspot` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    codingspot::main()
}

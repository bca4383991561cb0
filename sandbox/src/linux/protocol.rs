//! What the host and a run's processes tell each other, over a pair of sockets.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Limits, Verdict};

/// Tells a program that it was started as the launcher.
pub(super) const ASKED: &str = "CODINGSPOT_SANDBOX_LAUNCH";
/// User and group of programs, as they see themselves.
pub(super) const INSIDE_ID: u32 = 1000;
/// User and group of programs, as the host sees them when root starts them.
pub(super) const NOBODY: u32 = 65534;
/// Scratch directory and home of programs.
pub(super) const HOME: &str = "/tmp/work";

/// Something to be seen at a path inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// The host's file or directory, to read.
    Bind { source: PathBuf, target: PathBuf },
    /// A symbolic link.
    Link { to: PathBuf, target: PathBuf },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) argv: Vec<String>,
    pub(super) limits: Limits,
}

/// First message to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// This crate's version, as the launcher may be another program.
    pub(super) version: String,
    /// Only see what works.
    pub(super) probe: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) stdin: Vec<u8>,
    pub(super) env: Vec<(String, String)>,
    pub(super) steps: Vec<Step>,
    pub(super) scratch_bytes: u64,
}

/// Which users the host has given the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mapping {
    /// The caller's own, as [`INSIDE_ID`].
    Own,
    /// Root as root, to set up; and [`NOBODY`] as [`INSIDE_ID`], to run.
    RootAndNobody,
}

/// To the launcher and then to the run's init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToRun {
    /// The user namespace has its users.
    Mapped(Mapping),
    /// The host holds the init, and can end it.
    Go,
}

/// To the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToHost {
    /// The launcher has its namespaces.
    Unshared,
    /// The init has started, as this process.
    Init { pid: i32 },
    /// The sandbox stands.
    Ready { landlock: Option<u32> },
    /// A step's command runs.
    Started { step: usize },
    /// A step's command has ended, after this wall time, and then all that it started.
    Ended { verdict: Verdict, wall_nanos: u64, cpu_nanos: u64 },
    /// All processes have ended, using this since the launcher's start.
    Gone { cpu_nanos: u64 },
    /// A protection can't be had.
    Refused { missing: String, reason: String },
    /// The program's files can't be written.
    NoFiles { reason: String },
    /// A step's command can't be started.
    NoStart { step: usize, errno: i32 },
}

/// Writes one message, at once, so that two writers never mix.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// Reads one message.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut body)?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

/// Takes one message from the front of what was read so far.
pub(super) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if rest.len() < length {
        return Ok(None);
    }
    let message = postcard::from_bytes(&rest[..length]).map_err(io::Error::other)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// The socket as a stream of bytes.
pub(super) fn stream(socket: OwnedFd) -> std::os::unix::net::UnixStream {
    socket.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_and_in_order() {
        let mut bytes = Vec::new();
        send(&mut bytes, &ToHost::Started { step: 1 }).unwrap();
        send(&mut bytes, &ToHost::Gone { cpu_nanos: 7 }).unwrap();
        let mut buffer = Vec::new();
        let mut seen = Vec::new();
        for byte in bytes {
            buffer.push(byte);
            while let Some(message) = take::<ToHost>(&mut buffer).unwrap() {
                seen.push(format!("{message:?}"));
            }
        }
        assert_eq!(seen, ["Started { step: 1 }", "Gone { cpu_nanos: 7 }"]);
        assert!(buffer.is_empty());
    }
}

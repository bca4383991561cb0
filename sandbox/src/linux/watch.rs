//! What all processes of a run use together, read from the `/proc` of their PID namespace.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Ticks per second of times in `/proc`; the same on every architecture that Linux still runs on.
const TICKS: u64 = 100;

/// Processes of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time of the living, and of those they waited for.
    pub(super) cpu: Duration,
    /// Memory, in which pages that a fork shares count for each process.
    pub(super) memory_bytes: u64,
    /// Address space of all, which bounds what they share.
    address_space_bytes: u64,
}

/// A number of kB after a name, in a list like `/proc/1/status`, in bytes.
fn field(list: &str, name: &str) -> u64 {
    let line = list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Own and waited-for processor time, from `/proc/1/stat`, whose second field may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(4).map(|ticks| ticks.parse::<u64>().unwrap_or(0));
    Some(Duration::from_millis(ticks.sum::<u64>() * (1000 / TICKS)))
}

/// Private memory, and the page tables that hold it, which can outgrow it.
fn private(status: &str) -> u64 {
    field(status, "RssAnon") + field(status, "VmSwap") + field(status, "VmPTE")
}

/// The processes of the namespace but its init.
fn processes(proc: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        (pid != 1).then(|| entry.path())
    })
}

/// Looks at every process. Cheap; counts too much memory where processes share some.
pub(super) fn usage(proc: &Path) -> Usage {
    let mut usage = Usage::default();
    for process in processes(proc) {
        // A process may end at any time.
        let Ok(status) = fs::read_to_string(process.join("status")) else { continue };
        usage.memory_bytes += private(&status);
        usage.address_space_bytes += field(&status, "VmSize");
        usage.cpu +=
            fs::read_to_string(process.join("stat")).ok().and_then(|stat| cpu(&stat)).unwrap_or_default();
    }
    usage
}

/// Sizes of the memory shared between processes and with no file, by inode: all of it counts, used or not,
/// as pages stay that no process looks at any more.
fn shared(maps: &str, sizes: &mut BTreeMap<u64, u64>) {
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(_), Some(_), Some(_), Some(inode), Some("/dev/zero")) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let ends = range.split_once('-').map(|(from, to)| [from, to].map(|end| u64::from_str_radix(end, 16)));
        if let (Some([Ok(from), Ok(to)]), Ok(inode)) = (ends, inode.parse()) {
            let size = sizes.entry(inode).or_insert(0);
            *size = (*size).max(to.saturating_sub(from));
        }
    }
}

/// Private memory of all processes, in which pages that a fork shares count once. Dear; for when [`usage`]
/// seems too high. A process that hides how it shares counts in full.
fn exact_private(proc: &Path) -> u64 {
    let exact = processes(proc).filter_map(|process| {
        let status = fs::read_to_string(process.join("status")).ok()?;
        Some(match fs::read_to_string(process.join("smaps_rollup")) {
            Ok(rollup) => field(&rollup, "Pss_Anon") + field(&rollup, "SwapPss") + field(&status, "VmPTE"),
            Err(_) => private(&status),
        })
    });
    exact.sum()
}

/// Memory of all processes that has no file and is not private. The whole address space of a process that
/// hides what it maps.
fn all_shared(proc: &Path) -> u64 {
    let mut hidden = 0;
    let mut sizes = BTreeMap::new();
    for process in processes(proc) {
        match fs::read_to_string(process.join("maps")) {
            Ok(maps) => shared(&maps, &mut sizes),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                hidden +=
                    fs::read_to_string(process.join("status")).map_or(0, |status| field(&status, "VmSize"));
            }
            Err(_) => (),
        }
    }
    hidden + sizes.values().sum::<u64>()
}

/// Whether a run holds more memory than it may, beyond what a first look tells. A `thorough` look also sees
/// shared memory.
pub(super) fn exceeds(proc: &Path, usage: &Usage, limit_bytes: u64, thorough: bool) -> bool {
    let shared = if thorough && usage.address_space_bytes > limit_bytes { all_shared(proc) } else { 0 };
    shared + usage.memory_bytes > limit_bytes && shared + exact_private(proc) > limit_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) R 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 5 6 7 8 20 0 1 0 100 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_millis(260)));
        assert_eq!(cpu("garbage"), None);
    }

    #[test]
    fn memory_is_private_pages_swap_and_page_tables() {
        let status = "Name:\tx\nVmSize:\t  9000 kB\nVmPTE:\t  4 kB\nVmSwap:\t  2 kB\nRssAnon:\t  10 kB\n";
        assert_eq!(private(status), 16 << 10);
        assert_eq!(field(status, "VmSize"), 9000 << 10);
        assert_eq!(field(status, "Nothing"), 0);
    }

    #[test]
    fn memory_shared_without_a_file_counts_once() {
        let maps = "7f0000000000-7f0000200000 rw-s 00000000 00:01 12 /dev/zero (deleted)\n\
                    7f1000000000-7f1000001000 rw-s 00000000 00:01 13 /dev/zero (deleted)\n\
                    7f2000000000-7f2000001000 rw-p 00000000 00:00 0 \n\
                    7f3000000000-7f3000001000 r-xp 00000000 fe:00 99 /usr/bin/true\n";
        let mut sizes = BTreeMap::new();
        shared(maps, &mut sizes);
        shared(maps, &mut sizes);
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [(12, 2 << 20), (13, 4096)]);
    }

    #[test]
    fn every_living_process_is_seen() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, kilobytes) in [(1, 999), (2, 3), (30, 4)] {
            let at = proc.path().join(pid.to_string());
            fs::create_dir(&at).unwrap();
            fs::write(at.join("status"), format!("VmSize: 100 kB\nRssAnon: {kilobytes} kB\n")).unwrap();
            fs::write(at.join("stat"), format!("{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 1 0 0 0 20")).unwrap();
        }
        fs::create_dir(proc.path().join("self")).unwrap();
        let usage = usage(proc.path());
        assert_eq!((usage.memory_bytes, usage.cpu), (7 << 10, Duration::from_millis(20)));
        assert!(exceeds(proc.path(), &usage, 6 << 10, false));
        assert!(!exceeds(proc.path(), &usage, 7 << 10, false));
        // Memory shared with nobody shows to a thorough look, once the address space has room for it.
        let maps = "1000-2000 rw-s 00000000 00:01 12 /dev/zero (deleted)\n";
        fs::write(proc.path().join("2/maps"), maps).unwrap();
        assert!(exceeds(proc.path(), &usage, 10 << 10, true));
        assert!(!exceeds(proc.path(), &usage, 10 << 10, false));
        assert!(!exceeds(proc.path(), &usage, 11 << 10, true));
        // Half of one process's memory turns out to be shared with the other.
        fs::write(proc.path().join("30/smaps_rollup"), "Pss_Anon: 2 kB\n").unwrap();
        assert!(!exceeds(proc.path(), &usage, 6 << 10, false));
    }
}

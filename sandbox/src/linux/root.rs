//! The files that a run can see.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    move_mount, open_tree, unmount,
};

use super::protocol::{Entry, HOME, INSIDE_ID};
use super::sys::{self, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};

/// System paths that programs may read, where the host has them. `/etc` has only what runtimes need.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/openssl.cnf",
    "/etc/php",
    "/etc/R",
    "/etc/mono",
    "/etc/julia",
];

/// Devices that programs may use.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Files of the system that programs get in the host's stead.
const ETC: [(&str, &str); 4] = [
    (
        "passwd",
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nsandbox:x:1000:1000::/tmp/work:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// What every run sees of the host: links as they are, all else bound.
pub(super) fn system_entries() -> Vec<Entry> {
    let mut paths: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    // Java's settings, which its directory in /usr links to.
    let etc = fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut java: Vec<_> =
        etc.filter(|path| path.to_str().is_some_and(|path| path.starts_with("/etc/java"))).collect();
    java.sort_unstable();
    paths.append(&mut java);
    let entry = |path: PathBuf| {
        let kind = fs::symlink_metadata(&path).ok()?.file_type();
        if kind.is_symlink() {
            return Some(Entry::Link { to: fs::read_link(&path).ok()?, target: path });
        }
        Some(Entry::Bind { source: path.clone(), target: path })
    };
    paths.into_iter().filter_map(entry).collect()
}

/// What a caller asks to be readable: at its path, and where links in it lead.
pub(super) fn extra_entries(path: &Path) -> io::Result<Vec<Entry>> {
    if !path.is_absolute() {
        return Err(io::Error::other("its path is not absolute"));
    }
    let source = path.canonicalize()?;
    if [&source, path].iter().any(|path| Path::new(HOME).starts_with(path)) {
        return Err(io::Error::other("it would hide the scratch directory, or show everything"));
    }
    if ["/dev", "/proc", "/sys", "/run/user"].iter().any(|kernel| source.starts_with(kernel)) {
        return Err(io::Error::other("it leads to devices, processes or sockets of the host"));
    }
    let mut entries = vec![Entry::Bind { source: source.clone(), target: source.clone() }];
    if source != path {
        entries.push(Entry::Bind { source, target: path.to_owned() });
    }
    Ok(entries)
}

/// A copy of what is mounted at a path, not mounted yet.
fn grab(path: &Path, attributes: u64) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags | OpenTreeFlags::AT_RECURSIVE)?;
    sys::mount_setattr(&tree, attributes, true)?;
    Ok(tree)
}

fn make_directories(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Where `target` is beneath `base`. Has its directories made; refuses to leave through links or `..`.
fn place(base: &Path, target: &Path) -> io::Result<PathBuf> {
    let mut at = base.to_owned();
    let mut parts = target.components().skip(1).peekable();
    while let Some(part) = parts.next() {
        let std::path::Component::Normal(part) = part else {
            return Err(io::Error::other("its path has dots"));
        };
        at.push(part);
        if parts.peek().is_some() && fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink()) {
            return Err(io::Error::other("its path leads through a link of the system"));
        }
    }
    make_directories(at.parent().expect("base is above"))?;
    Ok(at)
}

fn attach(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode).is_dir() {
        make_directories(at)?;
    } else if !at.exists() {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(at)?;
    }
    Ok(move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Whether an earlier entry's directory holds this one, at the same path as on the host.
fn is_covered(entries: &[Entry], index: usize) -> bool {
    let Entry::Bind { source, target } = &entries[index] else { return false };
    entries[..index].iter().any(|earlier| match earlier {
        Entry::Bind { source: from, target: to } => {
            from == to && source == target && source.starts_with(from)
        }
        Entry::Link { .. } => false,
    })
}

/// Whether another entry already makes an alias lead to its source.
fn is_alias_there(entries: &[Entry], index: usize) -> bool {
    let Entry::Bind { source, target } = &entries[index] else { return false };
    source != target
        && entries.iter().any(|other| match other {
            Entry::Bind { source: from, target: to } => from == to && target.starts_with(to),
            Entry::Link { target: link, .. } => target.starts_with(link),
        })
}

/// What went wrong, and with what.
fn with<E: Into<io::Error>>(what: &Path) -> impl FnOnce(E) -> io::Error + '_ {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{}: {error}", what.display()))
    }
}

/// Makes the namespace's root one that has the entries, devices, `/proc` and a scratch directory, and
/// nothing else.
pub(super) fn enter(entries: &[Entry], scratch_bytes: u64) -> io::Result<()> {
    let top = Path::new("/");
    mount_change(top, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;

    // All is grabbed before anything is mounted over it.
    let mut trees = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Entry::Bind { source, target } = entry
            && !is_covered(entries, index)
            && !is_alias_there(entries, index)
        {
            let tree = grab(source, READ_ONLY | NO_SUID | NO_DEV).map_err(with(source))?;
            trees.push((tree, target));
        }
    }
    let mut devices = Vec::new();
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        devices.push((grab(&path, NO_SUID | NO_EXEC).map_err(with(&path))?, name));
    }

    let base = Path::new("/tmp");
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", base, "tmpfs", quiet, c"size=1m,nr_inodes=4k,mode=755").map_err(with(base))?;
    let at = base.join("tmp");
    make_directories(&at)?;
    // A file needs some memory of its own besides its content.
    let options = format!(
        "size={scratch_bytes},nr_inodes={},mode=1777,uid={INSIDE_ID},gid={INSIDE_ID}",
        (scratch_bytes / 4096).clamp(1024, 65536)
    );
    let options = std::ffi::CString::new(options).expect("has no zero byte");
    mount("tmpfs", &at, "tmpfs", quiet, options.as_c_str()).map_err(with(&at))?;
    for entry in entries {
        if let Entry::Link { to, target } = entry {
            symlink(to, place(base, target)?).map_err(with(target))?;
        }
    }
    for (tree, target) in trees {
        place(base, target).and_then(|at| attach(&tree, &at)).map_err(with(target))?;
    }
    for (tree, name) in devices {
        attach(&tree, &place(base, &Path::new("/dev").join(name))?)?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("shm", "/tmp/.shm"),
    ] {
        symlink(to, base.join("dev").join(name))?;
    }
    for (name, content) in ETC {
        fs::write(place(base, &Path::new("/etc").join(name))?, content)?;
    }
    make_directories(&base.join("var"))?;
    symlink("/tmp", base.join("var/tmp"))?;

    let at = base.join("proc");
    make_directories(&at)?;
    // The kernel denies one where something is mounted over the host's, as in some containers.
    mount("proc", &at, "proc", quiet | MountFlags::NOEXEC, c"subset=pid")
        .map_err(with(Path::new("/proc")))?;

    rustix::process::chdir(base)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir(top)?;
    sys::mount_setattr(File::open(top)?, READ_ONLY, false)?;
    Ok(())
}

/// Writes a program's files, and makes the scratch directory. As the user that the program runs as.
pub(super) fn write_files(home: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir(home)?;
    fs::DirBuilder::new().mode(0o1777).create("/tmp/.shm")?;
    for (name, content) in files {
        let path = home.join(name);
        if let Some(parent) = path.parent() {
            make_directories(parent).map_err(with(parent))?;
        }
        fs::write(&path, content).map_err(with(&path))?;
    }
    rustix::process::chdir(home)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, target: &str) -> Entry {
        Entry::Bind { source: source.into(), target: target.into() }
    }

    #[test]
    fn paths_within_others_are_bound_once() {
        let entries = [
            bind("/usr", "/usr"),
            bind("/usr/lib/go", "/usr/lib/go"),
            bind("/usrlocal", "/usrlocal"),
            bind("/usr/lib/go", "/opt/go"),
        ];
        let covered: Vec<_> = (0..entries.len()).map(|index| is_covered(&entries, index)).collect();
        assert_eq!(covered, [false, true, false, false]);
    }

    #[test]
    fn aliases_are_bound_only_where_no_link_leads_there() {
        let entries = [
            bind("/usr", "/usr"),
            Entry::Link { to: "usr/lib".into(), target: "/lib".into() },
            bind("/usr/lib/jvm", "/lib/jvm"),
            bind("/opt/go", "/usr/local/go"),
            bind("/opt/go", "/go"),
        ];
        let there: Vec<_> = (0..entries.len()).map(|index| is_alias_there(&entries, index)).collect();
        assert_eq!(there, [false, false, true, true, false]);
    }

    #[test]
    fn places_do_not_leave_through_links_or_dots() {
        let base = tempfile::tempdir().unwrap();
        symlink("/etc", base.path().join("out")).unwrap();
        assert!(place(base.path(), Path::new("/out/file")).is_err());
        assert!(place(base.path(), Path::new("/a/../../file")).is_err());
        assert_eq!(place(base.path(), Path::new("/a/b")).unwrap(), base.path().join("a/b"));
        assert!(base.path().join("a").is_dir());
    }

    #[test]
    fn the_whole_host_is_not_readable_on_request() {
        assert!(extra_entries(Path::new("/")).is_err());
        assert!(extra_entries(Path::new("/usr/..")).is_err());
        assert!(extra_entries(Path::new("relative")).is_err());
        assert!(extra_entries(Path::new("/proc/self")).is_err());
        assert!(extra_entries(Path::new("/tmp")).is_err());
    }
}

//! Attempts to reach what is outside: files, networks, processes, privileges. Each is also made without
//! protection, where that harms nothing, to show that it would work.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use codingspot_sandbox::{Outcome, Program, Verdict};
use common::{PYTHON, attack, inside, outside, text, unprotected, with_python};

const SECRET: &str = "a secret of the host";

/// A program given a list of strings, as `A`.
fn attack_with(arguments: &[String], source: &str) -> Program {
    let list: Vec<_> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
    attack(&format!("A = [{}]\n{source}", list.join(", ")))
}

/// A process of the host for attacks to find, ended with the test.
struct Bystander(Child);

#[expect(clippy::unwrap_used, reason = "only tests call it")]
impl Bystander {
    fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("60").env("SECRET", SECRET).spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

#[expect(clippy::unwrap_used, reason = "only tests call it")]
impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// IDs of the host's processes that have a word in their command line.
#[expect(clippy::unwrap_used, reason = "only tests call it")]
fn processes_with(word: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        text(&line).contains(word).then_some(pid)
    });
    pids.collect()
}

#[test]
fn secrets_of_the_host_are_not_readable() {
    let Some(sandbox) = with_python() else { return };
    let bystander = Bystander::new();
    let temporary = tempfile::tempdir().unwrap();
    let home = std::env::var_os("HOME").map(PathBuf::from).and_then(|home| tempfile::tempdir_in(home).ok());
    let mut paths = vec![
        "/etc/shadow".into(),
        "/proc/1/environ".into(),
        format!("/proc/{}/environ", bystander.pid()),
        format!("/proc/{}/environ", std::process::id()),
    ];
    let mut planted = 0;
    for directory in [Some(&temporary), home.as_ref()].into_iter().flatten() {
        let path = directory.path().join("secret");
        fs::write(&path, SECRET).unwrap();
        let path = path.to_str().unwrap().to_owned();
        for pid in ["self", "1", "2", "thread-self"] {
            paths.push(format!("/proc/{pid}/root{path}"));
            paths.push(format!("/proc/{pid}/cwd/../../..{path}"));
        }
        paths.push(format!("/..{path}"));
        paths.push(path);
        planted += 1;
    }
    let program = attack_with(
        &paths,
        r"
import os
for path in A:
    for way in ('plain', 'link'):
        try:
            if way == 'link':
                os.symlink(path, 'link')
                path = 'link'
            print('REACHED', path, open(path).read())
        except OSError:
            pass
        finally:
            if os.path.lexists('link'): os.unlink('link')
",
    );
    let found = inside(sandbox, &program);
    assert!(!found.contains("REACHED"), "{found}");
    let found = outside(&program);
    assert!(found.matches(SECRET).count() > planted, "{found}");
}

#[test]
fn nothing_of_the_host_is_visible_but_system_paths() {
    let Some(sandbox) = with_python() else { return };
    let seen = inside(
        sandbox,
        &attack(
            r"
import os
print(sorted(os.listdir('/')))
print(sorted(os.listdir('/etc')))
print(sorted(os.listdir('/dev')))
print(sorted(os.listdir('/tmp')), os.getcwd())
print(os.uname().nodename, os.getuid(), os.getgid())
",
        ),
    );
    let allowed =
        ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "nix", "proc", "sbin", "tmp", "usr", "var"];
    let lines: Vec<&str> = seen.lines().collect();
    for name in lines[0].split('\'').skip(1).step_by(2) {
        assert!(allowed.contains(&name), "{name} is visible");
    }
    for name in ["shadow", "hostname", "machine-id", "ssh", "sudoers", "environment"] {
        assert!(!lines[1].contains(&format!("'{name}'")), "{name} is visible");
    }
    assert_eq!(
        lines[2],
        "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']"
    );
    assert_eq!(lines[3], "['.shm', 'work'] /tmp/work");
    assert_eq!(lines[4], "sandbox 1000 1000");
}

#[test]
fn nothing_outside_the_scratch_can_be_written() {
    let Some(sandbox) = with_python() else { return };
    let temporary = tempfile::tempdir().unwrap();
    // For any user of the host to write to.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("codingspot-escaped-{}", std::process::id());
    let planted = temporary.path().join(&name).to_str().unwrap().to_owned();
    let mut paths: Vec<String> =
        ["/", "/usr", "/usr/bin", "/usr/local", "/etc", "/bin", "/lib", "/var", "/proc", "/dev"]
            .iter()
            .map(|directory| Path::new(directory).join(&name).to_str().unwrap().to_owned())
            .collect();
    let source = r"
import os
for path in A:
    try:
        open(path, 'w').write('x')
        print('REACHED', path)
    except OSError as error:
        print(error.errno)
for path in ('/usr/bin/env', '/etc/passwd', '/etc/ld.so.cache', '/lib'):
    for what in (lambda: os.chmod(path, 0o777), lambda: os.utime(path), lambda: os.unlink(path),
                 lambda: os.rename(path, 'mine'), lambda: os.link(path, 'mine'), lambda: open(path, 'a'),
                 lambda: os.truncate(path, 0), lambda: os.setxattr(path, 'user.x', b'')):
        try:
            what()
            print('REACHED', path)
        except OSError:
            pass
";
    let own =
        attack_with(std::slice::from_ref(&planted), &source[..source.find("for path in ('/usr").unwrap()]);
    paths.push(planted.clone());
    let seen = inside(sandbox, &attack_with(&paths, source));
    assert!(!seen.contains("REACHED"), "{seen}");
    for path in paths {
        assert!(!Path::new(&path).exists(), "{path}");
    }
    // The scratch's are writable, and not the host's.
    let shared = ["/tmp", "/dev/shm", "/var/tmp"].map(|directory| format!("{directory}/{name}"));
    let seen = inside(sandbox, &attack_with(&shared, &source[..source.find("for path in ('/usr").unwrap()]));
    assert_eq!(seen.matches("REACHED").count(), 3, "{seen}");
    for path in shared {
        assert!(!Path::new(&path).exists(), "{path}");
    }
    assert!(outside(&own).contains("REACHED") && Path::new(&planted).exists());
}

#[test]
fn what_may_be_read_is_mounted_so_that_nobody_can_write() {
    let Some(sandbox) = with_python() else { return };
    let temporary = tempfile::tempdir().unwrap();
    // Which the host would let anyone write to.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = temporary.path().join("file");
    fs::write(&path, "as it was").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let mut program = attack_with(
        &[temporary.path().to_str().unwrap().to_owned()],
        r"
import os
print(open(A[0] + '/file').read())
for what in (lambda: open(A[0] + '/file', 'w'), lambda: open(A[0] + '/new', 'w'), lambda: os.unlink(A[0] + '/file'),
             lambda: os.mkdir(A[0] + '/new'), lambda: os.utime(A[0] + '/file')):
    try:
        what()
        print('REACHED')
    except OSError: pass
for line in open('/proc/self/mountinfo'):
    place, options = line.split()[4:6]
    if 'ro' not in options.split(','): print(place)
    if 'nosuid' not in options.split(','): print('set-user-ID', place)
    if 'nodev' not in options.split(',') and not place.startswith('/dev/'): print('devices', place)
",
    );
    program.extra_read_only = vec![temporary.path().to_owned()];
    let seen = inside(sandbox, &program);
    let mut places: Vec<&str> = seen.lines().skip(1).collect();
    places.sort_unstable();
    assert!(seen.starts_with("as it was\n"), "{seen}");
    let devices = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];
    assert_eq!(places, [devices.as_slice(), &["/proc", "/tmp"]].concat());
    assert_eq!(fs::read_to_string(&path).unwrap(), "as it was");
    program.extra_read_only = Vec::new();
    assert!(outside(&program).contains("REACHED"));
}

#[test]
fn no_socket_reaches_the_host() {
    let Some(sandbox) = with_python() else { return };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let name = format!("codingspot-test-{}", std::process::id());
    let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_listener = UnixListener::bind_addr(&abstract_address).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = temporary.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let arguments = [port.to_string(), name, path.to_str().unwrap().to_owned()];
    let mut program = attack_with(
        &arguments,
        r"
import os, socket
if os.path.exists(A[2]): print('VISIBLE')
def tcp(host, family):
    with socket.socket(family) as s:
        s.settimeout(2)
        s.connect((host, int(A[0])))
def unix(address):
    with socket.socket(socket.AF_UNIX) as s: s.connect(address)
for name, what in (('tcp', lambda: tcp('127.0.0.1', socket.AF_INET)),
                   ('abstract', lambda: unix('\0' + A[1])),
                   ('path', lambda: unix(A[2]))):
    try:
        what()
        print('REACHED', name)
    except OSError as error:
        print(name, error)
",
    );
    // Even where the directory with a socket is readable on request.
    program.extra_read_only = vec![temporary.path().to_owned()];
    let seen = inside(sandbox, &program);
    assert!(!seen.contains("REACHED") && seen.contains("VISIBLE"), "{seen}");
    assert_eq!(outside(&program).matches("REACHED").count(), 3);
    drop((tcp, abstract_listener, listener));
}

#[test]
fn no_kind_of_socket_can_be_made_and_no_name_resolved() {
    let Some(sandbox) = with_python() else { return };
    // Not made without protection, as names would be asked of the network.
    let seen = inside(
        sandbox,
        &attack(
            r"
import socket
for family in range(0, 46):
    for kind in (1, 2, 3, 5):
        for protocol in (0, 1, 6, 17, 255):
            try:
                socket.socket(family, kind, protocol).close()
                print('REACHED', family, kind, protocol)
            except OSError: pass
for name in ('example.com', 'localhost'):
    try:
        socket.create_connection((name, 80), timeout=2)
        print('REACHED', name)
    except OSError: pass
try:
    socket.getaddrinfo('example.com', 80)
    print('REACHED names')
except OSError: pass
a, b = socket.socketpair()
a.send(b'hello'); print(b.recv(9))
for what in (lambda: a.bind('mine'), lambda: a.listen(), lambda: a.connect('\0x'), lambda: a.accept()):
    try:
        what()
        print('REACHED')
    except OSError: pass
print([line.split(':')[0].strip() for line in open('/proc/self/net/dev')][2:])
print(sum(1 for line in open('/proc/self/net/route')))
",
        ),
    );
    assert!(!seen.contains("REACHED"), "{seen}");
    assert!(seen.contains("b'hello'"), "{seen}");
    // A network namespace of its own, where the system call filter plays no part.
    assert!(seen.contains("['lo']") && matches!(seen.lines().last(), Some("0" | "1")), "{seen}");
}

#[test]
fn every_namespace_is_its_own() {
    let Some(sandbox) = with_python() else { return };
    let program = attack(
        "import os\nfor n in sorted(os.listdir('/proc/self/ns')): print(n, os.readlink('/proc/self/ns/' + n))",
    );
    let own: Vec<String> = inside(sandbox, &program).lines().map(ToOwned::to_owned).collect();
    let host: Vec<String> = outside(&program).lines().map(ToOwned::to_owned).collect();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let of = |lines: &[String]| lines.iter().find(|line| line.starts_with(&format!("{name} "))).cloned();
        assert!(of(&own).is_some(), "{own:?}");
        assert_ne!(of(&own), of(&host), "{name}");
    }
}

#[test]
fn no_process_of_the_host_is_visible_or_takes_signals() {
    let Some(sandbox) = with_python() else { return };
    let mut bystander = Bystander::new();
    let program = attack_with(
        &[bystander.pid(), std::process::id().to_string()],
        r"
import os, signal
print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))
for pid in map(int, A):
    try:
        os.kill(pid, 0)
        print('REACHED', pid)
    except OSError: pass
",
    );
    let seen = inside(sandbox, &program);
    assert_eq!(seen, "[1, 2]\n");
    assert_eq!(outside(&program).matches("REACHED").count(), 2);
    // Signals to all, which without protection would end the tests.
    let outcome = sandbox
        .run(&attack("import os, time\ntry: os.kill(-1, 9)\nexcept ProcessLookupError: pass\ntime.sleep(0.2)\nprint('on')"))
        .unwrap();
    assert_eq!((outcome.verdict, text(&outcome.stdout).as_str()), (Verdict::Exited(0), "on\n"));
    assert!(bystander.lives());
    let deadly = attack_with(&[bystander.pid()], "import os\nos.kill(int(A[0]), 9)");
    assert_eq!(sandbox.run(&deadly).unwrap().verdict, Verdict::Exited(1));
    assert!(bystander.lives());
    assert_eq!(unprotected(&deadly).verdict, Verdict::Exited(0));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!bystander.lives());
    // Its place is taken, so that ending it again does no harm.
    bystander = Bystander::new();
    assert!(bystander.lives());
}

#[test]
fn the_init_takes_no_signals_and_hides_its_memory() {
    let Some(sandbox) = with_python() else { return };
    let seen = inside(
        sandbox,
        &attack(
            r"
import os, signal, time
assert os.getppid() == 1
for number in range(1, 65):
    try: os.kill(os.getppid(), number)
    except OSError: pass
time.sleep(0.1)
for path in ('mem', 'environ', 'maps', 'root/etc', 'cwd', 'exe', 'fd', 'fd/0', 'fd/3', 'fd/4', 'ns/net', 'auxv', 'io',
             'syscall', 'stack', 'personality', 'mountinfo', 'map_files', 'pagemap', 'clear_refs', 'oom_score_adj'):
    for how in (lambda p: open(p, 'rb').read(1), lambda p: open(p, 'r+b', buffering=0), os.listdir, os.readlink):
        try:
            how('/proc/1/' + path)
            if how is not os.readlink and path not in ('oom_score_adj', 'mountinfo'): print('REACHED', path)
        except OSError: pass
for pid in ('1', 'self'):
    try:
        with open(f'/proc/{pid}/oom_score_adj', 'wb', buffering=0) as f: f.write(b'0')
        print('REACHED oom', pid)
    except OSError: pass
print(open('/proc/self/oom_score_adj').read().strip())
print('on')
",
        ),
    );
    // The kernel lets a program be spared when memory runs out, if Landlock doesn't.
    let spared = if sandbox.protection().landlock.is_some() { "1000\n" } else { "REACHED oom self\n0\n" };
    assert_eq!(seen, format!("{spared}on\n"));
}

#[test]
fn only_the_three_standard_descriptors_are_inherited() {
    let Some(sandbox) = with_python() else { return };
    let mut secret = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut secret, SECRET.as_bytes()).unwrap();
    // Without the flag that closes it in other programs.
    let leaked = rustix::io::dup(&secret).unwrap();
    let program = attack(
        r"
import os
print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))
for fd in range(3, 1024):
    try: print('REACHED', os.pread(fd, 100, 0))
    except OSError: pass
",
    );
    let seen = inside(sandbox, &program);
    // The fourth is the listing's own.
    assert_eq!(seen, "[0, 1, 2, 3]\n");
    assert!(outside(&program).contains(SECRET));
    drop(leaked);
}

#[test]
fn standard_input_can_be_read_and_not_grown() {
    let Some(sandbox) = with_python() else { return };
    let mut program = attack(
        r"
import os, sys
print(sys.stdin.read())
for what in (lambda: os.write(0, b'x'), lambda: os.ftruncate(0, 1 << 30), lambda: os.ftruncate(0, 0),
             lambda: open('/proc/self/fd/0', 'r+b', buffering=0).write(b'more')):
    try:
        what()
        print('REACHED')
    except OSError: pass
",
    );
    program.stdin = b"some words".to_vec();
    assert_eq!(inside(sandbox, &program), "some words\n");
    program.stdin = Vec::new();
    program.files[0].1 = b"import sys\nprint(repr(sys.stdin.read()))".to_vec();
    assert_eq!(inside(sandbox, &program), "''\n");
}

/// Calls by number, which only mean this on one architecture.
#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_that_lead_out_are_denied() {
    let Some(sandbox) = with_python() else { return };
    let program = attack(
        r"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(4096)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    print(name, 'DENIED' if result == -1 and ctypes.get_errno() == 38 else (result, ctypes.get_errno()))
call('ptrace traceme', 101, 0, 0, 0, 0)
call('ptrace attach', 101, 16, 1, 0, 0)
call('process_vm_readv', 310, 1, buffer, 1, buffer, 1, 0)
call('process_vm_writev', 311, 1, buffer, 1, buffer, 1, 0)
call('kcmp', 312, 1, 1, 0, 0, 0)
call('pidfd_getfd', 438, 0, 0, 0)
call('keyctl', 250, 0, -3, 0)
call('add_key', 248, b'user', b'x', b'y', 1, -4)
call('request_key', 249, b'user', b'x', 0, 0)
call('bpf', 321, 0, buffer, 120)
call('perf_event_open', 298, buffer, 0, -1, -1, 0)
call('userfaultfd', 323, 1)
call('io_uring_setup', 425, 1, buffer)
call('io_uring_enter', 426, 0, 0, 0, 0, 0)
call('io_setup', 206, 1, buffer)
call('mount', 165, b'none', b'/tmp', b'tmpfs', 0, 0)
call('umount2', 166, b'/proc', 2)
call('pivot_root', 155, b'/tmp', b'/tmp')
call('chroot', 161, b'/tmp')
call('open_tree', 428, -100, b'/', 1)
call('move_mount', 429, -100, b'/tmp', -100, b'/tmp', 0)
call('fsopen', 430, b'tmpfs', 0)
call('mount_setattr', 442, -100, b'/', 0, buffer, 32)
call('unshare user', 272, 0x10000000)
call('unshare files', 272, 0x400)
call('setns', 308, 0, 0)
call('clone user', 56, 0x10000000 | 17, 0, 0, 0, 0)
call('clone net', 56, 0x40000000 | 17, 0, 0, 0, 0)
call('clone pid', 56, 0x20000000 | 17, 0, 0, 0, 0)
call('clone3', 435, buffer, 88)
call('open_by_handle_at', 304, -100, buffer, 0)
call('name_to_handle_at', 303, -100, b'/', buffer, buffer, 0)
call('memfd_create', 319, b'x', 0)
call('memfd_secret', 447, 0)
call('shmget', 29, 0, 1 << 20, 0o1777)
call('semget', 64, 0, 1, 0o1777)
call('msgget', 68, 0, 0o1777)
call('mq_open', 240, b'x', 0o100, 0o600, 0)
call('socket', 41, 2, 1, 0)
call('socketpair inet', 53, 2, 1, 0, buffer)
call('bind', 49, 0, buffer, 16)
call('connect', 42, 0, buffer, 16)
call('kexec_load', 246, 0, 0, 0, 0)
call('init_module', 175, buffer, 0, b'')
call('finit_module', 313, 0, b'', 0)
call('reboot', 169, 0, 0, 0, 0)
call('swapon', 167, b'/tmp', 0)
call('syslog', 103, 3, buffer, 10)
call('quotactl', 179, 0, 0, 0, 0)
call('acct', 163, 0)
call('settimeofday', 164, 0, 0)
call('clock_settime', 227, 0, buffer)
call('adjtimex', 159, buffer)
call('sethostname', 170, b'x', 1)
call('iopl', 172, 3)
call('ioperm', 173, 0, 1, 1)
call('modify_ldt', 154, 0, buffer, 16)
call('personality', 135, 0x0040000)
call('vmsplice', 278, 1, buffer, 1, 0)
call('fanotify_init', 300, 0, 0)
call('seccomp', 317, 2, 0, buffer)
call('process_madvise', 440, 0, buffer, 1, 4, 0)
call('migrate_pages', 256, 0, 8, buffer, buffer)
call('move_pages', 279, 0, 0, 0, 0, 0, 0)
call('mknod device', 133, b'device', 0o020666, 0x103)
call('ioctl TIOCSTI', 16, 0, 0x5412, b'x')
call('ioctl TIOCLINUX', 16, 0, 0x541C, b'x')
call('sync', 162)
call('lookup_dcookie', 212, 0, buffer, 8)
call('landlock', 444, 0, 0, 1)
call('x32 getpid', 0x40000000 + 39)
call('x32 ptrace', 0x40000000 + 521, 0, 0, 0, 0)
call('unknown', 1000)
print('personality', libc.personality(0xffffffff))
",
    );
    let seen = inside(sandbox, &program);
    let allowed: Vec<&str> = seen.lines().filter(|line| !line.ends_with("DENIED")).collect();
    assert_eq!(allowed, ["personality 0"]);
    assert!(seen.lines().count() > 70);
    // Some of them work without: one has itself traced, one makes a file in memory.
    let mut free = attack(
        "import ctypes\nlibc = ctypes.CDLL(None)\nprint(libc.syscall(319, b'x', 0) > 0, libc.personality(0x40000) >= 0, libc.ptrace(0, 0, 0, 0) == 0)",
    );
    assert_eq!(outside(&free), "True True True\n");
    free.limits.memory_bytes += 1;
    assert_eq!(inside(sandbox, &free), "False False False\n");
}

/// Machine code of one architecture.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_32_bit_kind_end_the_program() {
    let Some(sandbox) = with_python() else { return };
    let program = attack(
        r"
import ctypes, mmap
# mov eax, 20 (getpid); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=7)
code.write(b'\xb8\x14\x00\x00\x00\xcd\x80\xc3')
run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
print('before', flush=True)
print('REACHED', run() > 0)
",
    );
    let outcome = sandbox.run(&program).unwrap();
    assert_eq!(
        (outcome.verdict, text(&outcome.stdout).as_str()),
        (Verdict::Signalled(31), "before\n"),
        "{outcome:?}"
    );
    // 11 where the kernel has no such calls at all.
    let free = unprotected(&program);
    assert!(
        text(&free.stdout).contains("REACHED True") || free.verdict == Verdict::Signalled(11),
        "{free:?}"
    );
}

#[test]
fn no_privilege_is_held_or_gained_through_set_user_id_programs() {
    let Some(sandbox) = with_python() else { return };
    let status = attack("for pid in ('1', 'self'): print(open(f'/proc/{pid}/status').read())");
    let status = inside(sandbox, &status);
    for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        // Of the program, and of the init above it.
        assert_eq!(status.matches(&format!("{line}:\t0000000000000000\n")).count(), 2, "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    // A program that would give any other user the rights of the tests' user.
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = temporary.path().join("id");
    fs::copy("/usr/bin/id", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o6755)).unwrap();
    let mut program = attack("");
    program.argv = vec![copy.to_str().unwrap().into()];
    program.extra_read_only = vec![temporary.path().to_owned()];
    let seen = inside(sandbox, &program);
    assert!(seen.starts_with("uid=1000(sandbox) gid=1000(sandbox)") && !seen.contains("euid"), "{seen}");
    let mut program = attack(
        r"
import os
for what in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chown('main.py', 0, 0),
             lambda: os.setresuid(0, 0, 0), lambda: os.nice(-5), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))):
    try:
        what()
        print('REACHED')
    except OSError: pass
os.chmod('main.py', 0o6755)
print(os.getresuid(), os.getresgid())
",
    );
    assert_eq!(inside(sandbox, &program), "(1000, 1000, 1000) (1000, 1000, 1000)\n");
    // Where only root may enter and read, as nobody can't, as root's own programs aren't either.
    if rustix::process::geteuid().is_root() {
        fs::write(temporary.path().join("secret"), SECRET).unwrap();
        fs::set_permissions(temporary.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let path = temporary.path().join("secret").to_str().unwrap().to_owned();
        program = attack_with(&[path], "print(open(A[0]).read())");
        program.extra_read_only = vec![temporary.path().to_owned()];
        assert_eq!(sandbox.run(&program).unwrap().verdict, Verdict::Exited(1));
        assert!(outside(&program).contains(SECRET));
    }
}

#[test]
fn no_limit_can_be_raised() {
    let Some(sandbox) = with_python() else { return };
    let program = attack(
        r"
import resource as r
for name in ('CPU', 'DATA', 'FSIZE', 'NPROC', 'NOFILE', 'CORE', 'MEMLOCK', 'MSGQUEUE', 'SIGPENDING'):
    kind = getattr(r, 'RLIMIT_' + name, None)
    if kind is None: continue
    soft, hard = r.getrlimit(kind)
    if hard == r.RLIM_INFINITY: print('REACHED', name)
    try:
        r.setrlimit(kind, (hard + 1, hard + 1))
        print('REACHED', name)
    except (OSError, ValueError): pass
print(r.getrlimit(r.RLIMIT_CORE))
",
    );
    assert_eq!(inside(sandbox, &program), "(0, 0)\n");
}

/// Source of a process that leaves its parents, and holds on to standard output.
fn daemon(word: &str) -> Program {
    attack(&format!(
        r"
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    for number in range(1, 32):
        if number not in (9, 19): signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.execv('{PYTHON}', ['{PYTHON}', '-c', 'import time; time.sleep(30)', '{word}'])
    time.sleep(30)
time.sleep(0.3)
print('parent ends', flush=True)
"
    ))
}

#[test]
fn no_process_outlives_the_run() {
    let Some(sandbox) = with_python() else { return };
    let word = format!("codingspot-daemon-{}", std::process::id());
    let began = Instant::now();
    assert_eq!(inside(sandbox, &daemon(&word)), "parent ends\n");
    assert!(began.elapsed() < Duration::from_secs(8), "waits for nobody");
    assert_eq!(processes_with(&word), []);
    // Without protection it lives on, until the test ends it.
    let word = format!("codingspot-free-daemon-{}", std::process::id());
    assert!(outside(&daemon(&word)).contains("parent ends"));
    let left = processes_with(&word);
    assert!(!left.is_empty());
    for pid in left {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

/// Not a test of its own: what [`a_run_ends_with_the_host`] starts and ends.
#[test]
#[ignore = "runs for a minute unless ended"]
fn runs_for_a_minute() {
    let Some(sandbox) = with_python() else { return };
    let word = std::env::var("CODINGSPOT_TEST_WORD").unwrap();
    let mut program = attack("import time\ntime.sleep(60)");
    program.argv.push(word);
    let ended: Outcome = sandbox.run(&program).unwrap();
    println!("{ended:?}");
}

#[test]
fn a_run_ends_with_the_host() {
    if with_python().is_none() {
        return;
    }
    let word = format!("codingspot-orphan-{}", std::process::id());
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runs_for_a_minute", "--ignored"])
        .env("CODINGSPOT_TEST_WORD", &word)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let wait = |until: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !until() && began.elapsed() < Duration::from_secs(8) {
            std::thread::sleep(Duration::from_millis(20));
        }
        until()
    };
    assert!(wait(&|| !processes_with(&word).is_empty()), "starts");
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(wait(&|| processes_with(&word).is_empty()), "ends");
    let mut rest = String::new();
    host.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("Outcome"), "{rest}");
}

#[test]
fn runs_do_not_see_each_other() {
    let Some(sandbox) = with_python() else { return };
    let write = attack("open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')");
    assert_eq!(inside(sandbox, &write), "");
    let look =
        attack("import os\nprint(os.path.exists('/tmp/left'), os.listdir('/dev/shm'), os.listdir('.'))");
    assert_eq!(inside(sandbox, &look), "False [] ['main.py']\n");
}

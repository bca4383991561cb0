use codingspot_sandbox::*;
#[test]
fn smoke() {
    let options = SandboxOptions { launcher: Some(env!("CARGO_BIN_EXE_codingspot-sandbox-launcher").into()), ..Default::default() };
    let sandbox = match Sandbox::new(options) { Ok(s) => s, Err(e) => panic!("{e}") };
    println!("{:?}", sandbox.protection());
    let o = sandbox.run(&python("import os,sys;print(os.getuid(), os.listdir('/'), os.listdir('/proc'), os.getcwd(), os.listdir('/tmp'), os.listdir('/dev'), os.listdir('/etc'));print(open('/proc/self/status').read(), open('/proc/self/mountinfo').read())")).unwrap();
    println!("{o:?}\n{}\n{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    let t = std::time::Instant::now();
    for _ in 0..20 { let mut p = python(""); p.argv = vec!["/bin/true".into()]; sandbox.run(&p).unwrap(); }
    println!("true: {:?} each", t.elapsed()/20);
    let t = std::time::Instant::now();
    for _ in 0..20 { std::process::Command::new("/bin/true").status().unwrap(); }
    println!("bare: {:?} each", t.elapsed()/20);
}

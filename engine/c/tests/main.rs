//! The header is what the source says, and a C program moves money through a real node.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use engine::door::with_sessions;
use engine::{FormatOptions, Io, Layout, Node, NodeAddress, Options, format};
use ledger::ledger::Ledger;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_header_is_what_the_source_says() {
    let config = cbindgen::Config::from_file(Path::new(HERE).join("cbindgen.toml"));
    let bindings = cbindgen::Builder::new()
        .with_config(config.expect("its configuration"))
        .with_src(Path::new(HERE).join("src/lib.rs"))
        .with_src(Path::new(HERE).join("src/records.rs"))
        .generate()
        .expect("a header");
    let mut header = Vec::new();
    bindings.write(&mut header);
    let path = Path::new(HERE).join("include/quorate.h");
    if std::env::var_os("QUORATE_WRITE_HEADER").is_some() {
        std::fs::write(&path, &header).expect("it can be written");
    }
    let written = std::fs::read(&path).unwrap_or_default();
    assert!(
        written == header,
        "include/quorate.h is not what cbindgen writes: run this test with QUORATE_WRITE_HEADER=1"
    );
}

/// A node in this process; three consecutive tries at a port that somebody else takes meanwhile.
fn node(dir: &Path) -> (Node, SocketAddr) {
    for attempt in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let dir = dir.join(attempt.to_string());
        let mut layout = Layout::new(5, vec![NodeAddress { id: 1, address }], 1, 1);
        layout.segment_bytes = 4 << 20;
        let options = FormatOptions {
            layout,
            node: 1,
            prewrite_bytes: 0,
        };
        format(&dir, &options).expect("an empty folder");
        let options = Options {
            io: Io::Threads,
            ..Options::default()
        };
        let machine = |group, _| {
            let limits = ledger::limits::Limits {
                accounts_max: 100,
                transfers_max: 100,
                ..ledger::limits::Limits::default()
            };
            with_sessions(group, Ledger::new(limits).expect("small limits"))
        };
        if let Ok(node) = Node::start(&dir, &options, machine) {
            return (node, address);
        }
    }
    panic!("no node starts");
}

#[test]
fn a_program_in_c_moves_money() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("move_money");
    // The library lies where its tests lie: target/debug/deps.
    let test = std::env::current_exe().expect("it runs");
    let library = test.parent().expect("a folder").to_owned();
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(Path::new(HERE).join("examples/move_money.c"))
        .arg("-I")
        .arg(Path::new(HERE).join("include"))
        .arg("-L")
        .arg(&library)
        .arg("-lquorate")
        .output()
        .expect("there is a C compiler");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let (node, address) = node(folder.path());
    let run = Command::new(&program)
        .args(["5", &address.to_string()])
        .env("LD_LIBRARY_PATH", &library)
        .output()
        .expect("it can be run");
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{:?}: {out}{err}", run.status);
    assert_eq!(out, "moved 42\n");
    node.stop().expect("it stops in order");
}

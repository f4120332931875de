//! A disk that is really full: a small file system of the test's own, in a private mount namespace, under both drivers.
//!
//! - Each test runs itself again inside the namespace; where none may be made it says that it was skipped.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine::clock::SystemClock;
use engine::{Client, ClientError, GroupId, Io, NodeId};
use net::request::Status;

use crate::asking;
use crate::refusals::{ADD, Cluster, READ, number, read};

/// Names the small file system to the process that runs inside the namespace.
const PLACE: &str = "QUORATE_SMALL_DISK";
const DISK_MIB: usize = 96;
/// What is left when the nodes have started: a segment or two.
const ROOM_BYTES: usize = 6 << 20;
const WRITE_BYTES: usize = 900_000;
/// Longer than anything takes that happens at all.
const PATIENCE_NS: u64 = 100_000_000_000;

/// Runs the named test in a namespace of its own with a disk of so many MiB; inside, returns its place.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn small_disk(test: &str, mib: usize) -> Option<PathBuf> {
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(place.into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().to_str().expect("a plain path");
    let inside = format!(
        "mount -t tmpfs -o size={mib}m tmpfs '{place}' || exit 99; exec \"$0\" --exact '{test}' --nocapture"
    );
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &inside]);
    command.arg(program).env(PLACE, place);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: no full disk was tried: unshare: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if said.contains("1 passed") && output.status.success() {
        return None;
    }
    // 99 or no harness at all: this process may make no namespace, or no mount in it.
    if !said.contains("running 1 test") {
        println!("SKIPPED: no full disk was tried: {}", complaint.trim());
        return None;
    }
    panic!("inside the namespace: {said}\n{complaint}");
}

/// Fills the disk but for some room; dropping it gives the space back.
struct Ballast(PathBuf);

impl Ballast {
    fn load(place: &Path) -> Self {
        let path = place.join("ballast");
        let mut file = File::create(&path).expect("the disk has room at first");
        let block = vec![1; 64 << 10];
        let mut bytes = 0;
        loop {
            match file.write_all(&block) {
                Ok(()) => bytes += block.len(),
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let kept = bytes.saturating_sub(ROOM_BYTES);
        file.set_len(kept as u64).expect("a file can be cut");
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("it is there");
    }
}

fn write(client: &mut Client) -> Result<u64, ClientError> {
    let mut body = vec![0; WRITE_BYTES];
    body[0] = 1;
    client
        .request(GroupId(0), ADD, body)
        .map(|reply| number(&reply))
}

fn is_full(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused(Status::StorageFull) | ClientError::Unavailable(Status::StorageFull)
    )
}

/// What the node says of its log.
pub(crate) fn status(cluster: &Cluster, node: u32) -> String {
    let said = asking::status(&cluster.layout, NodeId(node), 0);
    let said = said.expect("a node with a full disk answers");
    String::from_utf8(said.to_vec()).expect("a text")
}

/// Waits until the first node says so of itself.
fn await_status(cluster: &Cluster, is_so: impl Fn(&str) -> bool) {
    let until = SystemClock.now().plus(PATIENCE_NS);
    loop {
        let said = status(cluster, 1);
        if is_so(&said) {
            return;
        }
        assert!(SystemClock.now() < until, "{said}");
        std::thread::yield_now();
    }
}

fn alone(io: Io, test: &str) {
    let Some(place) = small_disk(test, DISK_MIB) else {
        return;
    };
    let mut cluster = Cluster::on(io, 1, 1, 1, Some(&place));
    cluster.start_all();
    let ballast = Ballast::load(&place);
    let mut client = cluster.client();
    client.set_patience(Duration::from_secs(6));
    let (mut acknowledged, mut doubtful) = (0, 0);
    loop {
        match write(&mut client) {
            Ok(_) => acknowledged += 1,
            Err(error) if is_full(&error) => break,
            // It found the log full itself: it waits in there.
            Err(_) => doubtful += 1,
        }
        assert!(
            acknowledged + doubtful < 200,
            "the disk holds no more than this"
        );
    }
    assert!(
        doubtful <= 1,
        "everything after the first is refused by name"
    );
    assert_eq!(read(&mut cluster.client(), 0), acknowledged, "reads go on");
    await_status(&cluster, |said| said.contains("\"storage\":\"full\""));
    let said = status(&cluster, 1);
    assert!(
        !said.contains("\"storage_full\":0"),
        "it is counted: {said}"
    );

    drop(ballast);
    let until = SystemClock.now().plus(PATIENCE_NS);
    // A machine that is slow enough leaves more in doubt, and nothing else.
    let mut late = 0;
    while let Err(error) = write(&mut client) {
        late += u64::from(!is_full(&error));
        assert!(SystemClock.now() < until, "space came back unnoticed");
        std::thread::yield_now();
    }
    acknowledged += 1;
    let sum = read(&mut client, 0);
    let least = acknowledged + doubtful;
    assert!(
        (least..=least + late).contains(&sum),
        "what waited took its place, what was refused did not: {sum}, {least} + {late}"
    );
    cluster.stop(1);
    cluster.start(1).expect("it opens again");
    assert_eq!(read(&mut cluster.client(), 0), sum, "nothing is lost");
}

fn leading(io: Io, test: &str) {
    let Some(place) = small_disk(test, DISK_MIB) else {
        return;
    };
    let mut cluster = Cluster::on(io, 3, 1, 1, Some(&place));
    cluster.start_all();
    let mut client = cluster.client();
    await_status(&cluster, |said| said.contains("\"role\":\"leader\""));
    let ballast = Ballast::load(&place);
    let (mut acknowledged, mut tries) = (0, 0);
    // Far beyond the room on the first node's disk: others must have taken the lead.
    while acknowledged < 40 {
        acknowledged += u64::from(write(&mut client).is_ok());
        tries += 1;
        assert!(tries < 100_000, "nobody takes over: {acknowledged} written");
    }
    // It tries again now and then, and is busy with that meanwhile.
    await_status(&cluster, |said| {
        said.contains("\"role\":\"follower\"") && said.contains("\"storage\":\"full\"")
    });

    drop(ballast);
    let sum = read(&mut client, 0);
    assert!(sum >= acknowledged, "{sum} of {acknowledged}");
    let until = SystemClock.now().plus(PATIENCE_NS);
    loop {
        let local = client
            .read_local(NodeId(1), GroupId(0), READ, Vec::new())
            .expect("it answers");
        if number(&local) >= sum {
            break;
        }
        assert!(
            SystemClock.now() < until,
            "it catches up: {}",
            number(&local)
        );
        std::thread::yield_now();
    }
}

mod glommio {
    #[test]
    fn a_full_disk_refuses_by_name_and_recovers_without_a_restart() {
        let name =
            "full_disks::glommio::a_full_disk_refuses_by_name_and_recovers_without_a_restart";
        super::alone(engine::Io::Glommio, name);
    }

    #[test]
    fn a_leader_with_a_full_disk_hands_over_and_catches_up_when_there_is_room() {
        let name = "full_disks::glommio::a_leader_with_a_full_disk_hands_over_and_catches_up_when_there_is_room";
        super::leading(engine::Io::Glommio, name);
    }
}

mod threads {
    #[test]
    fn a_full_disk_refuses_by_name_and_recovers_without_a_restart() {
        let name =
            "full_disks::threads::a_full_disk_refuses_by_name_and_recovers_without_a_restart";
        super::alone(engine::Io::Threads, name);
    }

    #[test]
    fn a_leader_with_a_full_disk_hands_over_and_catches_up_when_there_is_room() {
        let name = "full_disks::threads::a_leader_with_a_full_disk_hands_over_and_catches_up_when_there_is_room";
        super::leading(engine::Io::Threads, name);
    }
}

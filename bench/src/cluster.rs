//! Lays replicas out in a temporary folder and runs each as a process of its own.
//!
//! - Only processes started here are ended here; dropping the cluster ends them all.
//! - The folder goes with the cluster; what was in the user's folder before stays.

use crate::error::BenchError;
use crate::host::Disk;
use crate::options::Options;
use crate::progress::Phase;
use crate::target::{Node, Target};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// Ports are taken from below the range from which the kernel draws those of outgoing connections.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Bytes of a process's stderr that an error tells.
const STDERR_MAX: u64 = 4096;
/// How long a process may take to end when asked to, in nanoseconds.
const STOP_LIMIT_NS: u64 = 5_000_000_000;

/// Replicas that run as processes of this host.
#[derive(Debug)]
pub struct Cluster {
    replicas: Vec<Replica>,
    target: Target,
    folder: TempDir,
    disk: Disk,
}

/// One replica's process.
#[derive(Debug)]
struct Replica {
    node: u32,
    child: Child,
    stderr: PathBuf,
}

impl Cluster {
    /// Formats and starts the replicas. They may not listen yet, nor have leaders.
    pub fn start(options: &Options, cluster: u64) -> Result<Self, BenchError> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(BenchError::io("looking for this program"))?,
        };
        let folder = make_folder(options)?;
        let disk = Disk::under(folder.path())?;
        let ports = free_ports(options.replicas, options.cores)?;
        let mut nodes: Vec<Node> = (1..)
            .zip(&ports.bases)
            .map(|(id, &port)| Node {
                id,
                base: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                pid: None,
            })
            .collect();
        for node in &nodes {
            format(&program, options, cluster, &nodes, node.id, folder.path())?;
        }
        drop(ports);
        let mut replicas = Vec::with_capacity(nodes.len());
        for node in &mut nodes {
            let replica = start(&program, options, node.id, folder.path())?;
            node.pid = Some(replica.child.id());
            replicas.push(replica);
        }
        let target = Target {
            cluster,
            nodes,
            cores: options.cores,
            groups: options.groups,
        };
        Ok(Self {
            replicas,
            target,
            folder,
            disk,
        })
    }

    /// Where its replicas are.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The disk under its folder.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// An error for the first process that has ended.
    pub fn check(&mut self, during: Phase) -> Result<(), BenchError> {
        for replica in &mut self.replicas {
            let ended = replica
                .child
                .try_wait()
                .map_err(BenchError::io("asking after a replica"))?;
            if let Some(status) = ended {
                let stderr = tail(&replica.stderr);
                return Err(BenchError::Exited {
                    node: replica.node,
                    status,
                    during,
                    stderr,
                });
            }
        }
        Ok(())
    }

    /// What the replicas have written to stderr, for an error of another kind.
    pub fn stderr(&self) -> String {
        let mut all = String::new();
        for replica in &self.replicas {
            let said = tail(&replica.stderr);
            if !said.is_empty() {
                all.push_str(&format!("node {}:\n{said}\n", replica.node));
            }
        }
        all
    }

    /// Asks the processes to end, waits for them, and removes the folder.
    pub fn stop(mut self) -> Result<(), BenchError> {
        for replica in &self.replicas {
            if let Some(pid) = Pid::from_raw(replica.child.id().cast_signed()) {
                // One that has ended already is waited for all the same.
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
        for replica in &mut self.replicas {
            wait_or_kill(&mut replica.child).map_err(BenchError::io("ending a replica"))?;
        }
        self.replicas.clear();
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|source| BenchError::File {
            doing: "removing",
            path,
            source,
        })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_folder(options: &Options) -> Result<TempDir, BenchError> {
    let parent = match &options.data_dir {
        Some(folder) => folder.clone(),
        None => default_folder(),
    };
    tempfile::Builder::new()
        .prefix("quorate-bench-")
        .tempdir_in(&parent)
        .map_err(|source| BenchError::File {
            doing: "making a folder in",
            path: parent,
            source,
        })
}

/// The system's temporary folder, unless that is in memory: nothing is durable there.
fn default_folder() -> PathBuf {
    let system = std::env::temp_dir();
    let on_disk = Path::new("/var/tmp");
    let in_memory = Disk::under(&system).is_ok_and(|disk| disk.in_memory());
    if in_memory && Disk::under(on_disk).is_ok_and(|disk| !disk.in_memory()) {
        return on_disk.to_owned();
    }
    system
}

/// Ports found free, held until the processes are about to take them.
struct Ports {
    bases: Vec<u16>,
    _held: Vec<TcpListener>,
}

fn free_ports(nodes: u32, cores: u32) -> Result<Ports, BenchError> {
    let cores = u16::try_from(cores).expect("the options allow at most 256");
    let none = BenchError::NoPorts { wanted: cores };
    let mut ports = Ports {
        bases: Vec::new(),
        _held: Vec::new(),
    };
    // Where the search begins differs from process to process, so that two runs seldom compete.
    let spread = (std::process::id() % 64) as u16 * 256;
    let mut base = PORTS.start + spread;
    while ports.bases.len() < nodes as usize {
        if base >= PORTS.end {
            return Err(none);
        }
        let held: Result<Vec<_>, _> = (base..base + cores)
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .collect();
        if let Ok(held) = held {
            ports.bases.push(base);
            ports._held.extend(held);
        }
        base += cores;
    }
    Ok(ports)
}

fn node_folder(folder: &Path, node: u32) -> PathBuf {
    folder.join(format!("node-{node}"))
}

fn format(
    program: &Path,
    options: &Options,
    cluster: u64,
    nodes: &[Node],
    node: u32,
    folder: &Path,
) -> Result<(), BenchError> {
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("{}={}", node.id, node.base))
        .collect();
    let mut command = Command::new(program);
    command
        .arg("format")
        .arg("--data")
        .arg(node_folder(folder, node));
    command.args([
        "--cluster",
        &cluster.to_string(),
        "--node",
        &node.to_string(),
    ]);
    command.args(["--nodes", &addresses.join(",")]);
    command.args([
        "--cores",
        &options.cores.to_string(),
        "--groups",
        &options.groups.to_string(),
    ]);
    let limits = [
        ("--accounts-max", options.accounts_max),
        ("--transfers-max", options.transfers_max),
        ("--preallocate", options.preallocate),
    ];
    for (flag, limit) in limits {
        if let Some(limit) = limit {
            command.args([flag, &limit.to_string()]);
        }
    }
    let failed = |source| BenchError::Program {
        program: program.to_owned(),
        source,
    };
    let output = command.stdin(Stdio::null()).output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BenchError::Format {
        node,
        status: output.status,
        stderr,
    })
}

fn start(
    program: &Path,
    options: &Options,
    node: u32,
    folder: &Path,
) -> Result<Replica, BenchError> {
    let path = folder.join(format!("node-{node}.stderr"));
    let failed = |source| BenchError::File {
        doing: "making",
        path: path.clone(),
        source,
    };
    let stderr = File::create(&path).map_err(failed)?;
    let child = Command::new(program)
        .args(["start", "--data"])
        .arg(node_folder(folder, node))
        .args(["--io", options.io.as_str()])
        .args([
            "--reserve-transfers",
            &options.reserve.unwrap_or(0).to_string(),
        ])
        .args(&options.start_flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|source| BenchError::Program {
            program: program.to_owned(),
            source,
        })?;
    Ok(Replica {
        node,
        child,
        stderr: path,
    })
}

/// Waits for a process that was asked to end; ends it where it does not.
fn wait_or_kill(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed())
        && let Ok(ended) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
    {
        let limit = crate::ticker::timespec(STOP_LIMIT_NS);
        rustix::event::poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit))?;
    }
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()
}

/// The end of a text file; empty where it cannot be read.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(STDERR_MAX)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_default()
}

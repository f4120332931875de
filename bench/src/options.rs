//! What to measure and how; the knobs of `quorate bench`.

use crate::error::BenchError;
use std::path::PathBuf;
use std::time::Duration;

/// Most transfers in one request: 1 MiB less the room of the head.
pub const BATCH_MAX: u32 = 8189;
/// Most sessions of a run; a session's number has 16 bits in a transfer's id.
pub const CLIENTS_MAX: u32 = 65_535;
/// Most requests in flight per session.
pub const WINDOW_MAX: u32 = 1024;

/// How the replicas do input and output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// io_uring under glommio.
    #[default]
    Glommio,
    /// Plain threads, pread/pwrite and epoll.
    Threads,
}

impl Io {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Io::Glommio => "glommio",
            Io::Threads => "threads",
        }
    }
}

/// How requests arrive in open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrival {
    /// Independent of each other: gaps are exponential.
    #[default]
    Poisson,
    /// One gap as long as the other.
    Uniform,
}

impl Arrival {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Arrival::Poisson => "poisson",
            Arrival::Uniform => "uniform",
        }
    }
}

/// Everything a run depends on. `Options::default()` is the main job: three replicas, full batches,
/// closed loop.
#[derive(Clone, Debug)]
pub struct Options {
    /// Replicas, each a process: 1, 3 or 5.
    pub replicas: u32,
    /// Cores per replica.
    pub cores: u32,
    /// Raft groups, spread over the cores.
    pub groups: u32,
    /// Sessions: each has its own requests in flight with the leader of one group.
    pub clients: u32,
    /// Connections that the sessions share evenly. 0: each has its own.
    pub connections: u32,
    /// Requests in flight per session. 0: one in closed loop, 64 in open loop.
    pub window: u32,
    /// Threads that carry the sessions. 0: one per four processors.
    pub threads: u32,
    /// Processors to pin those threads to, in turn; empty: the scheduler decides.
    pub pin: Vec<usize>,
    /// Transfers in a request.
    pub batch: u32,
    /// Accounts per group.
    pub accounts: u32,
    /// Skew of the choice of accounts (0.99 is YCSB's); `None`: uniform.
    pub zipf: Option<f64>,
    /// Length of the measured window.
    pub duration: Duration,
    /// Load before it that is proved but not measured.
    pub warmup: Duration,
    /// Transfers per second to offer; `None`: closed loop.
    pub rate: Option<f64>,
    /// How they arrive where a rate is given.
    pub arrival: Arrival,
    /// Drives the replicas.
    pub io: Io,
    /// Folder in which the run's own temporary folder is made; `None`: the system's.
    pub data_dir: Option<PathBuf>,
    /// Drives every choice of the workload.
    pub seed: u64,
    /// The server program; `None`: this very program.
    pub program: Option<PathBuf>,
    /// Where to write interval histograms, one line per second and stage.
    pub hlog: Option<PathBuf>,
    /// Whole runs, each on new replicas; the report is the median one's.
    pub repeats: u32,
    /// Most accounts a replica holds; `None`: as many as are created.
    pub accounts_max: Option<u64>,
    /// Most transfers a replica holds; `None`: ample for the run.
    pub transfers_max: Option<u64>,
    /// Flags that every `start` of a replica is given besides.
    pub start_flags: Vec<String>,
    /// Bytes of log to lay out beforehand, per core; `None`: as much as the run is expected to write.
    pub preallocate: Option<u64>,
    /// Transfers per group whose memory the replicas touch beforehand; `None`: as many as the run is
    /// expected to make, within half of the machine's memory.
    pub reserve: Option<u64>,
    /// One more run with nothing laid out or touched beforehand, for the report to say what that is worth.
    pub unprepared_too: bool,
    /// How long the replicas may take to elect their leaders.
    pub start_limit: Duration,
    /// How long the last replies, and the replicas' levelling, may take.
    pub settle_limit: Duration,
    /// The command line, for the report.
    pub argv: Vec<String>,
    /// The commit measured, for the report.
    pub commit: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 3,
            cores: 1,
            groups: 1,
            clients: 8,
            connections: 0,
            window: 0,
            threads: 0,
            pin: Vec::new(),
            batch: BATCH_MAX,
            accounts: 10_000,
            zipf: None,
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(2),
            rate: None,
            arrival: Arrival::Poisson,
            io: Io::Glommio,
            data_dir: None,
            seed: 42,
            program: None,
            hlog: None,
            repeats: 1,
            accounts_max: None,
            transfers_max: None,
            start_flags: Vec::new(),
            preallocate: None,
            reserve: None,
            unprepared_too: false,
            start_limit: Duration::from_secs(30),
            settle_limit: Duration::from_secs(30),
            argv: Vec::new(),
            commit: None,
        }
    }
}

impl Options {
    /// Refuses values that no run can honour.
    pub fn check(&self) -> Result<(), BenchError> {
        in_range("--replicas", self.replicas, 1, 5, "1, 3 or 5")?;
        if self.replicas.is_multiple_of(2) {
            return Err(outside("--replicas", self.replicas, "1, 3 or 5"));
        }
        in_range("--cores", self.cores, 1, 256, "1 to 256")?;
        in_range("--groups", self.groups, 1, 65_536, "1 to 65,536")?;
        in_range("--clients", self.clients, 1, CLIENTS_MAX, "1 to 65,535")?;
        in_range("--window", self.window, 0, WINDOW_MAX, "0 to 1,024")?;
        in_range("--threads", self.threads, 0, 256, "0 to 256")?;
        in_range("--batch", self.batch, 1, BATCH_MAX, "1 to 8,189")?;
        in_range(
            "--accounts",
            self.accounts,
            2,
            100_000_000,
            "2 to 100,000,000",
        )?;
        in_range("--repeats", self.repeats, 1, 1000, "1 to 1,000")?;
        if self.clients < self.groups {
            return Err(outside("--clients", self.clients, "at least one per group"));
        }
        let connections = self.connections_resolved();
        if !self.clients.is_multiple_of(connections) || connections < self.groups {
            let wanted = "at least one per group, and each with as many of --clients";
            return Err(outside("--connections", connections, wanted));
        }
        if self.duration < Duration::from_millis(100) || self.duration > Duration::from_secs(86_400)
        {
            let given = format!("{:?}", self.duration);
            return Err(BenchError::Option {
                option: "--duration",
                given,
                wanted: "100 ms to 1 day",
            });
        }
        if let Some(theta) = self.zipf
            && !(theta > 0.0 && theta < 5.0)
        {
            return Err(outside("--zipf", theta, "between 0 and 5"));
        }
        if let Some(rate) = self.rate
            && !(1.0..=1e9).contains(&rate)
        {
            return Err(outside("--rate", rate, "1 to 1e9 transfers per second"));
        }
        Ok(())
    }

    /// Requests in flight per session, the default resolved.
    pub fn window_resolved(&self) -> u32 {
        match (self.window, self.rate) {
            (0, None) => 1,
            (0, Some(_)) => 64,
            (window, _) => window,
        }
    }

    /// Connections, the default resolved.
    pub fn connections_resolved(&self) -> u32 {
        match self.connections {
            0 => self.clients,
            connections => connections,
        }
    }

    /// Load threads, the default resolved for a machine of so many processors.
    pub fn threads_resolved(&self, processors: usize) -> u32 {
        let by_processors = u32::try_from(processors / 4).unwrap_or(u32::MAX).max(1);
        let wanted = if self.threads == 0 {
            by_processors
        } else {
            self.threads
        };
        wanted.min(self.connections_resolved())
    }
}

fn in_range(
    option: &'static str,
    given: u32,
    min: u32,
    max: u32,
    wanted: &'static str,
) -> Result<(), BenchError> {
    if (min..=max).contains(&given) {
        Ok(())
    } else {
        Err(outside(option, given, wanted))
    }
}

fn outside(option: &'static str, given: impl ToString, wanted: &'static str) -> BenchError {
    BenchError::Option {
        option,
        given: given.to_string(),
        wanted,
    }
}

//! What the tests share: disks to open again and again, records made from numbers, a log driven to rest.

use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;
use wal::device::file::FileDevice;
use wal::device::memory::{MemoryDevice, MemoryDisk};
use wal::device::uring::UringDevice;
use wal::{
    AppendError, Device, DeviceError, Identity, Kind, Lost, Lsn, Opening, Options, Record,
    Recovered, Visit, Wal, WalError,
};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;

pub(crate) fn identity() -> Identity {
    Identity {
        cluster: 0xC1,
        node: 7,
        log: 3,
    }
}

/// Options with blocks of 16 KiB.
pub(crate) fn options() -> Options {
    Options::small(identity(), 11 << 10)
}

/// A disk that can be opened again and again.
pub(crate) trait Disk {
    type Device: Device;
    fn device(&self) -> Result<Self::Device, DeviceError>;
}

impl Disk for MemoryDisk {
    type Device = MemoryDevice;
    fn device(&self) -> Result<MemoryDevice, DeviceError> {
        Ok(Self::device(self))
    }
}

pub(crate) struct FileDisk(pub(crate) TempDir);

impl FileDisk {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }
}

impl Disk for FileDisk {
    type Device = FileDevice;
    fn device(&self) -> Result<FileDevice, DeviceError> {
        FileDevice::open(self.0.path(), SEGMENT_BYTES, 4, None)
    }
}

pub(crate) struct UringDisk(pub(crate) TempDir);

impl UringDisk {
    /// None where io_uring is barred.
    pub(crate) fn new() -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        match UringDevice::open(&folder.path().join("probe"), SEGMENT_BYTES, None) {
            Err(error @ DeviceError::Barred(_)) => {
                // Past the capture of the test runner, so that nobody takes a skipped test for a passed one.
                let notice = format!(
                    "SKIPPED: no test of the io_uring device ran: {error:?}
"
                );
                std::io::stderr()
                    .write_all(notice.as_bytes())
                    .expect("stderr is open");
                None
            }
            opened => {
                drop(opened.expect("a fresh folder opens"));
                Some(Self(folder))
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("log")
    }
}

impl Disk for UringDisk {
    type Device = UringDevice;
    fn device(&self) -> Result<UringDevice, DeviceError> {
        UringDevice::open(&self.path(), SEGMENT_BYTES, None)
    }
}

/// A record that owns its bytes, made from numbers alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) group: u64,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) kind: Kind,
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Made {
    pub(crate) fn entry(group: u64, index: u64, term: u64, bytes: usize) -> Self {
        Self::new(group, index, term, Kind::Entry, bytes)
    }

    pub(crate) fn meta(group: u64, index: u64, term: u64, bytes: usize) -> Self {
        Self::new(group, index, term, Kind::Meta, bytes)
    }

    fn new(group: u64, index: u64, term: u64, kind: Kind, bytes: usize) -> Self {
        let seed = group << 32 ^ index << 8 ^ term;
        let byte = |nth: usize| {
            let mixed = (seed ^ (nth as u64) << 40).wrapping_mul(0x2545_F491_4F6C_DD1D);
            ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 56) as u8
        };
        let head = (0..(index % 5) as usize * 3).map(byte).collect();
        Self {
            group,
            index,
            term,
            kind,
            head,
            payload: (0..bytes).map(|nth| byte(nth + 99)).collect(),
        }
    }

    pub(crate) fn of(record: &Record<'_>) -> Self {
        Self {
            group: record.group,
            index: record.index,
            term: record.term,
            kind: record.kind,
            head: record.head.to_vec(),
            payload: record.payload.to_vec(),
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            group: self.group,
            index: self.index,
            term: self.term,
            kind: self.kind,
            head: &self.head,
            payload: &self.payload,
            payload_crc: crc32fast::hash(&self.payload),
        }
    }
}

/// A log just opened, what it showed and what it reported.
pub(crate) struct Opened<D: Device> {
    pub(crate) wal: Wal<D>,
    pub(crate) shown: Vec<(Lsn, Made)>,
    /// What was told to be lost, and how many records had been shown by then.
    pub(crate) lost: Vec<(usize, Lost)>,
    pub(crate) report: Opening,
}

/// Writes down what an opening shows and tells.
#[derive(Default)]
struct Notes {
    shown: Vec<(Lsn, Made)>,
    lost: Vec<(usize, Lost)>,
}

impl Visit for Notes {
    fn shown(&mut self, recovered: &Recovered<'_>) {
        self.shown
            .push((recovered.lsn, Made::of(&recovered.record)));
    }

    fn lost(&mut self, lost: Lost) {
        self.lost.push((self.shown.len(), lost));
    }
}

pub(crate) fn try_open<D: Device>(device: D, options: Options) -> Result<Opened<D>, WalError> {
    let mut notes = Notes::default();
    let (wal, report) = Wal::open_with(device, options, 1_000, &mut notes)?;
    let Notes { shown, lost } = notes;
    Ok(Opened {
        wal,
        shown,
        lost,
        report,
    })
}

pub(crate) fn open<K: Disk>(disk: &K) -> Opened<K::Device> {
    try_open(disk.device().expect("the disk opens"), options()).expect("the log opens")
}

/// Says how many cases a search tried, past the capture of the test runner.
pub(crate) fn tell(search: &str, cases: u64) {
    let line = format!("{search}: {cases} cases\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr is open");
}

/// Submits and polls until everything appended is durable and every read is answered.
pub(crate) fn settle<D: Device>(wal: &mut Wal<D>) {
    let mut now_ns = 1_000_000;
    while !wal.idle() || wal.durable() < wal.appended() {
        wal.submit(now_ns);
        let progress = wal.poll(now_ns);
        assert_eq!(progress.failed, None, "the disk is sound");
        now_ns += 1_000;
        std::thread::yield_now();
    }
    wal.submit(now_ns);
    wal.poll(now_ns);
}

/// Appends, driving the log when it is busy.
pub(crate) fn put<D: Device>(wal: &mut Wal<D>, made: &Made) -> Lsn {
    let mut now_ns = 1_000;
    loop {
        match wal.append(&made.record()) {
            Ok(lsn) => return lsn,
            Err(AppendError::Busy) => {
                wal.submit(now_ns);
                wal.poll(now_ns);
                now_ns += 1_000;
                std::thread::yield_now();
            }
            Err(error) => panic!("append: {error:?}"),
        }
    }
}

/// What was shown, without the numbers.
pub(crate) fn shown<D: Device>(opened: &Opened<D>) -> Vec<Made> {
    opened.shown.iter().map(|(_, made)| made.clone()).collect()
}

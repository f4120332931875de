//! The fast device: a ring of its own, files past the page cache, durable writes from registered memory.
#![expect(
    unsafe_code,
    reason = "the ring is shared memory with the kernel, which reads and writes our buffers"
)]
//!
//! - A buffer handed to the kernel stays in `flight` until its completion was seen; dropping the device waits.
//! - Each operation is followed by one byte on the notify socket, linked hard: it is sent whether the operation
//!   succeeded or failed, after its completion was posted. So whoever sleeps on the other end is always woken.
//! - What the kernel refuses to register is used unregistered, and [`Traits`] says so.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use io_uring::squeue::{self, Flags};
use io_uring::{IoUring, opcode, types};

use crate::block::buffer::Buffer;
use crate::device::ahead::{self, Ahead};
use crate::device::filler::{Filler, Waker};
use crate::device::folder::{self, Folder};
use crate::device::{Action, Completion, Device, DeviceError, Errno, Operation, Source, Traits};

/// Operations in the kernel at once.
const FLIGHT_MAX: usize = 32;
/// Each operation takes two entries: itself and its notification.
const RING_ENTRIES: u32 = 2 * FLIGHT_MAX as u32;
/// Segment files the ring can hold registered; files beyond are used by descriptor.
const FILES_MAX: u32 = 1024;
const NOTIFICATION: u64 = u64::MAX;
static NOTIFY_BYTE: u8 = 1;

struct InFlight {
    operation: Operation,
    is_write: bool,
}

/// A folder of segment files, read and written through a ring of its own.
pub struct UringDevice {
    ring: IoUring,
    folder: Folder,
    filler: Filler,
    notify: Option<Arc<OwnedFd>>,
    flight: Vec<Option<InFlight>>,
    free: Vec<usize>,
    begun: usize,
    files_registered: bool,
    buffers_registered: bool,
    /// Reads ahead that have ended and were not asked for yet.
    landed: Vec<Completion>,
}

fn barred(error: &io::Error) -> DeviceError {
    DeviceError::Barred(Errno(error.raw_os_error().unwrap_or(0)))
}

/// A plain ring: completions interrupt the thread, so that one that spins sees them as soon as one that sleeps.
fn new_ring() -> Result<IoUring, DeviceError> {
    IoUring::new(RING_ENTRIES).map_err(|error| barred(&error))
}

impl UringDevice {
    /// Opens or makes the folder with segments of this size. One byte is sent on `notify`, one end of a
    /// socket pair, after each completion; its reader may sleep until then.
    ///
    /// # Errors
    /// [`DeviceError::Barred`] where io_uring is not allowed; else when the folder cannot be opened, is in
    /// use, or holds files of another size.
    pub fn open(
        path: &Path,
        segment_bytes: u64,
        notify: Option<OwnedFd>,
    ) -> Result<Self, DeviceError> {
        let ring = new_ring()?;
        let folder = Folder::open(path, segment_bytes, true)?;
        let notify = notify.map(Arc::new);
        let waker = notify.as_ref().map(|socket| {
            let socket = Arc::clone(socket);
            let wake: Waker = Arc::new(move || {
                // A full socket has unread bytes: its reader wakes in any case.
                let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
                let _ = rustix::net::send(&*socket, &[NOTIFY_BYTE], flags);
            });
            wake
        });
        let filler = Filler::start(folder.maker(), waker);
        let filler = filler.map_err(|error| DeviceError::from_io(Action::Open, None, &error))?;
        let files_registered = ring
            .submitter()
            .register_files_sparse(FILES_MAX + 1)
            .is_ok();
        if files_registered {
            // The ring outlives a killed process until its writes have ended, and with it this reference
            // to the lock: nobody opens the log while a write of ours may still land in it.
            let lock = [folder.lock_fd()];
            let held = ring.submitter().register_files_update(FILES_MAX, &lock);
            held.map_err(|error| DeviceError::from_io(Action::Ring, None, &error))?;
        }
        let mut device = Self {
            ring,
            folder,
            filler,
            notify,
            flight: (0..FLIGHT_MAX).map(|_| None).collect(),
            free: (0..FLIGHT_MAX).rev().collect(),
            begun: 0,
            files_registered,
            buffers_registered: false,
            landed: Vec::new(),
        };
        for slot in device.folder.slots() {
            device.register_file(slot);
        }
        Ok(device)
    }

    fn register_file(&mut self, slot: u32) {
        if let (true, Some(file)) = (
            self.files_registered && slot < FILES_MAX,
            self.folder.file(slot),
        ) {
            let updated = self
                .ring
                .submitter()
                .register_files_update(slot, &[file.as_raw_fd()]);
            self.files_registered = updated.is_ok();
        }
    }

    fn begin(&mut self, mut operation: Operation, is_write: bool) -> Result<(), Operation> {
        assert!(
            operation.bytes <= operation.buffer.len(),
            "an operation stays within its memory"
        );
        let Some(file) = self.folder.file(operation.slot) else {
            return Err(operation);
        };
        let descriptor = file.as_raw_fd();
        let Some(key) = self.free.pop() else {
            return Err(operation);
        };
        let mut entry = self
            .entry(descriptor, &mut operation, is_write)
            .user_data(key as u64);
        let notification = self.notify.as_ref().map(|socket| {
            opcode::Send::new(types::Fd(socket.as_raw_fd()), &raw const NOTIFY_BYTE, 1)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(NOTIFICATION)
        });
        if notification.is_some() {
            entry = entry.flags(Flags::IO_HARDLINK);
        }
        self.flight[key] = Some(InFlight {
            operation,
            is_write,
        });
        let mut queue = self.ring.submission();
        // SAFETY: the buffer is kept in `flight`, unmoved in memory and untouched, until its completion was
        // seen; the file and the socket live as long as the ring; the byte sent is static.
        let pushed = unsafe {
            queue.push(&entry).and_then(|()| {
                notification
                    .as_ref()
                    .map_or(Ok(()), |notification| queue.push(notification))
            })
        };
        pushed.expect("the ring has two entries for each operation that may be in flight");
        self.begun += 1;
        Ok(())
    }

    fn entry(&self, descriptor: RawFd, operation: &mut Operation, is_write: bool) -> squeue::Entry {
        if self.files_registered && operation.slot < FILES_MAX {
            entry_on(types::Fixed(operation.slot), operation, is_write)
        } else {
            entry_on(types::Fd(descriptor), operation, is_write)
        }
    }

    fn finish(&mut self, key: u64, result: i32) -> Completion {
        let index = usize::try_from(key).expect("keys are indexes into the flight");
        let InFlight {
            operation,
            is_write,
        } = self.flight[index]
            .take()
            .expect("one completion per operation");
        self.free.push(index);
        let action = if is_write {
            Action::Write
        } else {
            Action::Read
        };
        let outcome = match usize::try_from(result) {
            Ok(bytes) if bytes == operation.bytes => Ok(()),
            Ok(_) => Err(DeviceError::Short {
                action,
                slot: Some(operation.slot),
            }),
            Err(_) => Err(DeviceError::from_errno(
                action,
                Some(operation.slot),
                -result,
            )),
        };
        if is_write {
            Completion::Written(operation, outcome)
        } else {
            Completion::Read(operation, outcome)
        }
    }

    fn next_entry(&mut self) -> Option<(u64, i32)> {
        let entry = self.ring.completion().next()?;
        Some((entry.user_data(), entry.result()))
    }

    fn file_now(&self, slot: u32) -> &std::fs::File {
        self.folder
            .file(slot)
            .expect("the log names only slots that exist")
    }
}

/// The ring entry of an operation on a registered or a plain file.
fn entry_on(
    file: impl io_uring_file::File,
    operation: &mut Operation,
    is_write: bool,
) -> squeue::Entry {
    file.entry(operation, is_write)
}

/// Registered and plain files take the same operations.
mod io_uring_file {
    use io_uring::{opcode, squeue, types};

    use crate::device::Operation;

    pub(super) trait File {
        fn entry(self, operation: &mut Operation, is_write: bool) -> squeue::Entry;
    }

    macro_rules! file {
        ($file:ty) => {
            impl File for $file {
                fn entry(self, operation: &mut Operation, is_write: bool) -> squeue::Entry {
                    let address = operation.buffer.as_mut_ptr();
                    let bytes = operation.bytes as u32;
                    let offset = operation.offset;
                    match (is_write, operation.buffer.registered) {
                        (true, Some(index)) => opcode::WriteFixed::new(self, address, bytes, index)
                            .offset(offset)
                            .rw_flags(libc::RWF_DSYNC)
                            .build(),
                        (true, None) => opcode::Write::new(self, address, bytes)
                            .offset(offset)
                            .rw_flags(libc::RWF_DSYNC)
                            .build(),
                        (false, Some(index)) => opcode::ReadFixed::new(self, address, bytes, index)
                            .offset(offset)
                            .build(),
                        (false, None) => opcode::Read::new(self, address, bytes)
                            .offset(offset)
                            .build(),
                    }
                }
            }
        };
    }

    file!(types::Fixed);
    file!(types::Fd);
}

impl Source for UringDevice {
    fn segment_bytes(&self) -> u64 {
        self.folder.segment_bytes()
    }

    fn slots_now(&mut self) -> Result<Vec<u32>, DeviceError> {
        Ok(self.folder.slots())
    }

    fn read_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &mut Buffer,
    ) -> Result<(), DeviceError> {
        folder::read_exact(self.file_now(slot), slot, offset, &mut buffer[..bytes])
    }

    fn read_ahead(&mut self, operation: Operation) -> Result<(), Operation> {
        self.begin(operation, false)?;
        self.submit(0);
        Ok(())
    }

    fn await_ahead(&mut self) -> Option<(Operation, Result<(), DeviceError>)> {
        ahead::take(self, |device| &mut device.landed)
    }
}

impl Ahead for UringDevice {
    fn has_begun(&self) -> bool {
        self.free.len() < FLIGHT_MAX
    }
}

impl Device for UringDevice {
    fn traits(&self) -> Traits {
        Traits {
            name: "uring",
            direct: self.folder.direct,
            buffers_registered: self.buffers_registered,
            files_registered: self.files_registered,
        }
    }

    fn create_now(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.folder.maker().make(slot)?;
        self.folder.open_slot(slot)?;
        self.register_file(slot);
        Ok(())
    }

    fn write_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &Buffer,
    ) -> Result<(), DeviceError> {
        folder::write_durably(self.file_now(slot), slot, offset, &buffer[..bytes])
    }

    fn sync_now(&mut self, slot: u32) -> Result<(), DeviceError> {
        let synced = self.file_now(slot).sync_data();
        synced.map_err(|error| DeviceError::from_io(Action::Sync, Some(slot), &error))
    }

    fn allocate(&mut self, count: usize, bytes: usize) -> Vec<Buffer> {
        let mut buffers = Buffer::row(count, bytes);
        let vectors: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        // SAFETY: the kernel pins the pages and touches them only for operations begun above, which keep
        // their buffer; memory freed after its last completion is never named again.
        let registered = unsafe { self.ring.submitter().register_buffers(&vectors) };
        self.buffers_registered = registered.is_ok();
        if self.buffers_registered {
            for (index, buffer) in buffers.iter_mut().enumerate() {
                buffer.registered = u16::try_from(index).ok();
            }
        }
        buffers
    }

    fn create(&mut self, _now_ns: u64, slot: u32) {
        self.filler.order(slot);
    }

    fn write(&mut self, _now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.begin(operation, true)
    }

    fn read(&mut self, _now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.begin(operation, false)
    }

    fn submit(&mut self, _now_ns: u64) {
        if self.begun == 0 {
            return;
        }
        // A ring that is short of resources or interrupted keeps its entries: they leave with the next call.
        if self.ring.submit().is_ok() && self.ring.submission().is_empty() {
            self.begun = 0;
        }
    }

    fn wait(&mut self) {
        if self.free.len() < FLIGHT_MAX && self.ring.submit_and_wait(1).is_ok() {
            self.begun = 0;
        }
    }

    fn poll(&mut self, now_ns: u64, completions: &mut Vec<Completion>) {
        self.submit(now_ns);
        while let Some((key, result)) = self.next_entry() {
            if key != NOTIFICATION {
                let completion = self.finish(key, result);
                completions.push(completion);
            }
        }
        while let Some((slot, made)) = self.filler.next_made() {
            let opened = made.and_then(|()| self.folder.open_slot(slot).map(|_| ()));
            if opened.is_ok() {
                self.register_file(slot);
            }
            completions.push(Completion::Created(slot, opened));
        }
    }
}

impl Drop for UringDevice {
    fn drop(&mut self) {
        while self.free.len() < FLIGHT_MAX {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The kernel may still use the memory: leak it rather than let it be used twice.
                    self.flight.drain(..).for_each(std::mem::forget);
                    return;
                }
            }
            while let Some((key, result)) = self.next_entry() {
                if key != NOTIFICATION {
                    let _ = self.finish(key, result);
                }
            }
        }
        // Nothing is in flight: the lock need not wait until the kernel has taken the ring apart.
        if self.files_registered {
            let _ = self
                .ring
                .submitter()
                .register_files_update(FILES_MAX, &[-1]);
        }
    }
}

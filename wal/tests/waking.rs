//! Whoever sleeps until something completes is woken, whether it succeeded or failed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tempfile::TempDir;
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;
use wal::device::{Completion, Operation};
use wal::{Device, DeviceError};

use crate::support::{SEGMENT_BYTES, UringDisk};

fn sockets() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket pair")
}

/// Blocks until a byte arrives: a device that does not wake its owner hangs here.
fn sleep(socket: &OwnedFd) {
    let mut byte = [0_u8; 1];
    rustix::net::recv(socket, &mut byte[..], RecvFlags::empty()).expect("the device speaks");
}

fn every_completion_wakes<D: Device>(mut device: D, socket: &OwnedFd) {
    device.create(0, 0);
    sleep(socket);
    let mut completions = Vec::new();
    device.poll(0, &mut completions);
    assert!(matches!(
        completions.pop(),
        Some(Completion::Created(0, Ok(())))
    ));
    let mut buffers = device.allocate(1, 4096);
    for (token, offset, fails) in [(1, 0, false), (2, 4096, false), (3, u64::MAX / 2, true)] {
        for is_write in [true, false] {
            let buffer = buffers.pop().expect("the buffer came back");
            let operation = Operation {
                token,
                slot: 0,
                offset,
                bytes: 4096,
                buffer,
            };
            let begun = if is_write {
                device.write(0, operation)
            } else {
                device.read(0, operation)
            };
            begun.expect("nothing is in flight");
            device.submit(0);
            sleep(socket);
            while completions.is_empty() {
                device.poll(0, &mut completions);
            }
            let (Completion::Written(operation, result) | Completion::Read(operation, result)) =
                completions.pop().expect("one completion")
            else {
                panic!("nothing was created");
            };
            assert_eq!((operation.token, result.is_err()), (token, fails));
            buffers.push(operation.buffer);
        }
    }
    device.create(0, 9);
    sleep(socket);
}

#[test]
fn threads() {
    let folder = TempDir::new().expect("a temporary folder");
    let (ours, theirs) = sockets();
    let waker = Arc::new(move || {
        rustix::net::send(&theirs, &[1], SendFlags::empty()).expect("somebody listens");
    });
    let device = FileDevice::open(folder.path(), SEGMENT_BYTES, 2, Some(waker));
    every_completion_wakes(device.expect("the device opens"), &ours);
}

#[test]
fn uring() {
    if UringDisk::new().is_none() {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let (ours, theirs) = sockets();
    let device = UringDevice::open(folder.path(), SEGMENT_BYTES, Some(theirs));
    every_completion_wakes(device.expect("the device opens"), &ours);
}

#[test]
fn a_device_may_be_dropped_with_operations_in_flight() {
    if UringDisk::new().is_none() {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let (ours, theirs) = sockets();
    let mut device =
        UringDevice::open(folder.path(), SEGMENT_BYTES, Some(theirs)).expect("the device opens");
    device.create_now(0).expect("there is space");
    for (token, buffer) in device.allocate(8, 4096).into_iter().enumerate() {
        let operation = Operation {
            token: token as u64,
            slot: 0,
            offset: token as u64 * 4096,
            bytes: 4096,
            buffer,
        };
        device.write(0, operation).expect("there is room");
    }
    device.submit(0);
    drop(device);
    sleep(&ours);
    let again = UringDevice::open(folder.path(), SEGMENT_BYTES, None).err();
    assert_eq!(again, None::<DeviceError>);
}

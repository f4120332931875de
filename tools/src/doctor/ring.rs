//! Can io_uring be used, and if not, who is in the way: the kernel, a setting, or a filter.
//!
//! A ring is really set up; the kernel's version is only told, never judged.

use std::io;
use std::path::Path;

use io_uring::{IoUring, Probe, opcode};

use super::check::{Check, Verdict};
use super::kernel;
use crate::arguments::Io;
use crate::catalogue::{Entry, environment};

const NAME: &str = "io_uring";

/// Operations that the log and the runtime submit.
const NEEDED: [(&str, u8); 9] = [
    ("write_fixed", opcode::WriteFixed::CODE),
    ("read", opcode::Read::CODE),
    ("fsync", opcode::Fsync::CODE),
    ("poll_add", opcode::PollAdd::CODE),
    ("accept", opcode::Accept::CODE),
    ("connect", opcode::Connect::CODE),
    ("send", opcode::Send::CODE),
    ("recv", opcode::Recv::CODE),
    ("timeout", opcode::Timeout::CODE),
];

/// What the kernel said to a real ring.
#[derive(Debug)]
pub(super) enum Setup {
    /// A ring was set up; these needed operations are unknown to it.
    Works { missing: Vec<&'static str> },
    /// `io_uring_setup` returned this error number.
    Refused { errno: i32 },
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Evidence {
    setup: Setup,
    kernel: String,
    /// `kernel.io_uring_disabled`, where the kernel has it (6.6 and later).
    disabled: Option<u8>,
    /// Does a seccomp filter watch this process?
    filtered: bool,
    container: bool,
    wanted: Option<Io>,
}

pub(super) fn gather(wanted: Option<Io>) -> Evidence {
    let status = kernel::read("/proc/self/status").unwrap_or_default();
    let is_there = |path: &str| Path::new(path).exists();
    Evidence {
        setup: set_up(),
        kernel: kernel::read("/proc/sys/kernel/osrelease")
            .unwrap_or_else(|| "of unknown version".to_owned()),
        disabled: kernel::read("/proc/sys/kernel/io_uring_disabled")
            .and_then(|text| text.parse().ok()),
        filtered: kernel::field(&status, "Seccomp") == Some("2"),
        container: is_there("/.dockerenv") || is_there("/run/.containerenv"),
        wanted,
    }
}

/// A ring can be made and knows every operation.
pub(super) fn works() -> bool {
    matches!(set_up(), Setup::Works { missing } if missing.is_empty())
}

fn set_up() -> Setup {
    let refused = |error: io::Error| Setup::Refused {
        errno: error.raw_os_error().unwrap_or(0),
    };
    let ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => return refused(error),
    };
    let mut probe = Probe::new();
    // A kernel that cannot be probed (before 5.6) lacks what is needed as well.
    let probed = ring.submitter().register_probe(&mut probe).is_ok();
    let missing = NEEDED
        .iter()
        .filter(|(_, code)| !probed || !probe.is_supported(*code))
        .map(|(name, _)| *name);
    Setup::Works {
        missing: missing.collect(),
    }
}

pub(super) fn judge(evidence: &Evidence) -> Check {
    let kernel = &evidence.kernel;
    match &evidence.setup {
        Setup::Works { missing } if missing.is_empty() => Check::ok(
            NAME,
            format!("a ring works, with every operation needed (kernel {kernel})"),
        ),
        Setup::Works { missing } => {
            let cause = format!(
                "this kernel's io_uring does not know: {}",
                missing.join(", ")
            );
            unusable(
                evidence,
                format!("a ring works, but lacks operations (kernel {kernel})"),
                cause,
                &environment::RING_TOO_OLD,
            )
        }
        Setup::Refused { errno } => {
            let seen = format!(
                "io_uring_setup returned {} (kernel {kernel})",
                error_name(*errno)
            );
            let (cause, entry) = why_refused(*errno, evidence);
            unusable(evidence, seen, cause, entry)
        }
    }
}

pub(super) fn why_refused(errno: i32, evidence: &Evidence) -> (String, &'static Entry) {
    let place = if evidence.container {
        "of this container"
    } else {
        "on this process"
    };
    match (errno, evidence.disabled) {
        (libc::EPERM | libc::EACCES, Some(disabled @ 1..)) => (
            format!("kernel.io_uring_disabled={disabled}"),
            &environment::RING_DISABLED_BY_SYSCTL,
        ),
        (libc::EPERM | libc::EACCES, disabled) => {
            let setting = disabled.map_or(
                "this kernel has no setting that disables it".to_owned(),
                |value| format!("kernel.io_uring_disabled={value}"),
            );
            let filter = if evidence.filtered {
                format!("so it is the seccomp filter {place}")
            } else {
                "so a security module or an outer sandbox forbids it".to_owned()
            };
            (
                format!("{setting}, {filter}"),
                &environment::RING_BLOCKED_BY_SECCOMP,
            )
        }
        (libc::ENOSYS, _) if evidence.filtered => {
            let cause = "the kernel has no io_uring, or the seccomp filter pretends so".to_owned();
            (cause, &environment::RING_MISSING)
        }
        (libc::ENOSYS, _) => (
            "the kernel was built without io_uring or is older".to_owned(),
            &environment::RING_MISSING,
        ),
        (libc::ENOMEM, _) => (
            "the rings' memory may not be locked".to_owned(),
            &environment::LOCKED_MEMORY,
        ),
        _ => (
            "the kernel refuses for a reason of its own".to_owned(),
            &environment::RING_MISSING,
        ),
    }
}

/// Without io_uring the portable driver remains: only who asked for glommio cannot go on.
fn unusable(evidence: &Evidence, seen: String, cause: String, entry: &'static Entry) -> Check {
    let verdict = match evidence.wanted {
        Some(Io::Glommio) => Verdict::Fatal,
        Some(Io::Threads) => Verdict::Info,
        None => Verdict::Warn,
    };
    let fix = entry.fix.iter().map(|line| {
        if line.starts_with("sudo ") {
            (*line).to_owned()
        } else {
            format!("# {line}")
        }
    });
    Check::new(NAME, verdict, seen)
        .because(cause)
        .fix(fix)
        .code(entry)
}

fn error_name(errno: i32) -> String {
    match errno {
        libc::EPERM => "EPERM".to_owned(),
        libc::EACCES => "EACCES".to_owned(),
        libc::ENOSYS => "ENOSYS".to_owned(),
        libc::ENOMEM => "ENOMEM".to_owned(),
        other => format!("error {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::assert_verdict;

    fn refused(errno: i32, disabled: Option<u8>, filtered: bool) -> Evidence {
        let setup = Setup::Refused { errno };
        Evidence {
            setup,
            kernel: "6.1.0".to_owned(),
            disabled,
            filtered,
            container: filtered,
            wanted: None,
        }
    }

    #[test]
    fn a_refusal_is_blamed_on_the_right_one() {
        let cases = [
            (refused(libc::EPERM, Some(2), true), "E2102"),
            (refused(libc::EPERM, Some(1), false), "E2102"),
            (refused(libc::EPERM, Some(0), true), "E2104"),
            (refused(libc::EPERM, None, true), "E2104"),
            (refused(libc::ENOSYS, None, false), "E2101"),
            (refused(libc::ENOMEM, Some(0), false), "E2105"),
        ];
        for (evidence, code) in cases {
            let check = judge(&evidence);
            assert_verdict(&check, Verdict::Warn);
            assert_eq!(check.code, Some(code), "{check}");
            assert!(
                check.to_string().contains("--io threads") || code == "E2105",
                "{check}"
            );
        }
    }

    #[test]
    fn a_ring_without_a_needed_operation_is_too_old() {
        let setup = Setup::Works {
            missing: vec!["send"],
        };
        let check = judge(&Evidence {
            setup,
            ..refused(0, None, false)
        });
        assert_verdict(&check, Verdict::Warn);
        assert_eq!(check.code, Some("E2103"));
    }

    #[test]
    fn how_bad_it_is_depends_on_the_driver_asked_for() {
        let asked = |wanted| {
            judge(&Evidence {
                wanted,
                ..refused(libc::EPERM, Some(2), false)
            })
        };
        assert_verdict(&asked(Some(Io::Glommio)), Verdict::Fatal);
        assert_verdict(&asked(Some(Io::Threads)), Verdict::Info);
    }

    #[test]
    fn a_complete_ring_is_fine() {
        let setup = Setup::Works {
            missing: Vec::new(),
        };
        assert_verdict(
            &judge(&Evidence {
                setup,
                ..refused(0, None, false)
            }),
            Verdict::Ok,
        );
    }
}

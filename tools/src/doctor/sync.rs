//! Whether the wall clock keeps to the world's: what the kernel says of its own discipline.
#![expect(
    unsafe_code,
    reason = "the kernel's clock discipline is read by a call that libc offers only raw"
)]

use super::check::Check;
use crate::quantity::display_nanos;

/// An estimated error above this is told.
const ERROR_NANOS_WISHED: u64 = 10_000_000;

/// What the kernel's clock discipline says.
#[derive(Clone, Copy, Debug)]
struct Discipline {
    is_synchronized: bool,
    estimated_error_nanos: u64,
}

pub(super) fn examine() -> Check {
    judge(gather())
}

fn gather() -> Option<Discipline> {
    // SAFETY: all fields are numbers, for which zeros are valid; with no mode set the call only fills them in.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    (state >= 0).then(|| Discipline {
        is_synchronized: timex.status & libc::STA_UNSYNC == 0,
        estimated_error_nanos: u64::try_from(timex.esterror)
            .unwrap_or(0)
            .saturating_mul(1000),
    })
}

fn judge(discipline: Option<Discipline>) -> Check {
    const NAME: &str = "wall clock";
    let fix = [
        "sudo systemctl enable --now systemd-timesyncd",
        "# or chrony, or the provider's PTP device: chronyc tracking",
    ];
    let because = "timestamps of transfers come from it; groups stay correct, but a client sees them run apart";
    match discipline {
        None => Check::info(NAME, "the kernel does not tell whether it is synchronized"),
        Some(Discipline {
            is_synchronized: false,
            ..
        }) => Check::warn(NAME, "nothing synchronizes it")
            .because(because)
            .fix(fix),
        Some(Discipline {
            estimated_error_nanos: error,
            ..
        }) if error > ERROR_NANOS_WISHED => Check::warn(
            NAME,
            format!("synchronized, to within {}", display_nanos(error)),
        )
        .because(because)
        .fix(fix),
        Some(Discipline {
            estimated_error_nanos: error,
            ..
        }) => Check::ok(
            NAME,
            format!("synchronized, estimated error {}", display_nanos(error)),
        ),
    }
}

#[test]
fn a_clock_that_nobody_sets_or_that_is_far_off_is_warned_of() {
    use super::check::{Verdict, assert_verdict};
    let discipline = |is_synchronized, estimated_error_nanos| {
        judge(Some(Discipline {
            is_synchronized,
            estimated_error_nanos,
        }))
    };
    assert_verdict(&discipline(false, 0), Verdict::Warn);
    assert_verdict(&discipline(true, 16_000_000), Verdict::Warn);
    assert_verdict(&discipline(true, 200_000), Verdict::Ok);
    assert_verdict(&judge(None), Verdict::Info);
}

//! Memory that moves under a running core: huge pages made behind its back, pages swapped out.

use super::check::Check;
use super::kernel;
use crate::quantity::display_size;

pub(super) fn examine() -> Vec<Check> {
    let pages = kernel::read("/sys/kernel/mm/transparent_hugepage/enabled");
    let swap = kernel::read("/proc/swaps").map(|text| parse_swap(&text));
    vec![
        judge_pages(pages.as_deref().and_then(kernel::chosen)),
        judge_swap(swap),
    ]
}

fn judge_pages(chosen: Option<&str>) -> Check {
    const NAME: &str = "huge pages";
    match chosen {
        Some("always") => Check::warn(NAME, "transparent ones are made always")
            .because("the kernel stops a thread to put pages together, for milliseconds at a time")
            .fix(["echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"]),
        Some(chosen) => Check::ok(NAME, format!("transparent ones: {chosen}")),
        None => Check::ok(NAME, "no transparent ones"),
    }
}

/// Bytes of swap space in use or not, from the table in `/proc/swaps`.
fn parse_swap(table: &str) -> u64 {
    let kibibytes = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    kibibytes.map(|count| count << 10).sum()
}

fn judge_swap(bytes: Option<u64>) -> Check {
    const NAME: &str = "swap";
    match bytes {
        Some(0) => Check::ok(NAME, "none"),
        Some(bytes) => Check::warn(NAME, display_size(bytes))
            .because("a page that was swapped out stops its core until the disk brings it back")
            .fix(["sudo swapoff -a"]),
        None => Check::info(NAME, "the kernel does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{Verdict, assert_verdict};

    #[test]
    fn pages_made_behind_the_back_are_warned_of() {
        assert_verdict(&judge_pages(Some("always")), Verdict::Warn);
        assert_verdict(&judge_pages(Some("madvise")), Verdict::Ok);
        assert_verdict(&judge_pages(None), Verdict::Ok);
    }

    #[test]
    fn swap_space_is_warned_of() {
        let table = "Filename\tType\tSize\tUsed\tPriority\n/swapfile file 2097148 0 -2\n/dev/sdb1 partition 4 0 -3\n";
        assert_eq!(parse_swap(table), 2_097_152 << 10);
        assert_verdict(&judge_swap(Some(parse_swap(table))), Verdict::Warn);
        assert_verdict(&judge_swap(Some(0)), Verdict::Ok);
        assert_verdict(&judge_swap(None), Verdict::Info);
    }
}

//! The catalogue of everything that can go wrong, by stable code.
//!
//! | codes | about |
//! |---|---|
//! | E1xxx | the command line and the configuration |
//! | E2xxx | this machine: kernel, limits, processors |
//! | E3xxx | the data folder and its disk |
//! | E4xxx | the network and the cluster |
//! | E5xxx | Quorate itself |
//! | E6xxx | the object store |
//!
//! - A code, once published, keeps its meaning; the code of a case that cannot occur any more is not reused.
//! - Every entry says how to get out, and is explained without a network (`quorate explain`).

pub(crate) mod cluster;
pub(crate) mod cold;
pub(crate) mod disk;
pub(crate) mod environment;
pub(crate) mod internal;
pub(crate) mod usage;

use crate::answer::Exit;

/// One case, independent of when and where it happens.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `E` and four digits.
    pub(crate) code: &'static str,
    /// What is wrong, in one line without a full stop.
    pub(crate) title: &'static str,
    /// How a run ends that meets it.
    pub(crate) exit: Exit,
    /// What to do, most advisable first.
    pub(crate) fix: &'static [&'static str],
    /// Why this happens, what it means for the data, how to find out more.
    pub(crate) explanation: &'static str,
}

/// Defines entries as statics and lists them all, so that none can be left out of the list.
macro_rules! entries {
    ($($name:ident { code: $code:literal, title: $title:literal, exit: $exit:ident,
        fix: [$($fix:literal),+ $(,)?], explanation: $explanation:literal $(,)? })+) => {
        $(
            pub(crate) static $name: $crate::catalogue::Entry = $crate::catalogue::Entry {
                code: $code,
                title: $title,
                exit: $crate::answer::Exit::$exit,
                fix: &[$($fix),+],
                explanation: $explanation,
            };
        )+
        pub(super) static ALL: &[&$crate::catalogue::Entry] = &[$(&$name),+];
    };
}
use entries;

/// Every entry, in the order of the codes.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    [
        usage::ALL,
        environment::ALL,
        disk::ALL,
        cluster::ALL,
        internal::ALL,
        cold::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The entry of a code as people type it: `E2104`, `e2104`, `2104`.
pub(crate) fn find(code: &str) -> Option<&'static Entry> {
    let digits = code.trim().trim_start_matches(['E', 'e']);
    all().find(|entry| entry.code.trim_start_matches('E') == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete() {
        for entry in all() {
            let digits = entry.code.strip_prefix('E').expect("a code starts with E");
            assert!(
                digits.len() == 4 && digits.parse::<u16>().is_ok(),
                "{}",
                entry.code
            );
            assert!(
                entry.title.len() > 10 && !entry.title.ends_with('.'),
                "{}: title",
                entry.code
            );
            assert!(
                entry.fix.iter().all(|line| line.len() > 10),
                "{}: fix",
                entry.code
            );
            assert!(
                entry.explanation.split_whitespace().count() >= 25,
                "{}: explanation",
                entry.code
            );
            assert!(
                entry.explanation.ends_with('.'),
                "{}: explanation",
                entry.code
            );
            assert_ne!(entry.exit, Exit::Done, "{}: exit", entry.code);
        }
    }

    #[test]
    fn codes_are_unique_and_ascend() {
        let codes: Vec<&str> = all().map(|entry| entry.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }

    #[test]
    fn a_code_is_found_as_people_type_it() {
        for typed in ["E2104", "e2104", "2104", " E2104 "] {
            assert_eq!(
                find(typed).map(|entry| entry.code),
                Some("E2104"),
                "{typed}"
            );
        }
        assert!(find("E9999").is_none());
        assert!(find("").is_none());
    }
}

//! Amounts as people type them: `3`, `500ms`, `2m` for a time, `64KiB`, `2GiB` for a size.

use std::time::Duration;

/// A time. A bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] = [
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
    ];
    let (number, unit) = split(text);
    let unit = if unit.is_empty() { "s" } else { unit };
    let scale = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| scale);
    let seconds = number
        .parse::<f64>()
        .ok()
        .zip(scale)
        .map(|(number, scale)| number * scale);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            "expected a number of seconds, or one with a unit: 500ms, 10s, 2m, 1h".to_owned()
        })
}

/// A time that is longer than nothing.
pub(crate) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("expected more than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// A size. A bare number counts bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let (number, unit) = split(text);
    let scale = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, scale)| *scale);
    let size = number
        .parse::<u64>()
        .ok()
        .zip(scale)
        .and_then(|(number, scale)| number.checked_mul(scale));
    size.ok_or_else(|| {
        "expected a number of bytes, or one with a unit: 64KiB, 512MiB, 2GiB".to_owned()
    })
}

/// A size with the largest unit that leaves at least one of it, for people to read.
pub(crate) fn display_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A time in nanoseconds with three digits at most before its unit, for people to read.
pub(crate) fn display_nanos(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} us", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        _ => format!("{:.1} s", nanos as f64 / 1e9),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("3"), Ok(3_000));
        assert_eq!(millis("1.5"), Ok(1_500));
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("2 m"), Ok(120_000));
        assert_eq!(millis("1h"), Ok(3_600_000));
        for wrong in [
            "",
            "s",
            "-1",
            "3 weeks",
            "1.2.3",
            "99999999999999999999999h",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_positive_duration("0").is_err());
    }

    #[test]
    fn sizes_are_read_as_people_type_them() {
        assert_eq!(parse_size("4096"), Ok(4_096));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("2 gib"), Ok(2 << 30));
        for wrong in ["", "KiB", "-1", "1.5GiB", "64kilo", "99999999TiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_printed_as_people_read_them() {
        assert_eq!(display_size(512), "512 B");
        assert_eq!(display_size(64 << 10), "64 KiB");
        assert_eq!(display_size(3 << 29), "1.5 GiB");
        assert_eq!(display_nanos(999), "999 ns");
        assert_eq!(display_nanos(101_500), "101.5 us");
        assert_eq!(display_nanos(2_000_000_000), "2.0 s");
    }
}

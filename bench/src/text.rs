//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, short: `950`, `61.2k`, `412k`, `1.25M`.
pub fn short(number: f64) -> String {
    match number {
        n if n < 1_000.0 => format!("{n:.0}"),
        n if n < 100_000.0 => format!("{:.1}k", n / 1e3),
        n if n < 1_000_000.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.2}M", n / 1e6),
    }
}

/// A duration in nanoseconds with three digits: `950 ns`, `61.2 us`, `1.25 ms`, `2.10 s`.
pub fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.decimals$} {unit}")
}

/// Bytes with a binary unit: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            [
                short(950.0),
                short(61_234.0),
                short(412_000.0),
                short(1.25e6)
            ],
            ["950", "61.2k", "412k", "1.25M"]
        );
        assert_eq!(duration(950), "950 ns");
        assert_eq!(duration(61_234), "61.2 us");
        assert_eq!(duration(1_250_000), "1.25 ms");
        assert_eq!(duration(412_000_000), "412 ms");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}

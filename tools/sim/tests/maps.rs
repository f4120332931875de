//! Maps: read, modelled, surveyed and lived on; what cannot be read is told with its line.

use std::fs;
use std::path::{Path, PathBuf};

use sim::atlas::{AtlasError, topology};
use sim::run;
use sim::verdict::Broken;

use crate::seeds::asked;

#[test]
fn the_built_in_maps_carry_a_run() {
    for name in ["bank20x5", "bank100"] {
        let map = topology(name, None, 1).expect("the model needs no files");
        assert_eq!((map.sites.len(), map.clusters.len()), (100, 23));
        let mut asked = asked(5, 2);
        (asked.topology, asked.rate) = (map, Some(5));
        let outcome = run::run(1, &asked);
        assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
    }
}

#[test]
fn measured_maps_carry_a_run() {
    let named = std::env::var_os("QUORATE_RTT").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rtt");
    let folder = named.unwrap_or(beside);
    if !folder.is_dir() {
        println!(
            "SKIPPED: no round trips at {} (set QUORATE_RTT)",
            folder.display()
        );
        return;
    }
    for name in ["bank20x5", "bank100"] {
        let mut asked = asked(5, 2);
        asked.topology = topology(name, Some(&folder), 1).expect("the files are as documented");
        asked.rate = Some(5);
        let outcome = run::run(2, &asked);
        assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
    }
}

#[test]
fn a_network_that_is_off_its_map_fails_the_run() {
    let mut asked = asked(5, 1);
    asked.topology = topology("bank20x5", None, 1).expect("the model needs no files");
    (asked.rate, asked.faults) = (Some(5), Vec::new());
    let mut broken = |permille| {
        asked.planted.longer_ways_permille = permille;
        run::run(3, &asked).broken
    };
    // Jitter adds a quarter of a percent to the mean; more than one percent in all is too much.
    assert_eq!(broken(0), None);
    assert_eq!(broken(6), None);
    for permille in [9, 20] {
        let found = broken(permille);
        let Some(Broken::OffTheMap {
            injected_us,
            observed_us,
            ..
        }) = found
        else {
            panic!("{permille}: {found:?}");
        };
        assert!(
            observed_us * 100 > injected_us * 101,
            "{injected_us} {observed_us}"
        );
    }
}

#[test]
fn bad_maps_are_refused_by_line() {
    let folder = std::env::temp_dir().join(format!("quorate-maps-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let check = |text: &str, expected: Option<usize>| {
        let file = folder.join("map.csv");
        fs::write(&file, text).expect("a temporary file");
        let error = topology(file.to_str().expect("text"), None, 1).expect_err("a bad map");
        match (error, expected) {
            (AtlasError::Line { line, .. }, Some(expected)) => assert_eq!(line, expected, "{text}"),
            (AtlasError::Missing { .. } | AtlasError::TooFew(_), None) => {}
            (error, _) => panic!("{text}: {error}"),
        }
    };
    check("a,b,c\n", Some(1));
    check("from,to,p50_ms\nA,B\n", Some(2));
    check("from,to,p50_ms\nA,B,1.0\nA,B,fast\n", Some(3));
    check("from,to,p50_ms\nA,B,-1\n", Some(2));
    check("from,to,p50_ms\nA,B,1.0\n", None);
    check("from,to,p50_ms\nA,B,1\nC,D,1\nE,F,1\n", None);
    fs::remove_dir_all(&folder).expect("it was made above");
}

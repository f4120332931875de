//! Maps from data: sites and round trips in CSV, and a geographic model for checkouts that have no measurements.
//!
//! - Files: `from,to,p50_ms,...` one line per ordered pair; sites: a header that names `name`, `lat`, `lon`.
//! - Model: 1 ms and 0.0206 ms for each kilometre of great circle, which is fibre (204.2 km/ms, there and back) with a
//!   route factor of 2.1. Of 9,900 measured pairs half lie between 0.84 and 1.34 times the model (`docs/simulation.md`).
//! - What cannot be read is an error with its line, never a guess.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::sites::{self, Site};
use crate::topology::{Cluster, SITE_ROUND_TRIP_NS, Topology};

const MILLISECOND: f64 = 1e6;
const EARTH_RADIUS_KM: f64 = 6_371.0;
/// Round trip of the model: a constant part, and a part per kilometre.
const MODEL_BASE_MS: f64 = 1.0;
const MODEL_MS_PER_KM: f64 = 0.0206;
/// Nodes of each cluster on a map.
const CLUSTER_NODES: usize = 5;

/// Why a map cannot be made.
#[derive(Debug, Error)]
pub enum AtlasError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what the header promises.
    #[error("{path}, line {line}: {what}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Two sites without a round trip between them.
    #[error("no round trip is known from {from} to {to}")]
    Missing {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// No such map.
    #[error("no topology is called `{0}`; there are three, five, bank20x5, bank100, or a CSV file")]
    Unknown(String),
    /// The map has too few sites.
    #[error("a map needs at least {CLUSTER_NODES} sites, this one has {0}")]
    TooFew(usize),
}

/// The topology of this name: one site, a named map from `folder` or the built-in model, or a file of round trips.
///
/// # Errors
/// If a file is named and cannot be used.
pub fn topology(name: &str, folder: Option<&Path>, groups: u64) -> Result<Topology, AtlasError> {
    match name {
        "three" => Ok(Topology::one_site(name, 3, groups)),
        "five" => Ok(Topology::one_site(name, 5, groups)),
        "bank20x5" | "bank100" => {
            let file = if name == "bank20x5" {
                "bank20x5_rtt.csv"
            } else {
                "rtt.csv"
            };
            let map = match folder {
                Some(folder) => Map::read(&folder.join(file))?,
                None if name == "bank20x5" => Map::model(&sites::BANK20X5),
                None => Map::model(&sites::BANK100),
            };
            map.topology(name, groups)
        }
        path if path.ends_with(".csv") => Map::read(Path::new(path))?.topology(path, groups),
        unknown => Err(AtlasError::Unknown(unknown.to_owned())),
    }
}

/// Sites and the round trips between them.
#[derive(Debug)]
struct Map {
    sites: Vec<String>,
    /// Row by row; 0 is not known.
    round_trips_ns: Vec<u64>,
}

impl Map {
    /// Reads `from,to,p50_ms`; further columns are left alone.
    fn read(path: &Path) -> Result<Self, AtlasError> {
        let text = fs::read_to_string(path).map_err(|source| AtlasError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut sites = Vec::new();
        let mut pairs = Vec::new();
        for (nth, line) in text.lines().enumerate() {
            let wrong = |what| AtlasError::Line {
                path: path.to_owned(),
                line: nth + 1,
                what,
            };
            let fields: Vec<&str> = line.split(',').collect();
            let [from, to, p50, ..] = fields[..] else {
                return Err(wrong("fewer than three columns"));
            };
            if nth == 0 {
                if [from, to, p50] != ["from", "to", "p50_ms"] {
                    return Err(wrong("the header is not `from,to,p50_ms`"));
                }
                continue;
            }
            let millis: f64 = p50
                .trim()
                .parse()
                .map_err(|_| wrong("p50_ms is no number"))?;
            if !(0.0..60_000.0).contains(&millis) {
                return Err(wrong("p50_ms is out of range"));
            }
            let mut number = |site: &str| {
                *numbers.entry(site.to_owned()).or_insert_with(|| {
                    sites.push(site.to_owned());
                    sites.len() - 1
                })
            };
            pairs.push((number(from), number(to), (millis * MILLISECOND) as u64));
        }
        let mut round_trips_ns = vec![0; sites.len() * sites.len()];
        for (from, to, nanos) in pairs {
            round_trips_ns[from * sites.len() + to] = nanos;
        }
        Ok(Self {
            sites,
            round_trips_ns,
        })
    }

    /// The built-in sites, by distance.
    fn model(places: &[Site]) -> Self {
        let sites = places.iter().map(|site| site.0.to_owned()).collect();
        let round_trips_ns = places
            .iter()
            .flat_map(|one| {
                places
                    .iter()
                    .map(move |other| modelled_ns((one.1, one.2), (other.1, other.2)))
            })
            .collect();
        Self {
            sites,
            round_trips_ns,
        }
    }

    /// Regional clusters of five neighbours each, as the file lists them, and three global ones spread over all sites.
    fn topology(self, name: &str, groups: u64) -> Result<Topology, AtlasError> {
        let Self {
            sites,
            mut round_trips_ns,
        } = self;
        let count = sites.len();
        if count < CLUSTER_NODES {
            return Err(AtlasError::TooFew(count));
        }
        for from in 0..count {
            for to in 0..count {
                let way_back = round_trips_ns[to * count + from];
                let there = &mut round_trips_ns[from * count + to];
                if from == to {
                    *there = SITE_ROUND_TRIP_NS;
                } else if *there == 0 {
                    *there = way_back;
                }
                if *there == 0 {
                    return Err(AtlasError::Missing {
                        from: sites[from].clone(),
                        to: sites[to].clone(),
                    });
                }
            }
        }
        let mut clusters: Vec<Cluster> = (0..count / CLUSTER_NODES)
            .map(|region| Cluster {
                sites: (region * CLUSTER_NODES..(region + 1) * CLUSTER_NODES).collect(),
                spares: 0,
                groups,
            })
            .collect();
        if clusters.len() >= CLUSTER_NODES {
            let stride = count / CLUSTER_NODES;
            for global in 0..3 {
                let spread = (0..CLUSTER_NODES)
                    .map(|nth| nth * stride + global)
                    .collect();
                clusters.push(Cluster {
                    sites: spread,
                    spares: 0,
                    groups,
                });
            }
        }
        Ok(Topology {
            name: name.to_owned(),
            sites,
            round_trips_ns,
            clusters,
        })
    }
}

/// The model's round trip between two places given by latitude and longitude.
#[must_use]
pub fn modelled_ns(one: (f64, f64), other: (f64, f64)) -> u64 {
    let kilometres = great_circle_km(one, other);
    if kilometres < 1.0 {
        return SITE_ROUND_TRIP_NS;
    }
    // Rounded to microseconds: the last bits of a sine are the library's.
    ((MODEL_BASE_MS + MODEL_MS_PER_KM * kilometres) * 1e3).round() as u64 * 1_000
}

fn great_circle_km(one: (f64, f64), other: (f64, f64)) -> f64 {
    let [lat, lon, other_lat, other_lon] = [one.0, one.1, other.0, other.1].map(f64::to_radians);
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(other_lat - lat) + lat.cos() * other_lat.cos() * half(other_lon - lon);
    2.0 * EARTH_RADIUS_KM * chord.sqrt().asin()
}

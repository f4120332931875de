//! Where things are: sites with measured or modelled round trips, and the clusters that live on them.
//!
//! - Round trips are in nanoseconds, per direction of asking; a way is half of one.

/// A map of sites and the clusters on it.
#[derive(Clone, Debug)]
pub struct Topology {
    /// What it is called.
    pub name: String,
    /// Sites by name.
    pub sites: Vec<String>,
    /// Round trips between sites, row by row, in nanoseconds.
    pub round_trips_ns: Vec<u64>,
    /// The clusters.
    pub clusters: Vec<Cluster>,
}

/// Nodes that form one cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The site of each node.
    pub sites: Vec<usize>,
    /// So many of them, the last ones, are spare: no group begins with them.
    pub spares: usize,
    /// Groups of the cluster.
    pub groups: u64,
}

/// Round trip between two machines of one site.
pub const SITE_ROUND_TRIP_NS: u64 = 100_000;

impl Cluster {
    /// Nodes that vote in every group when it begins.
    #[must_use]
    pub fn founders(&self) -> usize {
        self.sites.len() - self.spares
    }
}

impl Topology {
    /// So many nodes at one site.
    #[must_use]
    pub fn one_site(name: &str, nodes: usize, groups: u64) -> Self {
        Self {
            name: name.to_owned(),
            sites: vec!["site".to_owned()],
            round_trips_ns: vec![SITE_ROUND_TRIP_NS],
            clusters: vec![Cluster {
                sites: vec![0; nodes],
                spares: 0,
                groups,
            }],
        }
    }

    /// The round trip between two sites.
    #[must_use]
    pub fn round_trip_ns(&self, one: usize, other: usize) -> u64 {
        self.round_trips_ns[one * self.sites.len() + other]
    }

    /// One way between two sites: half of the mean of what both ends measure.
    #[must_use]
    pub fn way_ns(&self, from: usize, to: usize) -> u64 {
        (self.round_trip_ns(from, to) + self.round_trip_ns(to, from)) / 4
    }

    /// The longest round trip inside a cluster.
    #[must_use]
    pub fn widest_ns(&self, cluster: &Cluster) -> u64 {
        let pairs = cluster
            .sites
            .iter()
            .flat_map(|one| cluster.sites.iter().map(move |other| (*one, *other)));
        pairs
            .map(|(one, other)| self.round_trip_ns(one, other))
            .max()
            .unwrap_or(0)
    }

    /// With as many spare nodes as founders in every cluster at one site, and one in every cluster of a map, each beside a
    /// founder.
    #[must_use]
    pub fn with_spares(mut self) -> Self {
        let is_map = self.sites.len() > 1;
        for cluster in &mut self.clusters {
            cluster.spares = if is_map { 1 } else { cluster.sites.len() };
            let beside = cluster.sites[..cluster.spares].to_vec();
            cluster.sites.extend(beside);
        }
        self
    }

    /// Nodes of all clusters.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.clusters
            .iter()
            .map(|cluster| cluster.sites.len())
            .sum()
    }
}

//! What a core says about itself when asked: its groups, its counters, how it makes records durable.
//!
//! - Fields beyond those read here are ignored, so that servers may say more.
//! - A counter that a server does not keep is absent, never zero.

use crate::error::ProtocolFault;
use serde_json::Value;
use std::collections::BTreeMap;

/// One core's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The groups that live on this core.
    pub groups: BTreeMap<u32, GroupStatus>,
    /// Its counters by name.
    pub counters: BTreeMap<String, u64>,
    /// How it makes records durable: `fsync`, `fua`, `none`.
    pub durability: Option<String>,
}

/// One replica of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// Whether this replica leads.
    pub leads: bool,
    /// The node it takes for the leader; 0: none.
    pub leader: u32,
    /// Its term.
    pub term: u64,
    /// The last index it knows to be committed.
    pub commit: u64,
    /// The last index it has applied.
    pub applied: u64,
    /// Digest of the state at that index.
    pub digest: String,
}

impl Status {
    /// Reads a status:
    /// `{"durability":"fsync","counters":{"fsyncs":9},"groups":[{"group":0,"role":"leader","leader":1,
    /// "term":1,"commit":9,"applied":9,"digest":"c0ffee"}]}`. A digest may be a number.
    pub fn parse(json: &[u8]) -> Result<Self, ProtocolFault> {
        let value: Value =
            serde_json::from_slice(json).map_err(|_| ProtocolFault::Status("form"))?;
        let mut status = Self {
            durability: value
                .get("durability")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ..Self::default()
        };
        if let Some(counters) = value.get("counters").and_then(Value::as_object) {
            let numbers = counters
                .iter()
                .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)));
            status.counters = numbers.collect();
        }
        let groups = value
            .get("groups")
            .and_then(Value::as_array)
            .ok_or(ProtocolFault::Status("groups"))?;
        for group in groups {
            status
                .groups
                .insert(small(group, "group")?, GroupStatus::parse(group)?);
        }
        Ok(status)
    }

    /// The first of these counters that the server keeps.
    pub fn counter(&self, names: &[&str]) -> Option<u64> {
        names
            .iter()
            .find_map(|name| self.counters.get(*name).copied())
    }
}

impl GroupStatus {
    fn parse(group: &Value) -> Result<Self, ProtocolFault> {
        let role = group
            .get("role")
            .and_then(Value::as_str)
            .ok_or(ProtocolFault::Status("role"))?;
        let digest = match group.get("digest") {
            Some(Value::String(digest)) => digest.clone(),
            Some(Value::Number(digest)) => digest.to_string(),
            _ => return Err(ProtocolFault::Status("digest")),
        };
        Ok(Self {
            leads: role.eq_ignore_ascii_case("leader"),
            leader: match group.get("leader") {
                None | Some(Value::Null) => 0,
                Some(_) => small(group, "leader")?,
            },
            term: number(group, "term")?,
            commit: number(group, "commit")?,
            applied: number(group, "applied")?,
            digest,
        })
    }
}

fn number(value: &Value, field: &'static str) -> Result<u64, ProtocolFault> {
    value
        .get(field)
        .and_then(Value::as_u64)
        .ok_or(ProtocolFault::Status(field))
}

fn small(value: &Value, field: &'static str) -> Result<u32, ProtocolFault> {
    u32::try_from(number(value, field)?).map_err(|_| ProtocolFault::Status(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_what_it_says_beyond_is_ignored() {
        let json = br#"{"node":2,"durability":"fsync","counters":{"fsyncs":9,"name":"x"},
            "groups":[{"group":3,"role":"Leader","leader":2,"term":7,"commit":11,"applied":10,"digest":"c0ffee","x":[]},
                      {"group":4,"role":"follower","leader":null,"term":7,"commit":0,"applied":0,"digest":0}]}"#;
        let status = Status::parse(json).expect("valid");
        let leader = GroupStatus {
            leads: true,
            leader: 2,
            term: 7,
            commit: 11,
            applied: 10,
            digest: "c0ffee".to_owned(),
        };
        assert_eq!(status.groups[&3], leader);
        assert!(
            !status.groups[&4].leads
                && status.groups[&4].leader == 0
                && status.groups[&4].digest == "0"
        );
        assert_eq!(status.counter(&["missing", "fsyncs"]), Some(9));
        assert_eq!(status.counter(&["name"]), None);
        assert_eq!(status.durability.as_deref(), Some("fsync"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |json: &str, field| {
            assert_eq!(
                Status::parse(json.as_bytes()),
                Err(ProtocolFault::Status(field)),
                "{json}"
            );
        };
        check("[", "form");
        check("{}", "groups");
        check(r#"{"groups":[{}]}"#, "group");
        check(r#"{"groups":[{"group":99999999999}]}"#, "group");
        check(r#"{"groups":[{"group":1}]}"#, "role");
        check(r#"{"groups":[{"group":1,"role":"leader"}]}"#, "digest");
        check(
            r#"{"groups":[{"group":1,"role":"leader","digest":1,"term":-1}]}"#,
            "term",
        );
    }
}

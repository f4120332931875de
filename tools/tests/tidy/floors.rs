//! Rule: a crate imports only from floors below its own, and only what the plan allows.
//!
//! The order of `members` in the root `Cargo.toml` is the floor plan, from the ground up.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::house::{Finding, House};

/// Everything that the engine puts together, and the simulator in its own way.
const BELOW_THE_ENGINE: [&str; 7] = [
    "wal",
    "wal/sealed",
    "wal/cold",
    "net",
    "engine/raft",
    "engine/ledger",
    "engine/shard",
];

/// What each member may import (docs/architecture.md, "Floors").
const PLAN: [(&str, &[&str]); 12] = [
    ("wal", &[]),
    ("wal/sealed", &[]),
    ("wal/cold", &[]),
    ("net", &[]),
    ("engine/raft", &[]),
    ("engine/ledger", &["engine/raft"]),
    ("engine/shard", &["wal", "wal/sealed", "net", "engine/raft"]),
    ("tools/sim", &BELOW_THE_ENGINE),
    ("engine", &BELOW_THE_ENGINE),
    ("engine/c", &["engine/ledger", "engine"]),
    ("bench", &["net", "engine/raft", "engine/ledger", "engine"]),
    (
        "tools",
        &[
            "wal",
            "wal/sealed",
            "wal/cold",
            "net",
            "engine/ledger",
            "engine",
            "bench",
        ],
    ),
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    check_against(house, &PLAN)
}

fn check_against(house: &House, plan: &[(&str, &[&str])]) -> Vec<Finding> {
    let workspace = match Workspace::read(house) {
        Ok(workspace) => workspace,
        Err(finding) => return vec![finding],
    };
    let mut findings = check_plan_is_complete(&workspace, plan);
    for (floor, member) in workspace.members.iter().enumerate() {
        let manifest = format!("{}/Cargo.toml", member.path);
        let allowed = plan
            .iter()
            .find(|(path, _)| *path == member.path)
            .map_or(&[][..], |(_, allowed)| allowed);
        for import in &member.imports {
            let below = workspace.members[..floor]
                .iter()
                .any(|lower| lower.path == *import);
            if !below {
                findings.push(Finding::new(
                    &manifest,
                    0,
                    format!("imports upward: {import}"),
                ));
            } else if !allowed.contains(&import.as_str()) {
                findings.push(Finding::new(
                    &manifest,
                    0,
                    format!("imports {import}, which the plan does not allow"),
                ));
            }
        }
    }
    findings.extend(find_cycle(&workspace).map(|cycle| {
        Finding::new(
            "Cargo.toml",
            0,
            format!(
                "imports, with those of tests, run in a circle: {}",
                cycle.join(" -> ")
            ),
        )
    }));
    findings
}

fn check_plan_is_complete(workspace: &Workspace, plan: &[(&str, &[&str])]) -> Vec<Finding> {
    let planned = |path: &str| plan.iter().any(|(member, _)| *member == path);
    let built = |path: &str| workspace.members.iter().any(|member| member.path == path);
    let unplanned = workspace
        .members
        .iter()
        .filter(|member| !planned(&member.path));
    let unbuilt = plan.iter().filter(|(path, _)| !built(path));
    let unplanned =
        unplanned.map(|member| format!("{} is not in the plan of tidy/floors.rs", member.path));
    let unbuilt = unbuilt.map(|(path, _)| {
        format!("{path} is in the plan of tidy/floors.rs and not among the members")
    });
    unplanned
        .chain(unbuilt)
        .map(|what| Finding::new("Cargo.toml", 0, what))
        .collect()
}

/// Our crates in the order of the floor plan; imports are paths of members.
struct Workspace {
    members: Vec<Member>,
}

struct Member {
    path: String,
    imports: Vec<String>,
    imports_of_tests: Vec<String>,
}

impl Workspace {
    fn read(house: &House) -> Result<Self, Finding> {
        let root = manifest(house, "Cargo.toml")?;
        let workspace = root.get("workspace").and_then(Value::as_table);
        let members = workspace
            .and_then(|workspace| workspace.get("members"))
            .and_then(Value::as_array);
        let paths: Vec<String> = members
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if paths.is_empty() {
            return Err(Finding::new("Cargo.toml", 0, "lists no members"));
        }
        // Name under which a crate is imported -> path of the member.
        let declared = workspace
            .and_then(|workspace| workspace.get("dependencies"))
            .and_then(Value::as_table);
        let ours: BTreeMap<&str, &str> = declared
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.get("path")?.as_str()?)))
            .collect();
        let members = paths.into_iter().map(|path| {
            let manifest = manifest(house, &format!("{path}/Cargo.toml"))?;
            let imports = imports(&manifest, &["dependencies", "build-dependencies"], &ours);
            let imports_of_tests = imports_of(&manifest, "dev-dependencies", &ours);
            Ok(Member {
                path,
                imports,
                imports_of_tests,
            })
        });
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
        })
    }
}

fn manifest(house: &House, path: &str) -> Result<Table, Finding> {
    let text = house
        .get(path)
        .ok_or_else(|| Finding::new(path, 0, "is missing"))?;
    text.parse()
        .map_err(|error| Finding::new(path, 0, format!("{error}")))
}

fn imports(manifest: &Table, sections: &[&str], ours: &BTreeMap<&str, &str>) -> Vec<String> {
    sections
        .iter()
        .flat_map(|section| imports_of(manifest, section, ours))
        .collect()
}

fn imports_of(manifest: &Table, section: &str, ours: &BTreeMap<&str, &str>) -> Vec<String> {
    let names = manifest
        .get(section)
        .and_then(Value::as_table)
        .into_iter()
        .flatten();
    names
        .filter_map(|(name, _)| ours.get(name.as_str()))
        .map(|path| (*path).to_owned())
        .collect()
}

/// A circle among the imports of crates and of their tests, if there is one.
fn find_cycle(workspace: &Workspace) -> Option<Vec<String>> {
    let edges: BTreeMap<&str, Vec<&str>> = workspace
        .members
        .iter()
        .map(|member| {
            let imports = member.imports.iter().chain(&member.imports_of_tests);
            (member.path.as_str(), imports.map(String::as_str).collect())
        })
        .collect();
    edges
        .keys()
        .find_map(|start| walk(start, &edges, &mut Vec::new()))
}

fn walk<'a>(
    at: &'a str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    way: &mut Vec<&'a str>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|seen| *seen == at) {
        return Some(
            way[start..]
                .iter()
                .chain([&at])
                .map(|path| (*path).to_owned())
                .collect(),
        );
    }
    way.push(at);
    let found = edges
        .get(at)
        .into_iter()
        .flatten()
        .find_map(|next| walk(next, edges, way));
    way.pop();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_PLAN: [(&str, &[&str]); 3] = [("a", &[]), ("b", &["a"]), ("c", &["b"])];

    /// Manifests of three members, `a` on the ground; each is given the lines after its package name.
    fn findings(a: &str, b: &str, c: &str) -> Vec<String> {
        let root = "[workspace]\nmembers = ['a', 'b', 'c']\n[workspace.dependencies]\n\
                    a = { path = 'a' }\nb = { path = 'b' }\nc = { path = 'c' }\nlibc = '0.2'\n";
        let house = House::of(&[
            ("Cargo.toml", root),
            ("a/Cargo.toml", a),
            ("b/Cargo.toml", b),
            ("c/Cargo.toml", c),
        ]);
        check_against(&house, &TEST_PLAN)
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn imports_downward_and_of_others_are_fine() {
        let none: [String; 0] = [];
        let b = "[dependencies]\na.workspace = true\nlibc.workspace = true\n";
        assert_eq!(
            findings(
                "",
                b,
                "[dependencies]\nb.workspace = true\n[dev-dependencies]\na.workspace = true\n"
            ),
            none
        );
    }

    #[test]
    fn an_import_upward_is_caught() {
        assert_eq!(
            findings("[dependencies]\nb.workspace = true\n", "", ""),
            ["a/Cargo.toml: imports upward: b"]
        );
    }

    #[test]
    fn an_import_that_the_plan_forbids_is_caught() {
        let found = findings("", "", "[dependencies]\na = { workspace = true }\n");
        assert_eq!(
            found,
            ["c/Cargo.toml: imports a, which the plan does not allow"]
        );
    }

    #[test]
    fn a_circle_through_tests_is_caught() {
        let found = findings(
            "[dev-dependencies]\nb.workspace = true\n",
            "[dependencies]\na.workspace = true\n",
            "",
        );
        assert_eq!(
            found,
            ["Cargo.toml: imports, with those of tests, run in a circle: a -> b -> a"]
        );
    }

    #[test]
    fn a_member_outside_the_plan_and_a_plan_without_its_member_are_caught() {
        let house = House::of(&[
            ("Cargo.toml", "[workspace]\nmembers = ['d']\n"),
            ("d/Cargo.toml", ""),
        ]);
        assert_eq!(check_against(&house, &TEST_PLAN).len(), 4);
    }
}

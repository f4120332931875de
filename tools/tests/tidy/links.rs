//! Rule: a link inside the documents leads somewhere, and the plan of the house names every crate.

use super::house::{Finding, House};

const PLAN: &str = "docs/architecture.md";

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let documents = house
        .sources
        .iter()
        .filter(|source| source.path.ends_with(".md"));
    let mut findings: Vec<Finding> = documents
        .flat_map(|document| check_links(house, &document.path, &document.text))
        .collect();
    findings.extend(check_crates(house));
    findings
}

fn check_links(house: &House, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let file = if file.is_empty() {
            Some(path.to_owned())
        } else {
            resolve(path, file)
        };
        match file.filter(|file| house.has(file)) {
            None => findings.push(Finding::new(
                path,
                line,
                format!("`{target}` leads nowhere"),
            )),
            Some(file)
                if !anchor.is_empty() && !has_heading(house.get(&file).unwrap_or(""), anchor) =>
            {
                findings.push(Finding::new(
                    path,
                    line,
                    format!("`{target}`: no such heading"),
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Targets of `[text](target)` with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            // Every second piece between backticks is code.
            let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            let targets = prose
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| (index + 1, target.trim().to_owned())));
        }
    }
    links
}

/// `target` as seen from the document at `path`; nothing when it leaves the repository.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Is there a heading whose anchor, as code hosts make them, is this one?
fn has_heading(text: &str, anchor: &str) -> bool {
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    headings.into_iter().any(|heading| {
        let kept = heading.to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
            == anchor
    })
}

fn check_crates(house: &House) -> Vec<Finding> {
    let plan = house.get(PLAN).unwrap_or("");
    let crates = house
        .sources
        .iter()
        .filter_map(|source| source.path.strip_suffix("/Cargo.toml"));
    let unnamed = crates.filter(|path| !plan.contains(&format!("`{path}`")));
    unnamed
        .map(|path| Finding::new(PLAN, 0, format!("does not name the crate `{path}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check(&House::of(&[
            ("docs/a.md", text),
            ("docs/b/c.md", "# One `two` (3)\n"),
            ("README.md", ""),
        ]))
        .len()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        assert_eq!(
            findings("[c](b/c.md), [b](b), [r](../README.md) and [w](https://example.org/x.md)"),
            0
        );
        assert_eq!(findings("# Here\n[h](#here) [t](b/c.md#one-two-3)"), 0);
        assert_eq!(findings("`[x](gone.md)`\n```\n[x](gone.md)\n```\n"), 0);
    }

    #[test]
    fn links_that_lead_nowhere_are_caught() {
        assert_eq!(findings("[x](gone.md)"), 1);
        assert_eq!(findings("[c](b/c.md) [x](c.md) [y](../../a.md)"), 2);
        assert_eq!(findings("[h](#there) [t](b/c.md#four)"), 2);
    }

    #[test]
    fn a_crate_that_the_plan_does_not_name_is_caught() {
        let house = |plan| House::of(&[(PLAN, plan), ("wal/Cargo.toml", ""), ("Cargo.toml", "")]);
        assert_eq!(check(&house("the `wal` keeps")), []);
        assert_eq!(check(&house("the wall keeps")).len(), 1);
    }
}

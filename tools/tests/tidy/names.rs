//! Rule: no file, folder or module has a name that would take anything in.

use std::collections::BTreeSet;

use syn::visit::Visit;

use super::house::{Finding, House};

const CATCH_ALLS: [&str; 11] = [
    "util",
    "utils",
    "utility",
    "utilities",
    "common",
    "helper",
    "helpers",
    "manager",
    "misc",
    "base",
    "shared",
];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for source in &house.sources {
        for part in source.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if is_catch_all(stem) {
                found.insert((source.path.clone(), stem.to_owned()));
            }
        }
    }
    for source in house.rust() {
        if let Ok(file) = syn::parse_file(&source.text) {
            let mut modules = Modules::default();
            modules.visit_file(&file);
            let catch_alls = modules.names.into_iter().filter(|name| is_catch_all(name));
            found.extend(catch_alls.map(|name| (source.path.clone(), name)));
        }
    }
    found
        .into_iter()
        .map(|(path, name)| Finding::new(&path, 0, format!("`{name}` is a catch-all name")))
        .collect()
}

fn is_catch_all(name: &str) -> bool {
    // `shared_log` says what is shared; `log_utils` says nothing.
    let last = name.rsplit(['_', '-']).next().unwrap_or(name);
    let weak_at_the_end = !matches!(last, "base" | "shared" | "common");
    CATCH_ALLS.contains(&name) || (weak_at_the_end && CATCH_ALLS.contains(&last))
}

#[derive(Default)]
struct Modules {
    names: Vec<String>,
}

impl<'ast> Visit<'ast> for Modules {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.names.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
    }
}

#[test]
fn catch_all_files_folders_and_modules_are_caught() {
    let caught = |path: &str, text: &str| !check(&House::of(&[(path, text)])).is_empty();
    assert!(!caught("wal/src/record.rs", "mod block;"));
    assert!(!caught("wal/src/shared_log.rs", ""));
    assert!(caught("wal/src/utils.rs", ""));
    assert!(caught("wal/common/record.rs", ""));
    assert!(caught("docs/misc.md", ""));
    assert!(caught("wal/src/buffer_manager.rs", ""));
    assert!(caught(
        "wal/src/record.rs",
        "mod a { mod helpers { fn x() {} } }"
    ));
}

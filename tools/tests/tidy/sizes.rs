//! Rule: a file fits in the head and a function on the screen; what is longer is listed with its reason.

use syn::visit::Visit;

use super::exceptions::{Exceptions, Subject};
use super::house::{Finding, House};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn check(house: &House, exceptions: &Exceptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut long = Vec::new();
    for source in house.rust() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push((
                Subject::File(source.path.clone()),
                Finding::new(&source.path, 0, format!("{lines} lines")),
            ));
        }
        match functions(&source.text) {
            Ok(functions) => {
                for function in functions
                    .into_iter()
                    .filter(|function| function.lines > FUNCTION_LINES_MAX)
                {
                    let what = format!("`{}` has {} lines", function.name, function.lines);
                    let finding = Finding::new(&source.path, function.line, what);
                    long.push((
                        Subject::Function(source.path.clone(), function.name),
                        finding,
                    ));
                }
            }
            Err(error) => findings.push(Finding::new(
                &source.path,
                error.span().start().line,
                error.to_string(),
            )),
        }
    }
    let needed: Vec<Subject> = long.iter().map(|(subject, _)| subject.clone()).collect();
    let unlisted = long
        .into_iter()
        .filter(|(subject, _)| !exceptions.allows(subject));
    findings.extend(unlisted.map(|(_, finding)| finding));
    findings.extend(exceptions.stale(&needed, |row| !matches!(row, Subject::Unsafe(_))));
    findings
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body: its name (`Type::name` for a method) and the lines from `fn` to the
/// closing brace, both included.
fn functions(text: &str) -> syn::Result<Vec<Function>> {
    let file = syn::parse_file(text)?;
    let mut measure = Measure::default();
    measure.visit_file(&file);
    Ok(measure.functions)
}

#[derive(Default)]
struct Measure {
    owners: Vec<String>,
    functions: Vec<Function>,
}

impl Measure {
    fn add(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line - line + 1;
        let name = match self.owners.last() {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        self.functions.push(Function { name, line, lines });
    }
}

impl<'ast> Visit<'ast> for Measure {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.owners.push(type_name(&item.self_ty));
        syn::visit::visit_item_impl(self, item);
        self.owners.pop();
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.owners.push(item.ident.to_string());
        syn::visit::visit_item_trait(self, item);
        self.owners.pop();
    }
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |segment| segment.ident.to_string()),
        syn::Type::Reference(reference) => type_name(&reference.elem),
        _ => "_".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Exceptions {
        Exceptions::parse("").expect("an empty list is well formed")
    }

    #[test]
    fn functions_are_measured_past_strings_and_comments() {
        let text = "/// Doc.\nfn a() {\n    let s = \"}{{\"; // }\n}\nimpl<T> B<T> {\n    fn c(\n    ) {}\n}\ntrait D { fn e() { } fn f(); }\n";
        let named = |name: &str, line, lines| Function {
            name: name.to_owned(),
            line,
            lines,
        };
        assert_eq!(
            functions(text).expect("valid Rust"),
            [named("a", 2, 3), named("B::c", 6, 2), named("D::e", 9, 1)]
        );
    }

    #[test]
    fn long_functions_and_files_are_caught_unless_listed() {
        let long_function = format!(
            "//! A.\nimpl A {{\nfn b() {{\n{}}}\n}}\n",
            "    ();\n".repeat(FUNCTION_LINES_MAX)
        );
        let long_file = format!("//! A.\n{}", "//\n".repeat(FILE_LINES_MAX));
        let house = House::of(&[("a.rs", &long_function), ("b.rs", &long_file)]);
        assert_eq!(check(&house, &none()).len(), 2);
        let listed =
            Exceptions::parse("function a.rs A::b: one two three\nfile b.rs: one two three\n")
                .expect("well formed");
        assert_eq!(check(&house, &listed), []);
    }

    #[test]
    fn a_row_that_nothing_needs_is_caught() {
        let listed = Exceptions::parse("file a.rs: one two three\n").expect("well formed");
        assert_eq!(check(&House::of(&[("a.rs", "//! A.\n")]), &listed).len(), 1);
    }

    #[test]
    fn a_file_that_is_not_rust_is_caught() {
        assert_eq!(check(&House::of(&[("a.rs", "fn (")]), &none()).len(), 1);
    }
}

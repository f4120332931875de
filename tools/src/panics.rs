//! A broken assertion, told like every other failure.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{self, Location};

use crate::catalogue::internal;
use crate::failure::Failure;

/// Reports panics of all threads on standard error from here on. Called once, by `main`.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        // When standard error is gone there is nobody left to tell.
        let _ = write!(
            io::stderr().lock(),
            "{}",
            describe(info.payload(), info.location())
        );
    }));
}

fn describe(payload: &dyn Any, location: Option<&Location<'_>>) -> Failure {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = location.map_or("at an unknown place".to_owned(), ToString::to_string);
    let version = env!("CARGO_PKG_VERSION");
    Failure::new(
        &internal::INVARIANT_BROKEN,
        text.unwrap_or("without a message"),
        format!("{place}, version {version}"),
    )
}

#[test]
fn a_panic_is_told_with_its_message_and_its_place() {
    let told = describe(&"the log is behind itself", Some(Location::caller())).to_string();
    assert!(told.starts_with("error[E5002]"), "{told}");
    assert!(
        told.contains("cause     the log is behind itself") && told.contains("panics.rs:"),
        "{told}"
    );
    assert!(
        describe(&"x".to_owned(), None)
            .to_string()
            .contains("cause     x")
    );
    assert!(describe(&7, None).to_string().contains("without a message"));
}

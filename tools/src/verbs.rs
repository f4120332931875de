//! What can be asked of the binary: one file per verb, with its flags, its work and its answer.

pub(crate) mod bench;
pub(crate) mod cold;
pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod examples;
pub(crate) mod explain;
pub(crate) mod format;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod start;
pub(crate) mod status;

use crate::answer::Answer;
use crate::arguments::{Output, Verb};
use crate::failure::Failure;

/// Does what the command line asks for.
pub(crate) fn run(verb: &Verb, output: Output) -> Result<Answer, Failure> {
    match verb {
        Verb::Bench(arguments) => bench::run(arguments, output),
        Verb::Doctor(arguments) => Ok(doctor::run(arguments, output)),
        Verb::Examples(arguments) => examples::run(arguments, output),
        Verb::Explain(arguments) => explain::run(arguments, output),
        Verb::Format(arguments) => format::run(arguments, output),
        Verb::Start(arguments) => start::run(arguments, output),
        Verb::Status(arguments) => status::run(arguments, output),
        Verb::Inspect(arguments) => inspect::run(arguments, output),
        Verb::Cold(arguments) => cold::run(arguments, output),
        Verb::History(arguments) => history::run(arguments, output),
        Verb::Completion(arguments) => Ok(completion::run(arguments)),
    }
}

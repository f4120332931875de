//! `quorate completion`: prints a completion script for a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::answer::Answer;
use crate::arguments::Cli;

const EXAMPLES: &str = "\
Examples:
  quorate completion bash
  quorate completion zsh

For bash, once:  quorate completion bash > ~/.local/share/bash-completion/completions/quorate";

/// Flags of `quorate completion`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell that the script is for
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "quorate", &mut script);
    Answer::done(String::from_utf8_lossy(&script).into_owned())
}

#[test]
fn the_script_knows_every_verb() {
    let script = run(&Arguments { shell: Shell::Bash }).text;
    for verb in Cli::command().get_subcommands() {
        assert!(script.contains(verb.get_name()), "{}", verb.get_name());
    }
}

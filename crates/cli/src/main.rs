//! The `taper` command: flags become a recipe, a recipe becomes a run.

#![expect(clippy::print_stderr, reason = "a command tells its user what went wrong")]

mod args;
mod commands;
mod console;
mod tables;
mod text;

use args::{Bench, Cli, Command};
use clap::Parser;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use taper_toolkit::{ToolkitError, recipe::Place};

/// A wrong use of the command line; clap exits with it too.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Adapt(args) => commands::start(&args, taper_toolkit::Scope::Adapt),
        Command::Train(args) => commands::start(&args, taper_toolkit::Scope::Train),
        Command::Prune(args) => commands::start(&args, taper_toolkit::Scope::Prune),
        Command::Quantize(args) => commands::start(&args, taper_toolkit::Scope::Quantize),
        Command::Resume(args) => commands::resume(&args),
        Command::Report(args) => commands::report(&args),
        Command::Run(args) => commands::run(&args),
        Command::Inspect(args) => commands::inspect(&args),
        Command::Export(args) => commands::export(&args),
        Command::Compare(args) => commands::compare(&args),
        Command::Recipe(args) => commands::recipe(&args),
        Command::Bench(Bench::Train(args)) => commands::bench_train(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit_code(error.as_ref()))
        }
    }
}

/// A faulty `--set` is a wrong use of the command line; all else is not.
fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<ToolkitError>() {
        Some(ToolkitError::Recipe(error)) if matches!(*error.place, Place::Override { .. }) => USAGE_ERROR,
        Some(_) | None => 1,
    }
}

/// Whoever read the output has had enough, as `head` does.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

//! Developer tasks: writes the documents that are generated from code.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to whoever runs it")]

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use taper_xtask::{rooms, tree};

const USAGE: &str = "\
usage: cargo run -p taper-xtask -- TASK

tasks:
  rooms   write the table of rooms into ARCHITECTURE.md";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["rooms"] => write_rooms(),
        ["-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_rooms() -> Result<(), Box<dyn Error>> {
    let path = tree::root().join("ARCHITECTURE.md");
    let document = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (before, _, after) = rooms::split(&document).ok_or_else(|| {
        format!("{}: expected the markers {} and {}", path.display(), rooms::BEGIN, rooms::END)
    })?;
    fs::write(&path, format!("{before}{}{after}", rooms::table()))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

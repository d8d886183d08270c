//! Writes the seeds into a folder for each target below the folder that is given.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let corpus = PathBuf::from(env::args_os().nth(1).expect("usage: seeds CORPUS"));
    for target in taper_fuzz::targets::ALL {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

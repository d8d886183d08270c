//! The flags of each verb.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Fits trained convolutional networks to the hardware they must run on.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train if need be, prune, quantize to INT8, write TFLite, test, measure and report
    Adapt(StartArgs),
    /// Train a network
    Train(StartArgs),
    /// Train if need be, and prune by adaptive iterative pruning
    Prune(StartArgs),
    /// Train if need be, and quantize to INT8 without pruning
    Quantize(StartArgs),
    /// Take up an interrupted run; it ends with the same bytes as an undisturbed one
    Resume(ResumeArgs),
    /// Write the report of a run anew
    Report(ReportArgs),
    /// Run a network on data and tell its accuracy and time, or on NumPy arrays and write its outputs
    Run(RunArgs),
    /// Tell what a network is: layers, shapes, cost, and what can be pruned
    Inspect(InspectArgs),
    /// Convert a network's file to another format
    Export(ExportArgs),
    /// Run two networks on the same inputs, and tell how far apart they are, layer by layer
    Compare(CompareArgs),
    /// Print the default recipe, to start from
    Recipe(RecipeArgs),
    /// Measure Taper's own engines on this machine
    #[command(subcommand)]
    Bench(Bench),
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Training steps: images per second, GFLOP/s, share of the machine's peak, in all and per layer
    Train(BenchTrainArgs),
}

/// Flags of `bench train`.
#[derive(Debug, Args)]
pub(crate) struct BenchTrainArgs {
    /// A network of the zoo: `vgg16`, `vgg16-bn`, `vgg16-pruned` or `vgg-small` on 28×28 images, `resnet50` or `mobilenet-v1` on 128×128
    #[arg(long, value_name = "NAME", default_value = "vgg16")]
    pub(crate) network: String,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count)]
    pub(crate) batch: usize,
    /// Threads; 0 for as many as the machine has
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// The most memory for activations and their gradients; larger batches are cut, as by `train.memory_budget_mb`
    #[arg(long, value_name = "MB", value_parser = count)]
    pub(crate) memory_budget_mb: Option<usize>,
    /// How long steps are timed
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// End with one JSON object on the last line of standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of the verbs that start a run.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The recipe, a TOML file; the default recipe if absent (see `taper recipe`)
    pub(crate) recipe: Option<PathBuf>,
    /// Override a key of the recipe, such as `prune.laws.epochs.beta=2`; can be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Where run directories are made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// End with one JSON object on the last line of standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The run's directory
    pub(crate) run: PathBuf,
    /// End with one JSON object on the last line of standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run's directory
    pub(crate) run: PathBuf,
    /// Print one JSON object: `report`, the page's path
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The network, a `.tflite`, `.onnx`, `.keras`, `.h5` or `.taper` file
    pub(crate) model: PathBuf,
    /// The data: `mnist`, or the path of IDX files or of a folder of images; its test set is used where it has one
    #[arg(long, value_name = "PATH", default_value = "mnist")]
    pub(crate) data: String,
    /// Use at most this many images
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Run on the array in this `.npy` file instead; once for each input, in their order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "limit"], requires = "output")]
    pub(crate) input: Vec<PathBuf>,
    /// Write each output to a `.npy` file in this folder
    #[arg(long, value_name = "DIR", requires = "input")]
    pub(crate) output: Option<PathBuf>,
    /// End with one JSON object on the last line of standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The network: a `.tflite`, `.onnx`, `.keras`, `.h5` or `.taper` file, or `zoo:` and a name, such as `zoo:resnet50`
    pub(crate) from: String,
    /// The file to write; its extension, `.tflite`, `.onnx` or `.taper`, says how
    pub(crate) to: PathBuf,
    /// Weights for the network: an `.h5`, `.keras`, `.safetensors`, `.pth` or `.taper` file; those of the zoo are random without
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
}

/// What a network from the zoo is built for.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Image that a network from the zoo is built for
    #[arg(long, value_name = "HEIGHTxWIDTHxCHANNELS", default_value = "28x28x1", value_parser = image)]
    pub(crate) image: [usize; 3],
    /// Classes that a network from the zoo is built for
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) classes: usize,
}

/// Flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The network to compare with, a `.tflite`, `.onnx`, `.keras`, `.h5` or `.taper` file
    pub(crate) first: PathBuf,
    /// The network to be compared
    pub(crate) second: PathBuf,
    /// The data: `mnist`, or the path of IDX files or of a folder of images
    #[arg(long, value_name = "PATH", default_value = "mnist")]
    pub(crate) data: String,
    /// Use at most this many images
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) limit: usize,
    /// Run on the array in this `.npy` file instead; once for each input, in their order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "limit"])]
    pub(crate) input: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The network: a `.tflite`, `.onnx`, `.keras`, `.h5` or `.taper` file, or `zoo:` and a name, such as `zoo:vgg16`
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// Write a page that draws the network to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `recipe`.
#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// Print the JSON schema of recipes instead
    #[arg(long)]
    pub(crate) schema: bool,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(batch @ 1..=65536) => Ok(batch),
        Ok(_) | Err(_) => Err("expected a whole number from 1 to 65536".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("expected a number of seconds from 0 to 3600".to_owned()),
    }
}

fn image(text: &str) -> Result<[usize; 3], String> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    let sizes: Option<[usize; 3]> = sizes.and_then(|sizes| sizes.try_into().ok());
    match sizes {
        Some(sizes) if sizes.iter().all(|size| (1..=1 << 16).contains(size)) => Ok(sizes),
        Some(_) | None => Err("expected three sizes from 1 to 65536, such as 28x28x1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn images_are_three_sizes() {
        assert_eq!(image("28x28x1"), Ok([28, 28, 1]));
        for text in ["28", "28x28", "28x28x1x1", "0x28x1", "axbxc", "-1x2x3", "99999999999999999999x1x1"] {
            assert!(image(text).is_err(), "{text}");
        }
    }
}

//! How many images per second are loaded: `cargo run --release -p taper-data --example loading_speed [FOLDER]`.
//!
//! Each figure is the best of a few epochs. FOLDER is one of image files; without it, photographs of 224×224 are generated.

#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread::scope;
use std::time::Instant;

use image::{Rgb, RgbImage};
use taper_data::{AugmentConfig, Batches, DataConfig, Dataset, ImageConfig, Preprocess, Rng, Splits};

const BATCH: usize = 64;

/// How a batch reaches the caller.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Filled by the caller.
    Fill,
    /// Filled in the background.
    Prefetch,
}

fn main() -> Result<(), Box<dyn Error>> {
    let digits = Splits::load(&DataConfig::default(), None)?.train;
    for way in [Way::Fill, Way::Prefetch] {
        measure("MNIST, augmented", way, 7, || epoch(&digits, AugmentConfig::default(), way))?;
        measure("MNIST", way, 7, || epoch(&digits, AugmentConfig::NONE, way))?;
    }
    if let Some(folder) = std::env::args().nth(1) {
        return photographs(Path::new(&folder));
    }
    let folder = tempfile::tempdir()?;
    generate(folder.path(), 256)?;
    photographs(folder.path())
}

fn photographs(folder: &Path) -> Result<(), Box<dyn Error>> {
    for (side, channels) in [(224, 3), (224, 1), (128, 3)] {
        let image = ImageConfig { height: Some(side), width: Some(side), channels: Some(channels) };
        let source = folder.display().to_string();
        let config = DataConfig { source, image, ..DataConfig::default() };
        let name = format!("images to {side}×{side}×{channels}, augmented");
        for way in [Way::Fill, Way::Prefetch] {
            // A new data set has nothing decoded yet.
            measure(&format!("{name}, first epoch"), way, 3, || {
                epoch(&Dataset::for_evaluation(&config, None)?, AugmentConfig::default(), way)
            })?;
            let kept = Dataset::for_evaluation(&config, None)?;
            measure(&format!("{name}, later"), way, 4, || epoch(&kept, AugmentConfig::default(), way))?;
        }
    }
    Ok(())
}

fn measure(
    name: &str,
    way: Way,
    tries: usize,
    run: impl Fn() -> Result<f64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = 0.0_f64;
    for _ in 0..tries {
        best = best.max(run()?);
    }
    println!("{name}, {way:?}: {best:.0} images/s");
    Ok(())
}

/// Images per second of one epoch.
fn epoch(dataset: &Dataset, augment: AugmentConfig, way: Way) -> Result<f64, Box<dyn Error>> {
    let mut batches = Batches::shuffled(dataset, Preprocess::default(), augment, 1, 1);
    let started = Instant::now();
    match way {
        Way::Fill => {
            let mut images = vec![0.0; BATCH * dataset.shape().elements()];
            let mut labels = vec![0; BATCH];
            while batches.fill(&mut images, &mut labels)?.is_some() {}
        }
        Way::Prefetch => scope(|scope| {
            let mut batches = batches.prefetch(scope, BATCH)?;
            while batches.next_batch()?.is_some() {}
            Ok::<_, Box<dyn Error>>(())
        })?,
    }
    Ok(dataset.len() as f64 / started.elapsed().as_secs_f64())
}

/// Writes JPEG files of two classes: smooth colours with noise, which take about as many bytes as photographs.
fn generate(folder: &Path, count: u64) -> Result<(), Box<dyn Error>> {
    for class in ["a", "b"] {
        fs::create_dir(folder.join(class))?;
    }
    for sample in 0..count {
        let mut rng = Rng::new(sample);
        let (slant, tint) = (rng.below(8) as u32, rng.below(200) as u8);
        let image = RgbImage::from_fn(224, 224, |x, y| {
            let noise = rng.below(24) as u8;
            Rgb([(x * slant / 8) as u8 / 2 + noise, (y / 2) as u8 + noise, tint + noise])
        });
        let class = if sample % 2 == 0 { "a" } else { "b" };
        image.save(folder.join(class).join(format!("{sample:04}.jpg")))?;
    }
    Ok(())
}

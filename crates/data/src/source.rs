//! From a source to training, validation and test sets.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::DataConfig;
use crate::dataset::{Dataset, ImageShape};
use crate::error::DataError;
use crate::folder::Folder;
use crate::idx::{self, Idx, Ranks};
use crate::locate::{Layout, Pair, Set, locate};
use crate::note::DataNote;
use crate::split::stratified;

/// The source that is inside Taper; see `data/README.md` of the repository.
pub const EMBEDDED: &str = "mnist";

const EMBEDDED_IMAGES: Embedded = Embedded {
    name: "mnist-images-idx3-ubyte.gz",
    bytes: include_bytes!("../../../data/mnist-images-idx3-ubyte.gz"),
};

const EMBEDDED_LABELS: Embedded = Embedded {
    name: "mnist-labels-idx1-ubyte.gz",
    bytes: include_bytes!("../../../data/mnist-labels-idx1-ubyte.gz"),
};

/// Three sets of one source; no sample is in two of them.
#[derive(Clone, Debug)]
pub struct Splits {
    /// For the weights.
    pub train: Dataset,
    /// For the decisions: scores, stopping, calibration.
    pub validation: Dataset,
    /// For the report alone.
    pub test: Dataset,
    /// What the user should know, in the order in which it was found.
    pub notes: Vec<DataNote>,
}

impl Splits {
    /// Reads the source and divides it.
    ///
    /// Where the source has no test set, `config.test` and `config.validation` are shares of all samples;
    /// where it has one, it is used whole and `config.validation` is a share of the training samples. The
    /// choice keeps the classes in proportion and is decided by `config.seed`; each set keeps the order of
    /// its file, or that of the classes and names of its image files. The embedded digits are divided by
    /// position instead: by default the first 7,000, the next 1,000, the last 2,000.
    ///
    /// Image files are brought to the shape of `config.image`; what it leaves open is as in `input`, the
    /// shape that the network takes, or if that is open too, as in the first image. Their headers are read
    /// here, the images when they are needed.
    ///
    /// # Errors
    /// [`DataError`] names the key or the file, what was expected and what was found.
    pub fn load(config: &DataConfig, input: Option<ImageShape>) -> Result<Self, DataError> {
        config.validate()?;
        let mut notes = Vec::new();
        let [train, validation, test] = match Source::open(config, input, &mut notes)? {
            Source::Embedded(all) => by_position(&all, config)?,
            Source::TrainTest { train, test } => {
                let sizes = [share("validation", config.validation, train.len())?];
                let ([validation], rest) = stratified(train.labels(), sizes, config.seed);
                [train.select(&rest), train.select(&validation), test]
            }
            Source::Single(all) => {
                let sizes = held_out(config, all.len())?;
                let ([validation, test], rest) = stratified(all.labels(), sizes, config.seed);
                [rest, validation, test].map(|part| all.select(&part))
            }
        };
        let train = limited(train, config.train_limit, config.seed);
        notes.extend(train.empty_classes());
        Ok(Self {
            train,
            validation: limited(validation, config.validation_limit, config.seed),
            test: limited(test, config.test_limit, config.seed),
            notes,
        })
    }
}

impl Dataset {
    /// The samples on which a finished network is to be judged: the source's test set, or all samples of a
    /// source that is a single set. `input` as in [`Splits::load`].
    ///
    /// # Errors
    /// As [`Splits::load`].
    pub fn for_evaluation(config: &DataConfig, input: Option<ImageShape>) -> Result<Self, DataError> {
        config.validate()?;
        let all = match Source::open(config, input, &mut Vec::new())? {
            Source::Embedded(all) => {
                let [_, _, test] = by_position(&all, config)?;
                test
            }
            Source::TrainTest { test, .. } => test,
            Source::Single(all) => all,
        };
        Ok(limited(all, config.test_limit, config.seed))
    }
}

/// The sets as the source holds them.
enum Source {
    Embedded(Dataset),
    TrainTest { train: Dataset, test: Dataset },
    Single(Dataset),
}

impl Source {
    fn open(
        config: &DataConfig,
        input: Option<ImageShape>,
        notes: &mut Vec<DataNote>,
    ) -> Result<Self, DataError> {
        if config.source == EMBEDDED {
            let all = Samples::embedded()?.into_dataset(&config.classes)?;
            config.image.check_fixed(all.shape())?;
            return Ok(Self::Embedded(all));
        }
        let mut read = |set, names: &[String], input| match set {
            Set::Idx(pair) => Samples::read(pair)?.into_dataset(names),
            Set::Folders(path) => {
                let folder = Folder::read(&path, names, notes)?;
                let shape = config.image.shape(input, folder.first)?;
                Ok(folder.into_dataset(shape))
            }
        };
        match locate(Path::new(&config.source))? {
            Layout::Single(set) => {
                let all = read(set, &config.classes, input)?;
                config.image.check_fixed(all.shape())?;
                Ok(Self::Single(all))
            }
            Layout::TrainTest { train, test } => {
                let test_path = test.path().to_owned();
                let train = read(train, &config.classes, input)?;
                config.image.check_fixed(train.shape())?;
                let test = read(test, train.classes(), Some(train.shape()))?;
                if test.shape() == train.shape() {
                    Ok(Self::TrainTest { train, test })
                } else {
                    Err(DataError::Shape { path: test_path, expected: train.shape(), found: test.shape() })
                }
            }
        }
    }
}

/// The training, the validation and the test set.
fn by_position(all: &Dataset, config: &DataConfig) -> Result<[Dataset; 3], DataError> {
    let [validation, test] = held_out(config, all.len())?;
    let train = all.len() - validation - test;
    let part = |samples: Range<usize>| all.select(&samples.collect::<Vec<_>>());
    Ok([part(0..train), part(train..train + validation), part(train + validation..all.len())])
}

/// Sizes of the validation and the test set of a source that has none of its own.
fn held_out(config: &DataConfig, samples: usize) -> Result<[usize; 2], DataError> {
    let validation = share("validation", config.validation, samples)?;
    let test = share("test", config.test, samples)?;
    if validation + test < samples {
        Ok([validation, test])
    } else {
        Err(DataError::EmptySplit { split: "test", fraction: config.test, samples })
    }
}

fn share(split: &'static str, fraction: f64, samples: usize) -> Result<usize, DataError> {
    let size = (fraction * samples as f64).round() as usize;
    if (1..samples).contains(&size) {
        Ok(size)
    } else {
        Err(DataError::EmptySplit { split, fraction, samples })
    }
}

fn limited(dataset: Dataset, limit: Option<usize>, seed: u64) -> Dataset {
    match limit {
        Some(limit) if limit < dataset.len() => {
            let ([chosen], _) = stratified(dataset.labels(), [limit], seed);
            dataset.select(&chosen)
        }
        Some(_) | None => dataset,
    }
}

/// Images with as many labels, which are still to be compared with the classes.
struct Samples {
    shape: ImageShape,
    images: Vec<u8>,
    labels: Vec<u8>,
    labels_path: PathBuf,
}

impl Samples {
    fn embedded() -> Result<Self, DataError> {
        Self::new(EMBEDDED_IMAGES.read(&idx::IMAGES)?, EMBEDDED_LABELS.read(&idx::LABELS)?)
    }

    fn read(pair: Pair) -> Result<Self, DataError> {
        Self::new(Array::read(pair.images, &idx::IMAGES)?, Array::read(pair.labels, &idx::LABELS)?)
    }

    fn new(images: Array, labels: Array) -> Result<Self, DataError> {
        let dimensions = &images.idx.dimensions;
        let (count, height, width) = (dimensions[0], dimensions[1], dimensions[2]);
        let channels = dimensions.get(3).copied().unwrap_or(1);
        if labels.idx.bytes.len() != count {
            return Err(DataError::LabelCount {
                images_path: images.path,
                images: count,
                labels_path: labels.path,
                labels: labels.idx.bytes.len(),
            });
        }
        let shape = ImageShape { height, width, channels };
        Ok(Self { shape, images: images.idx.bytes, labels: labels.idx.bytes, labels_path: labels.path })
    }

    /// Names the classes by `names`, or by number if there are none.
    fn into_dataset(self, names: &[String]) -> Result<Dataset, DataError> {
        let highest = self.labels.iter().copied().max().unwrap_or(0);
        let classes = match names {
            [] => (0..=highest).map(|class| class.to_string()).collect(),
            names => names.to_vec(),
        };
        if let Some(sample) = self.labels.iter().position(|&label| usize::from(label) >= classes.len()) {
            return Err(DataError::Label {
                path: self.labels_path,
                sample,
                label: u32::from(self.labels[sample]),
                classes: classes.len(),
            });
        }
        let labels = self.labels.into_iter().map(u32::from).collect();
        Ok(Dataset::new(self.shape, classes, self.images, labels))
    }
}

/// The content of a file.
struct Array {
    path: PathBuf,
    idx: Idx,
}

impl Array {
    fn read(path: PathBuf, ranks: &Ranks) -> Result<Self, DataError> {
        match File::open(&path) {
            Ok(file) => Self::parse(path, file, ranks),
            Err(error) => Err(DataError::Io { path, error }),
        }
    }

    fn parse(path: PathBuf, reader: impl Read, ranks: &Ranks) -> Result<Self, DataError> {
        match idx::read(reader, ranks) {
            Ok(idx) => Ok(Self { path, idx }),
            Err(error) => Err(DataError::Idx { path, error }),
        }
    }
}

/// A file that is part of the program.
struct Embedded {
    name: &'static str,
    bytes: &'static [u8],
}

impl Embedded {
    fn read(&self, ranks: &Ranks) -> Result<Array, DataError> {
        Array::parse(PathBuf::from(self.name), self.bytes, ranks)
    }
}

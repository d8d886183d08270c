//! Sources from the outside: the embedded digits, directories and pairs of IDX files, and what is wrong with
//! them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use taper_data::{DataConfig, Dataset, EMBEDDED, ImageShape, Splits};

/// SHA-256 of the embedded training, validation and test set.
const HASHES: [&str; 3] = [
    "11fcb4b24458fa44b252a1aa2d58bf79d53fae6389368ae63c61cca839e6f209",
    "4c4a7ce8f9e207b458b08ef3195be16f31ec6ced0b064e009a87c0b389d62fd1",
    "24e73a36fa69fbe767e31b45a235b56d216284ebd48d895b504b43a8ff5c667e",
];

const DIGIT: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };

fn idx(dimensions: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dimensions.len() as u8];
    file.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
    file.extend(bytes);
    file
}

/// Writes `count` images of 1 × 2 pixels that spell their own index, with label index mod 3.
fn write_pair(directory: &Path, prefix: &str, count: u16) {
    let images: Vec<u8> = (0..count).flat_map(u16::to_be_bytes).collect();
    let labels: Vec<u8> = (0..count).map(|sample| (sample % 3) as u8).collect();
    let size = u32::from(count);
    let files =
        [("images-idx3-ubyte", idx(&[size, 1, 2], &images)), ("labels-idx1-ubyte", idx(&[size], &labels))];
    for (name, bytes) in files {
        fs::write(directory.join(format!("{prefix}-{name}")), bytes).expect("the directory is writable");
    }
}

fn config(source: &Path) -> DataConfig {
    DataConfig { source: source.to_str().expect("the path is UTF-8").to_owned(), ..DataConfig::default() }
}

fn images(dataset: &Dataset) -> Vec<Cow<'_, [u8]>> {
    (0..dataset.len()).map(|sample| dataset.image(sample).expect("the image is in memory")).collect()
}

fn lengths(splits: &Splits) -> [usize; 3] {
    [&splits.train, &splits.validation, &splits.test].map(Dataset::len)
}

/// No image is in two of the sets, and no image twice in one of them.
fn assert_disjoint(splits: &Splits) {
    let sets = [&splits.train, &splits.validation, &splits.test].map(images);
    let distinct: BTreeSet<_> = sets.iter().flatten().collect();
    assert_eq!(distinct.len(), sets.iter().map(Vec::len).sum::<usize>());
}

#[test]
fn embedded_digits_are_split_as_documented() {
    let splits = Splits::load(&DataConfig::default(), None).unwrap();
    assert_eq!(lengths(&splits), [7000, 1000, 2000]);
    assert_disjoint(&splits);
    for set in [&splits.train, &splits.validation, &splits.test] {
        assert_eq!((set.shape(), set.classes().len()), (DIGIT, 10));
        let fewest = set.class_counts().into_iter().min().unwrap();
        assert!(fewest * 13 > set.len(), "{:?}", set.class_counts());
    }
    let hashes = [&splits.train, &splits.validation, &splits.test].map(|set| set.sha256().unwrap());
    // Results are compared across versions of Taper, so that these sets must never change.
    assert_eq!(hashes, HASHES);
    let other_seed = Splits::load(&DataConfig { seed: 7, ..DataConfig::default() }, None).unwrap();
    assert_eq!(other_seed.test.sha256().unwrap(), hashes[2]);
    assert_eq!(Dataset::for_evaluation(&DataConfig::default(), None).unwrap(), splits.test);
}

#[test]
fn every_prefix_of_the_embedded_digits_holds_all_classes() {
    let train = Splits::load(&DataConfig::default(), None).unwrap().train;
    let first_hundred: BTreeSet<u32> = train.labels()[..100].iter().copied().collect();
    assert_eq!(first_hundred.len(), 10);
}

#[test]
fn limits_keep_the_classes_in_proportion() {
    let config = DataConfig {
        train_limit: Some(500),
        validation_limit: Some(100),
        test_limit: Some(5000),
        ..DataConfig::default()
    };
    let splits = Splits::load(&config, None).unwrap();
    assert_eq!(lengths(&splits), [500, 100, 2000]);
    assert!(splits.train.class_counts().iter().all(|count| (40..60).contains(count)));
    assert_disjoint(&splits);
}

#[test]
fn a_pair_is_divided_by_shares_and_seed() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path(), "x", 300);
    let config = config(directory.path());
    let splits = Splits::load(&config, None).unwrap();
    assert_eq!(lengths(&splits), [210, 30, 60]);
    assert_disjoint(&splits);
    assert_eq!(splits.test.class_counts(), [20, 20, 20]);
    let again =
        |seed| Splits::load(&DataConfig { seed, ..config.clone() }, None).unwrap().test.sha256().unwrap();
    assert_eq!(again(0), splits.test.sha256().unwrap());
    assert_ne!(again(1), splits.test.sha256().unwrap());
    let by_file = DataConfig { source: format!("{}/x-images-idx3-ubyte", config.source), ..config.clone() };
    assert_eq!(Splits::load(&by_file, None).unwrap().test, splits.test);
    assert_eq!(Dataset::for_evaluation(&config, None).unwrap().len(), 300);
}

#[test]
fn a_test_set_of_its_own_is_used_whole() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path(), "train", 300);
    write_pair(directory.path(), "t10k", 90);
    let config = config(directory.path());
    let splits = Splits::load(&config, None).unwrap();
    assert_eq!(lengths(&splits), [270, 30, 90]);
    assert_eq!(*images(&splits.test)[89], 89u16.to_be_bytes());
    assert_eq!(Dataset::for_evaluation(&config, None).unwrap(), splits.test);
}

#[test]
fn colour_images_have_four_dimensions() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name| directory.path().join(name);
    fs::write(file("x-images-idx4-ubyte"), idx(&[2, 1, 2, 3], &[1; 12])).unwrap();
    fs::write(file("x-labels-idx1-ubyte"), idx(&[2], &[0, 1])).unwrap();
    let all = Dataset::for_evaluation(&config(directory.path()), None).unwrap();
    assert_eq!(all.shape(), ImageShape { height: 1, width: 2, channels: 3 });
}

#[test]
fn errors_name_the_file_and_both_sides() {
    fn check(spoil: impl Fn(&Path) -> DataConfig, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        write_pair(directory.path(), "train", 30);
        write_pair(directory.path(), "t10k", 9);
        let error = Splits::load(&spoil(directory.path()), None).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected:?}, found {error:?}");
    }
    fn replace(name: &'static str, bytes: Vec<u8>) -> impl Fn(&Path) -> DataConfig {
        move |directory| {
            fs::write(directory.join(name), &bytes).unwrap();
            config(directory)
        }
    }
    let named = |names: &'static [&'static str]| {
        move |directory: &Path| DataConfig {
            classes: names.iter().map(|&name| name.to_owned()).collect(),
            ..config(directory)
        }
    };
    check(
        |directory| config(&directory.join("nowhere")),
        "nowhere: expected a directory or a file of images, found nothing",
    );
    check(
        replace("train-labels-idx1-ubyte", idx(&[29], &[0; 29])),
        "train-labels-idx1-ubyte: expected 30 labels, one for each image of ",
    );
    check(
        replace("t10k-labels-idx1-ubyte", idx(&[9], &[0, 0, 0, 0, 3, 0, 0, 0, 0])),
        "t10k-labels-idx1-ubyte: label of sample 4: expected a class below 3, found 3",
    );
    check(
        named(&["a", "b"]),
        "train-labels-idx1-ubyte: label of sample 2: expected a class below 2, found 2",
    );
    check(
        replace("t10k-images-idx3-ubyte", idx(&[9, 2, 2], &[0; 36])),
        "t10k-images-idx3-ubyte: expected images of 1×2×1 like the training images, found 2×2×1",
    );
    check(
        replace("train-images-idx3-ubyte", idx(&[30, 1, 2], &[0; 59])),
        "train-images-idx3-ubyte: truncated data: expected 60 bytes after the header, found 59",
    );
    check(
        |directory| DataConfig { validation: 0.01, ..config(directory) },
        "data.validation: expected a share that leaves no set empty, found 0.01 of 30 samples",
    );
    check(|directory| DataConfig { validation: f64::NAN, ..config(directory) }, "data.validation: expected ");
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn full_mnist() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    if directory.is_dir() {
        return Some(directory);
    }
    println!("skipped: {} is absent", directory.display());
    None
}

#[test]
fn reads_the_full_mnist() {
    let Some(directory) = full_mnist() else { return };
    let train =
        Dataset::for_evaluation(&config(&directory.join("train-images-idx3-ubyte.gz")), None).unwrap();
    assert_eq!((train.len(), train.shape()), (60_000, DIGIT));
    assert_eq!(train.labels()[..5], [5, 0, 4, 1, 9]);
    let splits = Splits::load(&config(&directory), None).unwrap();
    assert_eq!(lengths(&splits), [54_000, 6_000, 10_000]);
    assert_eq!(splits.test.labels()[..5], [7, 2, 1, 0, 4]);
}

#[test]
fn embedded_digits_occur_in_the_full_training_set() {
    let Some(directory) = full_mnist() else { return };
    let train =
        Dataset::for_evaluation(&config(&directory.join("train-images-idx3-ubyte.gz")), None).unwrap();
    let known: BTreeSet<_> = images(&train).into_iter().zip(train.labels()).collect();
    let embedded =
        Splits::load(&DataConfig { source: EMBEDDED.to_owned(), ..DataConfig::default() }, None).unwrap();
    for set in [&embedded.train, &embedded.validation, &embedded.test] {
        assert!(images(set).into_iter().zip(set.labels()).all(|sample| known.contains(&sample)));
    }
}

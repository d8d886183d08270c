//! Finds the IDX files or the folders of images that a path means.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::folder::{Entries, unreadable};

/// How a file of images may be named behind its prefix, before a possible `.gz`.
const IMAGES: [&str; 4] =
    ["images-idx3-ubyte", "images.idx3-ubyte", "images-idx4-ubyte", "images.idx4-ubyte"];

/// How the file of its labels may be named behind the same prefix, before a possible `.gz`.
const LABELS: [&str; 2] = ["labels-idx1-ubyte", "labels.idx1-ubyte"];

/// A file of images and the file of their labels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) images: PathBuf,
    pub(crate) labels: PathBuf,
}

/// Where one set is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Idx(Pair),
    /// A directory that holds one folder of image files per class.
    Folders(PathBuf),
}

impl Set {
    /// What an error names.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Idx(pair) => &pair.images,
            Self::Folders(path) => path,
        }
    }
}

/// What a path holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A training set and a test set.
    TrainTest { train: Set, test: Set },
    /// One set that is still to be divided.
    Single(Set),
}

/// The sets that `path`, a directory or an IDX file of images, means.
pub(crate) fn locate(path: &Path) -> Result<Layout, DataError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(path, "a directory or a file of images"),
        _ => unreadable(path, error),
    })?;
    if metadata.is_dir() {
        return in_directory(path);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let prefix = prefix(name).ok_or_else(|| DataError::Source {
        path: path.to_owned(),
        expected: "a file of images with a name like X-images-idx3-ubyte or X-images-idx3-ubyte.gz"
            .to_owned(),
        found: format!("the name {name:?}"),
    })?;
    Ok(Layout::Single(Set::Idx(pair(path.to_owned(), prefix)?)))
}

fn in_directory(directory: &Path) -> Result<Layout, DataError> {
    // Ascending, a plain file comes before its gzipped copy and is taken.
    let names = Entries::of(directory)?.names;
    let mut images = BTreeMap::new();
    for name in names.iter().filter_map(|name| name.to_str()) {
        if let Some(prefix) = prefix(name) {
            images.entry(prefix).or_insert(name);
        }
    }
    let found: Vec<(&str, &str)> = images.into_iter().collect();
    let idx = |(prefix, name): (&str, &str)| pair(directory.join(name), prefix).map(Set::Idx);
    let is_test = |prefix: &str| prefix.ends_with("t10k-") || prefix.ends_with("test-");
    match found[..] {
        [only] => Ok(Layout::Single(idx(only)?)),
        // In the order of their names, t10k and test come before train.
        [test, train] if is_test(test.0) && train.0.ends_with("train-") => {
            Ok(Layout::TrainTest { train: idx(train)?, test: idx(test)? })
        }
        [] => of_folders(directory),
        _ => Err(unclear(directory, found.iter().map(|&(_, name)| name).collect::<Vec<_>>().join(", "))),
    }
}

fn of_folders(directory: &Path) -> Result<Layout, DataError> {
    let (folders, files) = Entries::of(directory)?.by(Path::is_dir);
    let set = |name: &str| Set::Folders(directory.join(name));
    match (&folders[..], &files[..]) {
        ([], []) => Err(unclear(directory, "an empty directory".to_owned())),
        ([], [first, ..]) => {
            Err(unclear(directory, format!("no folder and no file of images but {}", first.display())))
        }
        ([test, train], _) if test == "test" && train == "train" => {
            Ok(Layout::TrainTest { train: set("train"), test: set("test") })
        }
        _ => Ok(Layout::Single(Set::Folders(directory.to_owned()))),
    }
}

fn unclear(directory: &Path, found: String) -> DataError {
    DataError::Source {
        path: directory.to_owned(),
        expected:
            "train-images-idx3-ubyte and t10k-images-idx3-ubyte, one X-images-idx3-ubyte, plain or .gz, \
                   or a folder of image files for each class"
                .to_owned(),
        found,
    }
}

/// The X- of X-images-idx3-ubyte.gz; `None` if the name is not one of images.
fn prefix(name: &str) -> Option<&str> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    IMAGES.iter().find_map(|images| plain.strip_suffix(images))
}

fn pair(images: PathBuf, prefix: &str) -> Result<Pair, DataError> {
    let candidates = LABELS.map(|name| [format!("{prefix}{name}"), format!("{prefix}{name}.gz")]);
    let labels =
        candidates.iter().flatten().map(|name| images.with_file_name(name)).find(|path| path.is_file());
    match labels {
        Some(labels) => Ok(Pair { images, labels }),
        None => {
            let expected = format!("the labels of {}, plain or .gz", images.display());
            Err(missing(&images.with_file_name(format!("{prefix}{}", LABELS[0])), &expected))
        }
    }
}

fn missing(path: &Path, expected: &str) -> DataError {
    DataError::Source { path: path.to_owned(), expected: expected.to_owned(), found: "nothing".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locates `path` in a directory of empty files, and of folders where a name ends with a slash.
    fn with_files(names: &[&str], path: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            if name.ends_with('/') { fs::create_dir(path).unwrap() } else { fs::write(path, []).unwrap() }
        }
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let sets = match locate(&directory.path().join(path)).map_err(|error| error.to_string())? {
            Layout::Single(set) => vec![set],
            Layout::TrainTest { train, test } => vec![train, test],
        };
        let names = |set| match set {
            Set::Idx(pair) => vec![name(pair.images), name(pair.labels)],
            Set::Folders(path) if path == directory.path() => vec![".".to_owned()],
            Set::Folders(path) => vec![name(path)],
        };
        Ok(sets.into_iter().flat_map(names).collect())
    }

    const STANDARD: [&str; 4] = [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ];

    #[test]
    fn finds_files_by_their_standard_names() {
        fn check(names: &[&str], path: &str, expected: &[&str]) {
            assert_eq!(with_files(names, path).unwrap(), expected);
        }
        check(&STANDARD, "", &STANDARD);
        check(&STANDARD, STANDARD[2], &STANDARD[2..]);
        let single = ["digits-images-idx3-ubyte", "digits-labels-idx1-ubyte.gz"];
        check(&single, "", &single);
        check(&single, single[0], &single);
        let both = ["a-images-idx3-ubyte", "a-images-idx3-ubyte.gz", "a-labels-idx1-ubyte"];
        check(&both, "", &[both[0], both[2]]);
        let kaggle = ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "README"];
        check(&kaggle, "", &kaggle[..2]);
        let colour = ["x-images-idx4-ubyte", "x-labels-idx1-ubyte"];
        check(&colour, "", &colour);
        let emnist = [
            "emnist-letters-train-images-idx3-ubyte",
            "emnist-letters-train-labels-idx1-ubyte",
            "emnist-letters-test-images-idx3-ubyte",
            "emnist-letters-test-labels-idx1-ubyte",
        ];
        check(&emnist, "", &emnist);
        check(&["cats/", "dogs/", "LICENSE", ".git/"], "", &["."]);
        check(&["test/", "train/", "LICENSE"], "", &["train", "test"]);
        check(&["test/", "train/", "val/"], "", &["."]);
        check(&["x/", single[0], single[1]], "", &single);
    }

    #[test]
    fn says_what_is_missing() {
        fn check(names: &[&str], path: &str, expected: &str) {
            let error = with_files(names, path).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        check(&[], "", "or a folder of image files for each class, found an empty directory");
        check(&["README"], "", "found no folder and no file of images but README");
        check(&[], "absent", "absent: expected a directory or a file of images, found nothing");
        check(&STANDARD[..3], "", "t10k-labels-idx1-ubyte: expected the labels of ");
        check(&STANDARD, STANDARD[1], "expected a file of images with a name like X-images-idx3-ubyte");
        check(
            &["a-images-idx3-ubyte", "b-images-idx3-ubyte"],
            "",
            "found a-images-idx3-ubyte, b-images-idx3-ubyte",
        );
    }
}

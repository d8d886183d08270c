//! A folder of image files: one folder per class, named like it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, ImageShape};
use crate::decode::header;
use crate::error::DataError;
use crate::note::DataNote;

/// How the name of an image file may end, in either case.
const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];

/// The image files of a folder, by class and then by name.
#[derive(Debug)]
pub(crate) struct Folder {
    classes: Vec<String>,
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
    /// Of the first file.
    pub(crate) first: ImageShape,
}

impl Folder {
    /// Lists the files and reads their headers. `names` are the classes in the order of their labels; if there are none,
    /// the names of the folders in ascending order.
    pub(crate) fn read(
        directory: &Path,
        names: &[String],
        notes: &mut Vec<DataNote>,
    ) -> Result<Self, DataError> {
        let (folders, others) = Entries::of(directory)?.by(Path::is_dir);
        passed_over(directory, &others, notes);
        let mut found = Vec::new();
        for folder in folders {
            found.push(folder.into_string().map_err(|name| DataError::Source {
                path: directory.join(&name),
                expected: "a class whose name is UTF-8".to_owned(),
                found: format!("{name:?}"),
            })?);
        }
        let classes = if names.is_empty() { found.clone() } else { names.to_vec() };
        if let Some(name) = found.iter().find(|name| !classes.contains(name)) {
            return Err(DataError::Source {
                path: directory.join(name),
                expected: format!("a folder named like one of the classes {}", classes.join(", ")),
                found: format!("`{name}`"),
            });
        }
        let (mut paths, mut labels) = (Vec::new(), Vec::new());
        for (label, class) in (0u32..).zip(&classes) {
            // A class of the recipe may have no folder: it is one without samples.
            if found.contains(class) {
                let files = image_files(&directory.join(class), notes)?;
                labels.extend(files.iter().map(|_| label));
                paths.extend(files);
            }
        }
        let Some(path) = paths.first() else {
            return Err(no_images(directory, "empty folders"));
        };
        let first = shape(path)?;
        for path in &paths[1..] {
            shape(path)?;
        }
        Ok(Self { classes, paths, labels, first })
    }

    /// The files as images that are brought to `shape`.
    pub(crate) fn into_dataset(self, shape: ImageShape) -> Dataset {
        Dataset::of_files(shape, self.classes, self.paths, self.labels)
    }
}

/// The image files of one class.
fn image_files(folder: &Path, notes: &mut Vec<DataNote>) -> Result<Vec<PathBuf>, DataError> {
    let (images, others) = Entries::of(folder)?.by(|path| path.is_file() && is_image(path));
    if images.is_empty() && others.iter().any(|name| folder.join(name).is_dir()) {
        return Err(no_images(folder, "folders within the folder of a class"));
    }
    passed_over(folder, &others, notes);
    Ok(images.iter().map(|name| folder.join(name)).collect())
}

fn passed_over(folder: &Path, others: &[OsString], notes: &mut Vec<DataNote>) {
    if let Some(first) = others.first() {
        let first = first.to_string_lossy().into_owned();
        notes.push(DataNote::PassedOver { folder: folder.to_owned(), entries: others.len(), first });
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn shape(path: &Path) -> Result<ImageShape, DataError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    header(BufReader::new(file)).map_err(|error| DataError::Image { path: path.to_owned(), error })
}

fn no_images(path: &Path, found: &str) -> DataError {
    DataError::Source {
        path: path.to_owned(),
        expected: "image files (.png, .jpg, .jpeg, .bmp, .webp)".to_owned(),
        found: found.to_owned(),
    }
}

/// What a directory holds, hidden entries left out.
pub(crate) struct Entries<'a> {
    directory: &'a Path,
    /// Ascending.
    pub(crate) names: Vec<OsString>,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(directory: &'a Path) -> Result<Self, DataError> {
        let mut names = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(|error| unreadable(directory, error))?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort_unstable();
        Ok(Self { directory, names })
    }

    /// Those whose path has the property, and the others.
    pub(crate) fn by(self, property: impl Fn(&Path) -> bool) -> (Vec<OsString>, Vec<OsString>) {
        self.names.into_iter().partition(|name| property(&self.directory.join(name)))
    }
}

pub(crate) fn unreadable(path: &Path, error: io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), error }
}

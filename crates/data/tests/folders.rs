//! Folders of image files, and what is wrong with them.

use std::fs;
use std::path::Path;
use std::thread::scope;

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use taper_data::{
    AugmentConfig, Batches, DataConfig, DataNote, Dataset, ImageConfig, ImageShape, Preprocess, Splits,
};
use tempfile::TempDir;

const SHAPE: ImageShape = ImageShape { height: 3, width: 4, channels: 3 };

fn colour(value: u8) -> DynamicImage {
    RgbImage::from_pixel(4, 3, Rgb([value, value / 2, 0])).into()
}

fn grey(value: u8) -> DynamicImage {
    GrayImage::from_pixel(2, 2, Luma([value])).into()
}

fn save(image: &DynamicImage, path: &Path) {
    fs::create_dir_all(path.parent().expect("the path has a folder")).expect("the directory is writable");
    image.save(path).expect("the directory is writable");
}

/// Ten images each of cats and dogs, in every format.
fn pets() -> TempDir {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    for (class, base) in [("dogs", 100), ("cats", 0)] {
        for (value, extension) in (base..base + 10).zip(["png", "jpg", "JPEG", "bmp", "webp"].iter().cycle())
        {
            save(&colour(value), &directory.path().join(class).join(format!("{value:03}.{extension}")));
        }
    }
    directory
}

fn config(source: &Path) -> DataConfig {
    DataConfig { source: source.to_str().expect("the path is UTF-8").to_owned(), ..DataConfig::default() }
}

fn lengths(splits: &Splits) -> [usize; 3] {
    [&splits.train, &splits.validation, &splits.test].map(Dataset::len)
}

#[test]
fn classes_are_folders_and_samples_are_in_the_order_of_their_names() {
    let directory = pets();
    let all = Dataset::for_evaluation(&config(directory.path()), None).unwrap();
    assert_eq!((all.len(), all.shape()), (20, SHAPE));
    assert_eq!(all.classes(), ["cats", "dogs"]);
    assert_eq!(all.class_counts(), [10, 10]);
    assert!(all.labels().is_sorted());
    for (sample, value) in (0..10u8).chain(100..110).enumerate() {
        let image = all.image(sample).unwrap();
        assert_eq!(image.len(), SHAPE.elements());
        assert!(image[0].abs_diff(value) < 4, "sample {sample}: {image:?}");
    }
}

#[test]
fn folders_are_divided_by_shares_and_seed() {
    let directory = pets();
    let config = config(directory.path());
    let splits = Splits::load(&config, None).unwrap();
    assert_eq!(lengths(&splits), [14, 2, 4]);
    assert_eq!(splits.train.class_counts(), [7, 7]);
    assert_eq!(splits.notes, []);
    let hash = |config| Splits::load(config, None).unwrap().test.sha256().unwrap();
    assert_eq!(hash(&config), splits.test.sha256().unwrap());
    assert_ne!(hash(&DataConfig { seed: 1, ..config.clone() }), splits.test.sha256().unwrap());
}

#[test]
fn a_test_folder_is_used_whole_and_brought_to_the_shape_of_the_training_images() {
    let directory = tempfile::tempdir().unwrap();
    for value in 0..10 {
        save(&colour(value), &directory.path().join(format!("train/a/{value}.png")));
        save(&colour(value), &directory.path().join(format!("train/b/{value}.png")));
    }
    save(&grey(77), &directory.path().join("test/b/0.png"));
    let splits = Splits::load(&config(directory.path()), None).unwrap();
    assert_eq!(lengths(&splits), [18, 2, 1]);
    assert_eq!((splits.test.shape(), splits.test.labels()), (SHAPE, [1].as_slice()));
    assert_eq!(*splits.test.image(0).unwrap(), [77; 36]);
}

#[test]
fn the_recipe_decides_the_shape_then_the_network_then_the_first_image() {
    let directory = pets();
    let check = |image: ImageConfig, input: Option<ImageShape>, expected: [usize; 3]| {
        let config = DataConfig { image, ..config(directory.path()) };
        let all = Dataset::for_evaluation(&config, input).unwrap();
        let ImageShape { height, width, channels } = all.shape();
        assert_eq!([height, width, channels], expected);
        assert_eq!(all.image(19).unwrap().len(), all.shape().elements());
    };
    let input = ImageShape { height: 8, width: 9, channels: 1 };
    let grey = ImageConfig { channels: Some(1), ..ImageConfig::default() };
    let wide = ImageConfig { height: Some(2), width: Some(20), channels: Some(3) };
    check(ImageConfig::default(), None, [3, 4, 3]);
    check(ImageConfig::default(), Some(input), [8, 9, 1]);
    check(grey, None, [3, 4, 1]);
    check(wide, Some(input), [2, 20, 3]);
}

#[test]
fn notes_tell_what_was_passed_over_and_what_is_empty() {
    let directory = pets();
    for name in ["LICENSE", "cats/index.html", "cats/Thumbs.db", ".hidden"] {
        fs::write(directory.path().join(name), "text").unwrap();
    }
    fs::create_dir(directory.path().join("emus")).unwrap();
    let splits = Splits::load(&config(directory.path()), None).unwrap();
    assert_eq!(splits.train.classes(), ["cats", "dogs", "emus"]);
    let passed_over = |folder: &Path, entries, first: &str| DataNote::PassedOver {
        folder: folder.to_owned(),
        entries,
        first: first.to_owned(),
    };
    assert_eq!(
        splits.notes,
        [
            passed_over(directory.path(), 1, "LICENSE"),
            passed_over(&directory.path().join("cats"), 2, "Thumbs.db"),
            DataNote::EmptyClasses { classes: vec!["emus".to_owned()] },
        ]
    );
    let text: Vec<_> = splits.notes.iter().map(ToString::to_string).collect();
    assert!(
        text[0].ends_with(": passed over 1 entry that is no image by its name: `LICENSE`"),
        "{}",
        text[0]
    );
    assert!(
        text[1].ends_with(": passed over 2 entries that are no images by their names, the first `Thumbs.db`")
    );
    assert!(
        text[2].starts_with("expected training samples of every class, found none of `emus`;"),
        "{}",
        text[2]
    );
}

#[test]
fn the_recipe_may_order_the_classes() {
    let directory = pets();
    let named = |names: &[&str]| DataConfig {
        classes: names.iter().map(|&name| name.to_owned()).collect(),
        ..config(directory.path())
    };
    let all = Dataset::for_evaluation(&named(&["dogs", "emus", "cats"]), None).unwrap();
    assert_eq!(all.class_counts(), [10, 0, 10]);
    assert!(all.image(0).unwrap()[0] > 90);
    let error = Dataset::for_evaluation(&named(&["cats"]), None).unwrap_err().to_string();
    assert!(
        error.ends_with("dogs: expected a folder named like one of the classes cats, found `dogs`"),
        "{error}"
    );
}

#[test]
fn errors_name_the_file_and_both_sides() {
    fn check(spoil: impl Fn(&Path), expected: &str) {
        let directory = pets();
        spoil(directory.path());
        let error = Splits::load(&config(directory.path()), None).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected:?}, found {error:?}");
    }
    fn empty(directory: &Path) {
        for class in ["cats", "dogs"] {
            fs::remove_dir_all(directory.join(class)).unwrap();
        }
    }
    check(empty, "or a folder of image files for each class, found an empty directory");
    check(
        |directory| {
            empty(directory);
            save(&colour(0), &directory.join("0.png"));
        },
        "found no folder and no file of images but 0.png",
    );
    check(
        |directory| {
            empty(directory);
            fs::create_dir(directory.join("cats")).unwrap();
        },
        "expected image files (.png, .jpg, .jpeg, .bmp, .webp), found empty folders",
    );
    check(
        |directory| save(&colour(0), &directory.join("birds/small/0.png")),
        "birds: expected image files (.png, .jpg, .jpeg, .bmp, .webp), found folders within the folder of a class",
    );
    check(
        |directory| fs::write(directory.join("cats/000.png"), "text").unwrap(),
        "000.png: expected a PNG, JPEG, BMP or WebP image, found a file that starts with [74, 65, 78, 74]",
    );
    check(
        |directory| fs::write(directory.join("dogs/104.webp"), "").unwrap(),
        "104.webp: expected a PNG, JPEG, BMP or WebP image, found a file that starts with []",
    );
}

#[test]
fn a_damaged_image_ends_the_batches_with_its_name() {
    let directory = pets();
    let path = directory.path().join("dogs/106.jpg");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 2]).unwrap();
    let all = Dataset::for_evaluation(&config(directory.path()), None).unwrap();
    scope(|scope| {
        let mut batches = Batches::in_order(&all, Preprocess::default()).prefetch(scope, 5).unwrap();
        for _ in 0..3 {
            assert_eq!(batches.next_batch().unwrap().unwrap().labels.len(), 5);
        }
        let error = batches.next_batch().unwrap_err().to_string();
        assert!(
            error.contains("106.jpg: expected an intact image, found: the end of the JPEG is missing"),
            "{error}"
        );
        assert_eq!(batches.next_batch().unwrap(), None);
    });
    fs::remove_file(&path).unwrap();
    let error = all.sha256().unwrap_err().to_string();
    assert!(error.contains("106.jpg: cannot be read: "), "{error}");
}

#[test]
fn files_give_the_same_batches_again_and_in_the_background() {
    let directory = pets();
    let all = Dataset::for_evaluation(&config(directory.path()), None).unwrap();
    let batches = || Batches::shuffled(&all, Preprocess::default(), AugmentConfig::default(), 1, 1);
    let size = SHAPE.elements();
    let (mut images, mut labels) = (vec![0.0; 20 * size], vec![0; 20]);
    assert_eq!(batches().fill(&mut images, &mut labels).unwrap(), Some(20));
    scope(|scope| {
        let mut again = batches().prefetch(scope, 6).unwrap();
        for (images, labels) in images.chunks(6 * size).zip(labels.chunks(6)) {
            let batch = again.next_batch().unwrap().unwrap();
            assert_eq!((batch.images, batch.labels), (images, labels));
        }
    });
}

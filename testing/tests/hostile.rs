//! The entry points of the fuzz targets on seeds that are cut and damaged.

#[path = "../../fuzz/src/seeds.rs"]
#[expect(unreachable_pub, reason = "the crate of the fuzz targets shares this file")]
mod seeds;
#[path = "../../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "the crate of the fuzz targets shares this file")]
mod targets;

use taper_formats::edgetpu::{ExecutableType, Package};
use taper_testing::Random;

/// What a hostile length, offset or count may look like.
const EXTREMES: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX];

#[test]
fn cut_files_are_refused_or_read_without_a_panic() {
    for target in targets::ALL {
        eprintln!("cutting seeds of {}", target.name);
        for seed in (target.seeds)() {
            for part in 0..=64 {
                (target.run)(&seed[..seed.len() * part / 64]);
            }
        }
    }
}

#[test]
fn damaged_files_are_refused_or_read_without_a_panic() {
    let mut random = Random::new(11);
    for target in targets::ALL {
        eprintln!("damaging seeds of {}", target.name);
        let seeds = (target.seeds)();
        for _ in 0..2_000 {
            let mut bytes = seeds[random.between(0, seeds.len() - 1)].clone();
            for _ in 0..random.between(1, 3) {
                damage(&mut bytes, &mut random);
            }
            (target.run)(&bytes);
        }
    }
}

/// Flips a bit, sets a byte, sets four bytes to something extreme, copies a part over another, or cuts the end off.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some(last) = bytes.len().checked_sub(1) else { return };
    let at = random.between(0, last);
    match random.between(0, 9) {
        0..=2 => bytes[at] ^= 1 << random.between(0, 7),
        3 => bytes[at] = random.bytes(1)[0],
        4..=6 => {
            let extreme = random.pick(&EXTREMES).to_le_bytes();
            let at = at & !3;
            for (byte, extreme) in bytes[at..].iter_mut().zip(extreme) {
                *byte = extreme;
            }
        }
        7 | 8 => {
            let length = random.between(1, 32).min(last + 1 - at);
            let to = random.between(0, last + 1 - length);
            bytes.copy_within(at..at + length, to);
        }
        _ => bytes.truncate(at),
    }
}

#[test]
fn the_seed_of_packages_holds_two_executables() {
    let package = Package::parse(&seeds::package()[0]).expect("parses");
    let kinds: Vec<_> = package.executables.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [ExecutableType::ParameterCaching, ExecutableType::ExecutionOnly]);
    assert_eq!(
        (package.min_runtime_version, package.compiler_version.as_str()),
        (14, "none: made by a test")
    );
    assert_eq!((package.cached_parameter_bytes(), package.streamed_parameter_bytes()), (96, 32));
    assert_eq!(package.instruction_bytes(), 16);
    let layer = &package.executables[1].inputs[0];
    assert_eq!((layer.name.as_str(), layer.bytes, layer.shape, layer.executions), ("x", 16, [2, 2, 3], 1));
}

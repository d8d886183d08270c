//! IDX, the format of MNIST: a header and an array of bytes, plain or gzipped.
//!
//! Header: two zero bytes, the type code (0x08 is an unsigned byte), the rank, then each dimension as a
//! big-endian u32 (Y. LeCun, *The MNIST database of handwritten digits*, "file formats"). The bytes are
//! foreign: memory grows with what the file delivers and never beyond what its header declares.

use std::io::{self, BufReader, Read};
use std::ops::RangeInclusive;

use flate2::bufread::MultiGzDecoder;

use crate::error::IdxError;

const UNSIGNED_BYTE: u8 = 0x08;

/// The first growth of the buffer, in bytes; it doubles from there up to the declared size.
const FIRST_GROWTH: usize = 1 << 16;

/// The ranks that a file may have, with the words for an error.
pub(crate) struct Ranks {
    allowed: RangeInclusive<u8>,
    words: &'static str,
}

/// `[N][H][W]` or `[N][H][W][C]`.
pub(crate) const IMAGES: Ranks =
    Ranks { allowed: 3..=4, words: "3 (images, height, width) or 4 (and channels)" };

/// `[N]`.
pub(crate) const LABELS: Ranks = Ranks { allowed: 1..=1, words: "1 (labels)" };

/// An array of bytes; `bytes.len()` is the product of `dimensions` and positive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Idx {
    pub(crate) dimensions: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Reads one IDX array to the end of `reader`; unpacks it first if it starts like gzip.
pub(crate) fn read(reader: impl Read, ranks: &Ranks) -> Result<Idx, IdxError> {
    let mut reader = BufReader::new(reader);
    let mut start = Vec::with_capacity(2);
    reader.by_ref().take(2).read_to_end(&mut start).map_err(IdxError::Io)?;
    let whole = start.as_slice().chain(reader);
    if start == [0x1f, 0x8b] {
        read_array(MultiGzDecoder::new(BufReader::new(whole)), ranks)
    } else {
        read_array(whole, ranks)
    }
}

fn read_array(mut reader: impl Read, ranks: &Ranks) -> Result<Idx, IdxError> {
    let dimensions = read_header(&mut reader, ranks)?;
    let size = size(&dimensions)?;
    let bytes = read_at_most(&mut reader, size)?;
    if bytes.len() < size {
        return Err(IdxError::TruncatedData { expected: size, found: bytes.len() });
    }
    if !read_at_most(&mut reader, 1)?.is_empty() {
        return Err(IdxError::Trailing { expected: size });
    }
    let dimensions = dimensions.into_iter().map(to_usize).collect::<Result<_, _>>()?;
    Ok(Idx { dimensions, bytes })
}

fn read_header(reader: &mut impl Read, ranks: &Ranks) -> Result<Vec<u32>, IdxError> {
    let magic = read_at_most(reader, 4)?;
    let &[first, second, element, rank] = magic.as_slice() else {
        return Err(IdxError::TruncatedHeader { expected: 4, found: magic.len() });
    };
    if [first, second] != [0, 0] {
        return Err(IdxError::Magic { found: [first, second] });
    }
    if element != UNSIGNED_BYTE {
        return Err(IdxError::Type { found: element });
    }
    if !ranks.allowed.contains(&rank) {
        return Err(IdxError::Rank { expected: ranks.words, found: rank });
    }
    let length = usize::from(rank) * 4;
    let bytes = read_at_most(reader, length)?;
    if bytes.len() < length {
        return Err(IdxError::TruncatedHeader { expected: 4 + length, found: 4 + bytes.len() });
    }
    let (words, _) = bytes.as_chunks::<4>();
    Ok(words.iter().map(|&word| u32::from_be_bytes(word)).collect())
}

fn size(dimensions: &[u32]) -> Result<usize, IdxError> {
    if dimensions.contains(&0) {
        return Err(IdxError::Empty { dimensions: dimensions.to_vec() });
    }
    let product = dimensions
        .iter()
        .try_fold(1usize, |product, &dimension| product.checked_mul(usize::try_from(dimension).ok()?));
    // Rust's allocations end at isize::MAX.
    product
        .filter(|&size| isize::try_from(size).is_ok())
        .ok_or_else(|| IdxError::Overflow { dimensions: dimensions.to_vec() })
}

fn to_usize(dimension: u32) -> Result<usize, IdxError> {
    usize::try_from(dimension).map_err(|_| IdxError::Overflow { dimensions: vec![dimension] })
}

/// Reads `limit` bytes, or fewer where the reader ends.
fn read_at_most(reader: &mut impl Read, limit: usize) -> Result<Vec<u8>, IdxError> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let filled = bytes.len();
        let growth = filled.max(FIRST_GROWTH).min(limit - filled);
        bytes.reserve_exact(growth);
        bytes.resize(filled + growth, 0);
        let delivered = read_full(reader, &mut bytes[filled..])?;
        bytes.truncate(filled + delivered);
        if delivered < growth {
            break;
        }
    }
    Ok(bytes)
}

/// Fills `buffer`, or as much of it as the reader delivers.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, IdxError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(classify(error)),
        }
    }
    Ok(filled)
}

/// flate2 reports a broken stream as invalid input or invalid data, a truncated one as an unexpected end; a
/// plain file does neither.
fn classify(error: io::Error) -> IdxError {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            IdxError::Gzip(error)
        }
        _ => IdxError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn encode(dimensions: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, UNSIGNED_BYTE, dimensions.len() as u8];
        file.extend(dimensions.iter().flat_map(|dimension| dimension.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Bytes that neither compress nor repeat.
    fn noise(count: usize) -> Vec<u8> {
        let mut rng = crate::rng::Rng::new(5);
        (0..count).map(|_| rng.below(256) as u8).collect()
    }

    fn images() -> Vec<u8> {
        encode(&[20, 9, 7], &noise(20 * 9 * 7))
    }

    #[test]
    fn reads_plain_and_gzipped_files() {
        for (dimensions, ranks) in [(vec![3, 2, 4], IMAGES), (vec![2, 2, 2, 3], IMAGES), (vec![24], LABELS)] {
            let file = encode(&dimensions, &noise(24));
            let dimensions = dimensions.iter().map(|&d| d as usize).collect();
            let expected = Idx { dimensions, bytes: noise(24) };
            assert_eq!(read(file.as_slice(), &ranks).unwrap(), expected);
            assert_eq!(read(gzip(&file).as_slice(), &ranks).unwrap(), expected);
            // RFC 1952: a gzip file is a sequence of members.
            let members = [gzip(&file[..9]), gzip(&file[9..])].concat();
            assert_eq!(read(members.as_slice(), &ranks).unwrap(), expected);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        fn check(file: &[u8], ranks: &Ranks, expected: &str) {
            assert_eq!(read(file, ranks).unwrap_err().to_string(), expected);
        }
        check(b"", &IMAGES, "truncated header: expected 4 bytes, found 0");
        check(&[0, 0, 8], &IMAGES, "truncated header: expected 4 bytes, found 3");
        check(&[0, 0, 8, 3, 0, 0], &IMAGES, "truncated header: expected 16 bytes, found 6");
        check(
            b"PK\x03\x04",
            &IMAGES,
            "expected an IDX file, which starts with 00 00 (or 1f 8b when gzipped), found 50 4b",
        );
        check(&[0, 0, 13, 3], &IMAGES, "expected IDX type 0x08 (unsigned byte), found 0x0d");
        check(
            &encode(&[1], &[1]),
            &IMAGES,
            "expected 3 (images, height, width) or 4 (and channels) dimensions, found 1",
        );
        check(&encode(&[1, 1, 1], &[1]), &LABELS, "expected 1 (labels) dimensions, found 3");
        check(
            &encode(&[0, 28, 28], &[]),
            &IMAGES,
            "expected at least one element, found dimensions [0, 28, 28]",
        );
        check(
            &encode(&[5, 0, 28], &[]),
            &IMAGES,
            "expected at least one element, found dimensions [5, 0, 28]",
        );
        check(
            &encode(&[u32::MAX; 4], &[]),
            &IMAGES,
            "expected a size that fits in memory, found dimensions [4294967295, 4294967295, 4294967295, 4294967295]",
        );
        check(&encode(&[3], &[1, 2]), &LABELS, "truncated data: expected 3 bytes after the header, found 2");
        check(&encode(&[3], &[1, 2, 3, 4]), &LABELS, "expected 3 bytes after the header, found more");
        check(&gzip(&encode(&[3], &[1, 2, 3, 4])), &LABELS, "expected 3 bytes after the header, found more");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let plain = images();
        for file in [gzip(&plain), plain] {
            for part in 0..64 {
                let length = file.len() * part / 64;
                let error = read(&file[..length], &IMAGES).unwrap_err();
                let expected = matches!(
                    error,
                    IdxError::TruncatedHeader { .. } | IdxError::TruncatedData { .. } | IdxError::Gzip(_)
                );
                assert!(expected, "{length} bytes: {error}");
            }
        }
    }

    #[test]
    fn every_flipped_header_bit_is_an_error() {
        let file = images();
        for bit in 0..16 * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(flipped.as_slice(), &IMAGES).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn damage_to_gzip_is_an_error() {
        let file = gzip(&images());
        // RFC 1952: ten bytes of header, of which the time, the extra flags and the system mean nothing to a
        // reader.
        for position in 10..file.len() {
            let mut damaged = file.clone();
            damaged[position] ^= 0x55;
            assert!(read(damaged.as_slice(), &IMAGES).is_err(), "byte {position}");
        }
        assert!(matches!(read([file, vec![1, 2, 3]].concat().as_slice(), &IMAGES), Err(IdxError::Gzip(_))));
    }

    #[test]
    fn memory_follows_what_is_delivered() {
        /// Delivers `left` bytes and records how many were asked for at once.
        struct Meter {
            left: usize,
            largest: usize,
        }
        impl Read for Meter {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.largest = self.largest.max(buffer.len());
                let count = buffer.len().min(self.left);
                self.left -= count;
                Ok(count)
            }
        }
        let mut meter = Meter { left: 1 << 20, largest: 0 };
        let delivered = read_at_most(&mut meter, usize::MAX).unwrap();
        assert_eq!(delivered.len(), 1 << 20);
        assert!(meter.largest <= 1 << 20, "asked for {} at once", meter.largest);
        assert!(delivered.capacity() <= 2 << 20, "{} bytes reserved", delivered.capacity());
        let declared = read_at_most(&mut io::repeat(0), 100_001).unwrap();
        assert_eq!((declared.len(), declared.capacity()), (100_001, 100_001));
    }

    #[test]
    fn a_gzip_bomb_is_not_unpacked() {
        let bomb = gzip(&[encode(&[10], &[]), vec![0; 50_000_000]].concat());
        assert!(matches!(read(bomb.as_slice(), &LABELS), Err(IdxError::Trailing { expected: 10 })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), gzipped: bool) {
            let mut file = if gzipped { vec![0x1f, 0x8b, 8, 0] } else { vec![0, 0, UNSIGNED_BYTE, 3] };
            file.extend(&bytes);
            for file in [bytes, gzip(&file), file] {
                for ranks in [IMAGES, LABELS] {
                    if let Ok(idx) = read(file.as_slice(), &ranks) {
                        prop_assert_eq!(idx.bytes.len(), idx.dimensions.iter().product::<usize>());
                    }
                }
            }
        }
    }
}

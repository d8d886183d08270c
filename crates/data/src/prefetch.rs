//! Mini-batches that are made ready on a thread of their own while the last one is at work.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::batch::Batches;
use crate::error::DataError;

/// One is at work while the other is being filled.
const BUFFERS: usize = 2;

/// Images and labels of one mini-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    /// `[N][H][W][C]`.
    pub images: &'a [f32],
    /// One per image.
    pub labels: &'a [u32],
}

/// The batches of a [`Batches`], filled in the background by one thread; see [`Batches::prefetch`].
///
/// Dropping it ends the thread after the batch that is being filled.
pub struct Prefetch<'scope> {
    filled: Receiver<Result<Buffer, DataError>>,
    free: SyncSender<Buffer>,
    at_work: Option<Buffer>,
    /// Elements of an image.
    size: usize,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

struct Buffer {
    images: Vec<f32>,
    labels: Vec<u32>,
    count: usize,
}

impl<'a> Batches<'a> {
    /// Fills the batches on a new thread of `scope`, one ahead of the caller, into two buffers that are used in turns.
    ///
    /// The batches hold what [`Batches::fill`] gives, in the same order: all of `batch_size` samples but the last.
    ///
    /// # Errors
    /// If the system gives no thread.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn prefetch<'scope>(
        mut self,
        scope: &'scope Scope<'scope, '_>,
        batch_size: usize,
    ) -> Result<Prefetch<'scope>, DataError>
    where
        'a: 'scope,
    {
        assert!(batch_size > 0, "a batch holds at least one sample");
        let size = self.image_size();
        let samples = batch_size.min(self.remaining().max(1));
        // No channel ever blocks who sends: there are no more buffers than places.
        let (free, to_fill) = sync_channel(BUFFERS);
        let (done, filled) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            let buffer = Buffer { images: vec![0.0; samples * size], labels: vec![0; samples], count: 0 };
            free.try_send(buffer).expect("the channel has a place for each buffer");
        }
        let work = move || {
            // Either channel is closed when nobody wants another batch.
            while let Ok(Buffer { mut images, mut labels, .. }) = to_fill.recv() {
                let next = match self.fill(&mut images, &mut labels) {
                    Ok(Some(count)) => Ok(Buffer { images, labels, count }),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let failed = next.is_err();
                if done.send(next).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new().name("taper-data".to_owned()).spawn_scoped(scope, work);
        let thread = Some(thread.map_err(DataError::Thread)?);
        Ok(Prefetch { filled, free, at_work: None, size, thread })
    }
}

impl Prefetch<'_> {
    /// The next batch, as soon as it is filled; `None` when every sample has been visited.
    ///
    /// # Errors
    /// If an image could not be read; no batch follows.
    ///
    /// # Panics
    /// As the thread did.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, DataError> {
        if let Some(buffer) = self.at_work.take() {
            // A thread that has filled its last batch wants no buffer back.
            let _ = self.free.send(buffer);
        }
        match self.filled.recv() {
            Ok(buffer) => {
                let Buffer { images, labels, count } = &*self.at_work.insert(buffer?);
                Ok(Some(Batch { images: &images[..count * self.size], labels: &labels[..*count] }))
            }
            Err(_) => match self.thread.take().map(ScopedJoinHandle::join) {
                Some(Err(panic)) => resume_unwind(panic),
                Some(Ok(())) | None => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread::scope;

    use super::*;
    use crate::augment::AugmentConfig;
    use crate::dataset::{Dataset, ImageShape};
    use crate::preprocess::Preprocess;
    use crate::rng::Rng;

    const SHAPE: ImageShape = ImageShape { height: 5, width: 4, channels: 1 };

    fn dataset(samples: u32) -> Dataset {
        let mut rng = Rng::new(9);
        let images = (0..samples as usize * SHAPE.elements()).map(|_| rng.below(256) as u8).collect();
        Dataset::new(SHAPE, vec!["a".into()], images, vec![0; samples as usize])
    }

    fn epoch(dataset: &Dataset) -> Batches<'_> {
        Batches::shuffled(dataset, Preprocess::default(), AugmentConfig::default(), 1, 2)
    }

    #[test]
    fn batches_are_those_of_fill() {
        for (samples, batch) in [(0, 4), (1, 4), (8, 4), (103, 10), (103, 1), (103, 1000)] {
            let dataset = dataset(samples);
            let (mut images, mut labels) = (vec![0.0; batch * SHAPE.elements()], vec![9; batch]);
            let mut expected = epoch(&dataset);
            scope(|scope| {
                let mut found = epoch(&dataset).prefetch(scope, batch).unwrap();
                while let Some(count) = expected.fill(&mut images, &mut labels).unwrap() {
                    let batch =
                        Batch { images: &images[..count * SHAPE.elements()], labels: &labels[..count] };
                    assert_eq!(found.next_batch().unwrap(), Some(batch));
                }
                assert_eq!(found.next_batch().unwrap(), None);
                assert_eq!(found.next_batch().unwrap(), None);
            });
        }
    }

    #[test]
    fn buffers_are_used_in_turns() {
        let dataset = dataset(100);
        scope(|scope| {
            let mut batches = epoch(&dataset).prefetch(scope, 10).unwrap();
            let places: Vec<_> =
                (0..10).map(|_| batches.next_batch().unwrap().unwrap().images.as_ptr()).collect();
            assert!(places.iter().zip(&places[BUFFERS..]).all(|(a, b)| a == b));
        });
    }

    #[test]
    fn a_caller_may_stop_early() {
        let dataset = dataset(100);
        scope(|scope| {
            let mut batches = epoch(&dataset).prefetch(scope, 10).unwrap();
            assert!(batches.next_batch().unwrap().is_some());
        });
        scope(|scope| drop(epoch(&dataset).prefetch(scope, 10).unwrap()));
    }

    #[test]
    fn a_caller_may_panic() {
        let dataset = dataset(100);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                let _batches = epoch(&dataset).prefetch(scope, 10).unwrap();
                resume_unwind(Box::new("the caller's"));
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"the caller's"));
    }
}

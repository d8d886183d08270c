//! Units that merge: a forest of disjoint sets, each led by its earliest unit.

use super::{ChannelUnit, Slice};

/// A unit, as it was started; several may have become one since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitId(usize);

/// All units of a graph.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// An earlier unit of the same set, or the unit itself if it leads the set.
    earlier: Vec<UnitId>,
    /// What each unit is made of; that of a unit tied to an earlier one counts for the one that leads.
    parts: Vec<ChannelUnit>,
    kept: Vec<Option<String>>,
}

impl Units {
    /// Starts a unit.
    pub(super) fn start(&mut self, unit: ChannelUnit) -> UnitId {
        let id = UnitId(self.parts.len());
        self.earlier.push(id);
        self.parts.push(unit);
        self.kept.push(None);
        id
    }

    /// Makes two units one.
    pub(super) fn tie(&mut self, a: UnitId, b: UnitId) -> UnitId {
        let (a, b) = (self.leader(a), self.leader(b));
        let (first, second) = (a.min(b), a.max(b));
        self.earlier[second.0] = first;
        first
    }

    /// Notes a slice that goes with the unit.
    pub(super) fn note(&mut self, unit: UnitId, slice: Slice) {
        self.parts[unit.0].slices.push(slice);
    }

    /// Keeps the unit; the first reason stays.
    pub(super) fn keep(&mut self, unit: UnitId, reason: &str) {
        self.kept[unit.0].get_or_insert_with(|| reason.to_owned());
    }

    /// The units that are left after all ties, by the earliest channel of each, with why they are kept.
    pub(super) fn merged(mut self) -> impl Iterator<Item = (ChannelUnit, Option<String>)> {
        for id in (0..self.parts.len()).map(UnitId) {
            let leader = self.leader(id);
            if leader != id {
                let ChannelUnit { channels, slices } = std::mem::take(&mut self.parts[id.0]);
                self.parts[leader.0].channels.extend(channels);
                self.parts[leader.0].slices.extend(slices);
                let kept = self.kept[id.0].take();
                self.kept[leader.0] = self.kept[leader.0].take().or(kept);
            }
        }
        let leads = |&(position, _): &(usize, _)| self.earlier[position] == UnitId(position);
        let units: Vec<_> = self.parts.into_iter().zip(self.kept).enumerate().filter(leads).collect();
        units.into_iter().map(|(_, unit)| unit)
    }

    /// The earliest unit of a set. Shortens the way for the next search.
    fn leader(&mut self, mut id: UnitId) -> UnitId {
        while self.earlier[id.0] != id {
            self.earlier[id.0] = self.earlier[self.earlier[id.0].0];
            id = self.earlier[id.0];
        }
        id
    }
}

//! Cut rules: which channels of a layer are surplus, given a score for each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the cut level is read. A high score (APoZ, from 0 to 1) marks a channel as surplus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutRule {
    /// A channel goes when its score is at least `mean + cut · σ` of its layer, σ over the population. Where all
    /// scores are equal none stands out, and none goes.
    #[default]
    Deviations,
    /// A channel goes when its score is at least `cut`.
    Threshold,
    /// The `⌊cut · C⌋` channels with the highest scores of the layer's `C` go.
    Fraction,
}

/// Why a rule cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CutError {
    /// A score is not a number to compare.
    #[error("score of channel {channel}: expected a finite number, found {score}")]
    Score {
        /// Index of the channel.
        channel: usize,
        /// The score.
        score: f64,
    },
    /// The level is not a number to compare with.
    #[error("cut: expected a number, found {0}")]
    Cut(f64),
}

impl CutRule {
    /// The channels to remove from a layer, ascending.
    ///
    /// At least `min(c_min, C)` channels stay, those with the lowest scores. Of equal scores the lower index stays.
    ///
    /// # Errors
    /// If a score is not finite or `cut` is NaN.
    pub fn surplus(self, scores: &[f64], cut: f64, c_min: usize) -> Result<Vec<usize>, CutError> {
        if cut.is_nan() {
            return Err(CutError::Cut(cut));
        }
        if let Some((channel, &score)) = scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
            return Err(CutError::Score { channel, score });
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let sorted: Vec<f64> = order.iter().map(|&channel| scores[channel]).collect();

        let keep = self.below(&sorted, cut).max(c_min).min(sorted.len());
        let mut surplus = order.split_off(keep);
        surplus.sort_unstable();
        Ok(surplus)
    }

    /// A gentler level after `attempt` tries that lost too much (0 leaves `cut` as it is). Each try removes about half
    /// of what the one before did: half the fraction; half the way to a score of 1; half a standard deviation more,
    /// beyond which a normal distribution holds about half as much.
    #[must_use]
    pub fn gentler(self, cut: f64, attempt: u32) -> f64 {
        let half = 0.5_f64.powi(attempt.min(i32::MAX.unsigned_abs()).cast_signed());
        match self {
            Self::Deviations => cut + 0.5 * f64::from(attempt),
            Self::Threshold => 1.0 - (1.0 - cut) * half,
            Self::Fraction => cut * half,
        }
    }

    /// How many of the ascending scores stay below the cut.
    fn below(self, sorted: &[f64], cut: f64) -> usize {
        match self {
            Self::Deviations => {
                // Summed in ascending order, the level does not depend on the order of the channels.
                let count = sorted.len() as f64;
                let mean = sorted.iter().sum::<f64>() / count;
                let variance = sorted.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
                if sorted.first() == sorted.last() {
                    return sorted.len();
                }
                let level = mean + cut * variance.sqrt();
                sorted.partition_point(|&score| score < level)
            }
            Self::Threshold => sorted.partition_point(|&score| score < cut),
            Self::Fraction => {
                // The margin makes 0.29 of 100 channels 29, although the product is a little below.
                let gone = (cut.clamp(0.0, 1.0) * sorted.len() as f64 + 1e-9).floor();
                sorted.len() - gone as usize
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: [CutRule; 3] = [CutRule::Deviations, CutRule::Threshold, CutRule::Fraction];

    fn check(rule: CutRule, scores: &[f64], cut: f64, c_min: usize, expected: &[usize]) {
        assert_eq!(
            rule.surplus(scores, cut, c_min).as_deref(),
            Ok(expected),
            "{rule:?} at {cut}, c_min {c_min}"
        );
    }

    #[test]
    fn each_rule_cuts_where_it_says() {
        use CutRule::{Deviations, Fraction, Threshold};
        // Mean 0.5, population σ 0.25 (the sample's would be 0.27).
        let scores = [0.25, 0.75, 0.25, 0.75, 0.25, 0.75, 0.25, 0.75];
        let hundred: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        check(Deviations, &scores, 1.0, 1, &[1, 3, 5, 7]);
        check(Deviations, &scores, 1.01, 1, &[]);
        check(Deviations, &scores, 0.2, 6, &[5, 7]);
        check(Deviations, &[0.3; 7], 0.0, 1, &[]);
        check(Deviations, &[0.1; 9], -3.0, 1, &[]);
        check(Deviations, &[0.1, 0.9], -3.0, 1, &[1]);
        check(Deviations, &[], 0.2, 5, &[]);
        check(Threshold, &scores, 0.75, 1, &[1, 3, 5, 7]);
        check(Threshold, &[1.0; 4], 0.9, 2, &[2, 3]);
        check(Fraction, &scores, 0.25, 1, &[5, 7]);
        check(Fraction, &scores, 0.24, 1, &[7]);
        check(Fraction, &scores, 1.0, 20, &[]);
        check(Fraction, &hundred, 0.29, 98, &[98, 99]);
        assert_eq!(Fraction.surplus(&hundred, 0.29, 1).map(|gone| gone.len()), Ok(29));
    }

    #[test]
    fn nan_is_an_error() {
        for rule in RULES {
            let score = rule.surplus(&[0.5, f64::NAN], 0.1, 1).expect_err("NaN score");
            assert_eq!(score.to_string(), "score of channel 1: expected a finite number, found NaN");
            let cut = rule.surplus(&[0.5], f64::NAN, 1).expect_err("NaN cut");
            assert_eq!(cut.to_string(), "cut: expected a number, found NaN");
        }
    }

    fn rule() -> impl Strategy<Value = CutRule> {
        proptest::sample::select(RULES.to_vec())
    }

    /// Few distinct values, so that ties are common.
    fn scores() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec((0..=20_u8).prop_map(|i| f64::from(i) / 20.0), 0..40)
    }

    proptest! {
        #[test]
        fn c_min_channels_with_the_lowest_scores_stay(
            rule in rule(), scores in scores(), cut in -1.0..2.0_f64, c_min in 1..10_usize,
        ) {
            let gone = rule.surplus(&scores, cut, c_min).expect("finite scores");
            prop_assert!(scores.len() - gone.len() >= c_min.min(scores.len()));
            prop_assert!(gone.is_sorted());
            let stays = |channel: &usize| !gone.contains(channel);
            for kept in (0..scores.len()).filter(stays) {
                for &removed in &gone {
                    prop_assert!((scores[kept], kept) < (scores[removed], removed));
                }
            }
        }

        #[test]
        fn a_gentler_cut_removes_a_subset(
            rule in rule(), scores in scores(), cut in 0.0..1.0_f64, c_min in 1..10_usize, attempt in 0..6_u32,
        ) {
            let gone = |attempt| rule.surplus(&scores, rule.gentler(cut, attempt), c_min).expect("finite scores");
            let (more, fewer) = (gone(attempt), gone(attempt + 1));
            prop_assert!(fewer.iter().all(|channel| more.contains(channel)));
        }

        #[test]
        fn the_order_of_channels_does_not_matter(
            rule in rule(), scores in scores(), cut in -1.0..2.0_f64, c_min in 1..10_usize, turn in 0..40_usize,
        ) {
            let mut turned = scores.clone();
            turned.rotate_left(turn.min(scores.len()));
            turned.reverse();
            let gone = |scores: &[f64]| {
                let gone = rule.surplus(scores, cut, c_min).expect("finite scores");
                let mut gone: Vec<f64> = gone.into_iter().map(|channel| scores[channel]).collect();
                gone.sort_by(f64::total_cmp);
                gone
            };
            prop_assert_eq!(gone(&scores), gone(&turned));
        }

        #[test]
        fn equal_scores_lose_nothing_by_deviations(score in 0.0..=1.0_f64, count in 0..40_usize, cut in -2.0..2.0_f64) {
            prop_assert_eq!(CutRule::Deviations.surplus(&vec![score; count], cut, 1), Ok(vec![]));
        }
    }
}

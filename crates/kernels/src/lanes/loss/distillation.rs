//! Distillation: learning from a teacher's softened predictions (Hinton, Vinyals and Dean, 2015).

use super::cross_entropy::{Softmax, SoftmaxCrossEntropy, Targets};
use super::elementary::exp;
use super::maps::{Maps, Part, Row, TILE, Tile};
use super::{LossSummary, scale_of};
use crate::cpu::{LANES, Simd, WithSimd};
use crate::lanes::{Lanes, Workspace};

/// `(1 - α) · cross-entropy + α · T² · KL(softmax(teacher / T) ‖ softmax(student / T))`.
///
/// Both means weigh a pixel alike: by its class weight, and not at all where its label is ignored.
#[derive(Clone, Copy, Debug)]
pub struct Distillation<'a> {
    /// The cross-entropy against the labels; it also tells shape and instruction set.
    pub hard: SoftmaxCrossEntropy<'a>,
    /// The temperature T > 0.
    pub temperature: f32,
    /// The teacher's share α of the loss, in 0..=1.
    pub soft_weight: f32,
}

impl Distillation<'_> {
    /// The loss of the student's logits against the teacher's, both `[blocks][classes][pixels]`, and against the labels
    /// `[N][pixels]`. Divisor, gradient by the student's logits, `correct` and panics as for
    /// [`SoftmaxCrossEntropy::run`].
    ///
    /// # Panics
    ///
    /// Panics if the temperature is not above 0, too.
    pub fn run(
        &self,
        student: &[Lanes],
        teacher: &[Lanes],
        labels: &[u32],
        total_weight: f64,
        mut gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        assert!(self.temperature > 0.0, "a temperature of {} is not above 0", self.temperature);
        assert_eq!(teacher.len(), student.len(), "length of the teacher's logits");
        let (scale, soft) = (scale_of(total_weight), f64::from(self.soft_weight));
        let (hard_scale, soft_scale) = ((1.0 - soft) * scale, soft * scale);
        let mut summary =
            self.hard.run_scaled(student, labels, hard_scale, gradient.as_deref_mut(), workspace);
        let maps = self.hard.maps(labels);
        let soft = maps.sum(student, gradient, workspace, |part| {
            self.hard.isa.dispatch(Task {
                loss: self,
                maps,
                student,
                teacher,
                labels,
                scale: soft_scale,
                part,
            })
        });
        summary.loss += soft.loss;
        summary
    }
}

/// Adds the soft part to the gradient; only the loss of the summary is told.
struct Task<'a> {
    loss: &'a Distillation<'a>,
    maps: Maps,
    student: &'a [Lanes],
    teacher: &'a [Lanes],
    labels: &'a [u32],
    scale: f64,
    part: Part<'a>,
}

impl WithSimd for Task<'_> {
    type Output = LossSummary;

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) -> LossSummary {
        let mut summary = LossSummary::default();
        for tile in self.part.tiles() {
            summary.loss += self.add_tile(&tile);
        }
        summary
    }
}

impl Task<'_> {
    #[inline(always)]
    fn add_tile(&mut self, tile: &Tile) -> f64 {
        let temperature = f64::from(self.loss.temperature);
        let inverse = 1.0 / temperature;
        let weights = Targets::read(&self.loss.hard, &self.maps, tile, self.labels).weight;
        let student = Softmax::of(&self.maps, tile, self.student, inverse);
        let teacher = Softmax::of(&self.maps, tile, self.teacher, inverse);
        let mut divergence: [Row; TILE] = [[0.0; LANES]; TILE];
        for channel in 0..self.maps.channels {
            let row = self.maps.row(tile, channel);
            let rows = self.student[row.clone()].iter().zip(&self.teacher[row]);
            let mut gradient = self.part.gradient(tile, channel);
            for (pixel, (of_student, of_teacher)) in rows.enumerate() {
                let mut terms = Lanes::ZERO;
                for lane in 0..LANES {
                    let shifted = f64::from(of_student.0[lane]) - student.largest[pixel][lane];
                    let log_student = shifted * inverse - student.log_sum[pixel][lane];
                    let shifted = f64::from(of_teacher.0[lane]) - teacher.largest[pixel][lane];
                    let log_teacher = shifted * inverse - teacher.log_sum[pixel][lane];
                    let expected = exp(log_teacher);
                    divergence[pixel][lane] += expected * (log_teacher - log_student);
                    let slope = (exp(log_student) - expected) * temperature;
                    let weight = weights[pixel][lane];
                    terms.0[lane] = if weight == 0.0 { 0.0 } else { (slope * weight * self.scale) as f32 };
                }
                if let Some(gradient) = &mut gradient {
                    for (gradient, term) in gradient[pixel].0.iter_mut().zip(terms.0) {
                        *gradient += term;
                    }
                }
            }
        }
        let mut loss = 0.0;
        for (divergence, weights) in divergence.iter().zip(&weights).take(tile.count) {
            for (divergence, &weight) in divergence.iter().zip(weights) {
                if weight != 0.0 {
                    loss += divergence * weight * temperature * temperature * self.scale;
                }
            }
        }
        loss
    }
}

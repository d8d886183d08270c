//! Every operator of the training engine against burn: its output and its gradients, over shapes that are drawn, and the
//! loss curve of a few training steps.
//!
//! burn-flex computes here in f64, and burn-autodiff derives the gradients, so that neither shares code with Taper.

mod combine;
mod convolution;
mod curve;
mod losses;
mod normalisation;
mod oracle;
mod pointwise;
mod pooling;
mod resize;
mod support;

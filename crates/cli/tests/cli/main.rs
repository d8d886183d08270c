//! The `taper` command as its users meet it.

mod adapt;
mod bad_input;
mod command;
mod interrupted;
mod networks;

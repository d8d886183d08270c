//! Memory-planned execution of graphs on the CPU.

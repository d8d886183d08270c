//! A plain document becomes one HTML file, CSV and JSON.

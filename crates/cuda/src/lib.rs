//! CUDA device layer, kernel compilation, kernel map and launches.

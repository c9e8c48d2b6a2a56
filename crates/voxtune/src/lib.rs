//! Sparse 3-D convolution that starts at full speed: layers, registry and embedded tuning caches.

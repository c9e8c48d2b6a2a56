//! Kernel map and sparse convolution on the host: the float64 reference and the fast backend.

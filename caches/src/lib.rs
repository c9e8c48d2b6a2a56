//! caches.

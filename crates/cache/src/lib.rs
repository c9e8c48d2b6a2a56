//! The cache files of voxtune: format, lock, atomic store, merge and lookup.

//! Lists the caches, for `voxtune::embed_caches!()`.

fn main() -> std::io::Result<()> {
    voxtune_embed::caches("caches")
}

//! What a project that depends on voxtune does: tunes its own layers into its own binary. The template
//! of `examples/own_caches`, file by file.

use voxtune::{
    DType, Device, DeviceChoice, Direction, EmbeddedFile, Grade, KernelSize, Operation, ShapeKey,
    Source, Tuner, TunerError,
};
use voxtune_embed::Listing;

use crate::suite::Suite;

#[path = "../../examples/own_caches/xtask/src/layers.rs"]
mod layers;
#[expect(clippy::print_stderr, reason = "a tool of its own, which tells what it does")]
#[path = "../../examples/own_caches/xtask/src/populate.rs"]
mod populate;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("downstream::own_layers_are_tuned_and_embedded", tuned_and_embedded);
    suite.test("downstream::damaged_bytes_are_left_out_or_refused", damaged_bytes);
}

fn leak(listing: &Listing) -> Vec<EmbeddedFile> {
    let file = |path: &std::path::PathBuf| EmbeddedFile {
        name: path.file_name().unwrap().to_str().unwrap().to_owned().leak(),
        bytes: std::fs::read(path).unwrap().leak(),
    };
    listing.files.iter().map(file).collect()
}

fn tuned_and_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let summary =
        populate::populate(layers::grid(), DeviceChoice::Cpu, Some(1), folder.path()).unwrap();
    assert_eq!((summary.requested, summary.measured), (4, 4));

    let listing = Listing::of(folder.path()).unwrap();
    assert_eq!((listing.files.len(), listing.left_out.len()), (1, 0), "{listing:?}");
    assert!(listing.expression().contains("include_bytes!"));
    let tuner = Tuner::builder().files(&leak(&listing)).build_strict().unwrap();
    let device = Device::cpu_with_threads(1).unwrap();
    for channels in layers::grid().channels {
        for direction in Direction::ALL {
            let kernel = KernelSize::submanifold(3).unwrap();
            let operation = Operation::submanifold(
                direction,
                DType::Float32,
                channels.c_in,
                channels.c_out,
                kernel,
            );
            let key = ShapeKey::new(operation, 1_000, 1_000, 4_500);
            let resolution = tuner.resolve(&device, &key).unwrap();
            assert_eq!(*resolution.grade(), Grade::Exact { source: Source::User }, "{resolution}");
        }
    }
}

fn damaged_bytes() {
    let files = [EmbeddedFile { name: "sm_90.msgpack", bytes: b"\x84\xA8checksum\xCFand no more" }];
    let lenient = Tuner::builder().files(&files).build();
    assert!(matches!(lenient.warnings(), [TunerError::Cache(_)]), "{:?}", lenient.warnings());
    let error = Tuner::builder().files(&files).build_strict().unwrap_err();
    assert!(error.to_string().contains("sm_90.msgpack"), "{error}");
}

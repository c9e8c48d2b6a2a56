//! The examples one behind the other, as a person runs them, over a small cloud on the CPU.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output};

use ply_rs_bw::parser::Parser;
use ply_rs_bw::ply::{DefaultElement, Property};
use voxtune::{DType, Device, Voxel, Voxels};
use voxtune_models::SpUNet;
use voxtune_pointcloud::{Generator, generate, read_points};

use common::labels::{CLASSES, labels};
use common::palette::colour;
use common::segmentation;

#[path = "../examples/common"]
mod common {
    pub(crate) mod labels;
    pub(crate) mod palette;
    pub(crate) mod segmentation;
}

const VOXELS: usize = 1_500;

/// `overfit`'s network is what `segment` finds, and its colours are that network's classes.
#[test]
fn what_overfit_learns_segment_shows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let voxels = VOXELS.to_string();
    let run = |name: &str, arguments: &[&str]| {
        let small = ["--device", "cpu", "--voxels", &voxels];
        example(name, folder.path(), &[&small, arguments].concat())
    };

    let refused = run("segment", &[]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && message.contains("--example overfit"), "{message}");

    let failed = run("overfit", &["--steps", "3", "--out", "failed.safetensors"]);
    let message = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && message.contains("accuracy above"), "{message}");
    assert!(!at("failed.safetensors").exists());

    let printed = text(&run("overfit", &[]));
    assert!(number_after(&printed, "accuracy") > 99.0, "{printed}");
    for direction in ["forward", "dgrad", "wgrad"] {
        assert!(printed.contains(&format!("{direction}: 30 convolutions")), "{printed}");
    }

    let printed = text(&run("segment", &["--dtype", "float32", "--frames", "1", "--graph"]));
    assert!(printed.contains("forward: 30 convolutions"), "{printed}");
    assert!(printed.contains("\ngraphs "), "{printed}");
    let cells = generate(Generator::Surface, VOXELS, 1, 0).unwrap();
    let points = coloured_points(&at("segmented.ply"));
    let centre = |cell: &Voxel| [cell.x, cell.y, cell.z].map(|place| (place as f32 + 0.5) * 0.1);
    let places: Vec<[f32; 3]> = points.iter().map(|(place, _)| *place).collect();
    assert!(places.iter().copied().eq(cells.iter().map(centre)));
    let shown: Vec<[u8; 3]> = points.iter().map(|(_, colour)| *colour).collect();
    let predicted = predictions(&at(segmentation::CHECKPOINT), &cells);
    assert!(shown.iter().copied().eq(predicted.into_iter().map(colour)));
    let right =
        labels(&cells).into_iter().zip(&shown).filter(|(label, one)| colour(*label) == **one);
    assert!(right.count() * 100 > 99 * VOXELS);

    // The file is a scan of the same voxels, and float16 shows the same.
    let again = ["segmented.ply", "--ascii", "--out", "again.ply", "--frames", "1", "--compare"];
    let printed = text(&run("segment", &again));
    assert!(number_after(&printed, "difference") < 1.0, "{printed}");
    assert_eq!(read_points(at("again.ply")).unwrap().xyz.len(), VOXELS);
    let again = coloured_points(&at("again.ply"));
    let same = again.iter().zip(&points).filter(|(one, other)| one.1 == other.1).count();
    assert!(same * 100 > 99 * VOXELS, "{same} of {VOXELS}");
}

#[test]
fn classes_have_colours_of_their_own() {
    let colours: BTreeSet<[u8; 3]> = (0..64).map(colour).collect();
    assert!(colours.len() == 64 && 64 >= CLASSES);
}

/// A view of points and one of voxels.
#[test]
fn detect_backbone_draws_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let quick = ["--device", "cpu", "--frames", "1", "--dtype", "float32"];
        text(&example("detect_backbone", folder.path(), &[&quick, arguments].concat()))
    };
    let printed = run(&["--voxels", "1000", "--scale", "3", "--graph"]);
    assert!(printed.contains("random weights") && printed.contains("\ngraphs "), "{printed}");
    assert!(printed.contains("forward: 21 convolutions"), "{printed}");
    let cells = generate(Generator::Surface, 1_000, 1, 0).unwrap();
    let extent = |axis: fn(&Voxel) -> i32| 1 + cells.iter().map(axis).max().unwrap() as u32;
    let (width, height) = (extent(|cell| cell.x), extent(|cell| cell.y));
    let image = Image::read(&folder.path().join("bev.png"));
    assert_eq!(image.size, [3 * width.div_ceil(8), 3 * height.div_ceil(8)]);
    assert!(image.lit() > 0);

    // A wall along y at the far end of x: at the right edge of the image, from bottom to top.
    let points = (0..400).flat_map(|step| [7.9, -4.0 + 0.02 * step as f32, 0.5, 0.0]);
    let bytes: Vec<u8> = points.flat_map(f32::to_le_bytes).collect();
    std::fs::write(folder.path().join("wall.bin"), bytes).unwrap();
    let range = ["--range", "0,-4,-2,8,4,2", "--voxel-size", "0.1,0.1,0.1", "--scale", "1"];
    run(&[&["wall.bin", "--out", "wall.png"], &range[..]].concat());
    let image = Image::read(&folder.path().join("wall.png"));
    assert_eq!(image.size, [10, 10]);
    let columns: BTreeSet<usize> = image.lit_pixels().map(|pixel| pixel % 10).collect();
    assert!(columns.contains(&9) && !columns.contains(&0), "{columns:?}");
    assert_eq!(image.lit_pixels().filter(|pixel| pixel % 10 == 9).count(), 10);
}

/// Runs an example beside this test, which cargo has built with it.
fn example(name: &str, folder: &Path, arguments: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples");
    let program = built.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "no {}: `cargo test -p voxtune-models` builds it", program.display());
    let mut command = Command::new(program);
    // Nobody's own decisions count.
    command.args(arguments).current_dir(folder).env("VOXTUNE_CACHE_DIR", folder);
    command.output().unwrap()
}

/// What a program printed that has succeeded.
fn text(output: &Output) -> String {
    let [printed, errors] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{printed}{errors}");
    printed
}

/// The percentage in a line that begins so.
fn number_after(printed: &str, label: &str) -> f64 {
    let line = printed.lines().find(|line| line.starts_with(label)).unwrap();
    let before = line.split('%').next().unwrap();
    before.split_whitespace().last().unwrap().parse().unwrap()
}

/// The places and colours of a PLY file.
fn coloured_points(path: &Path) -> Vec<([f32; 3], [u8; 3])> {
    let mut file = BufReader::new(File::open(path).unwrap());
    let ply = Parser::<DefaultElement>::new().read_ply(&mut file).unwrap();
    let point = |vertex: &DefaultElement| {
        let place = ["x", "y", "z"].map(|name| match vertex[name] {
            Property::Float(value) => value,
            ref other => panic!("{name}: {other:?}"),
        });
        let colour = ["red", "green", "blue"].map(|name| match vertex[name] {
            Property::UChar(value) => value,
            ref other => panic!("{name}: {other:?}"),
        });
        (place, colour)
    };
    ply.payload["vertex"].iter().map(point).collect()
}

/// The classes of voxels by a network that was not fused.
fn predictions(checkpoint: &Path, cells: &[Voxel]) -> Vec<u32> {
    let device = Device::cpu().unwrap();
    let network = SpUNet::from_safetensors(checkpoint, &device).unwrap();
    let voxels = Voxels::new(&device, cells.to_vec()).unwrap();
    let input = segmentation::input(voxels, DType::Float32, 4).unwrap();
    segmentation::predictions(network.forward(&input).unwrap().features()).unwrap()
}

/// A PNG.
struct Image {
    size: [u32; 2],
    pixels: Vec<[u8; 3]>,
}

impl Image {
    fn read(path: &Path) -> Self {
        let decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        let pixels = bytes.as_chunks::<3>().0.to_vec();
        assert_eq!(pixels.len() as u32, info.width * info.height);
        Self { size: [info.width, info.height], pixels }
    }

    fn lit_pixels(&self) -> impl Iterator<Item = usize> {
        (0..self.pixels.len()).filter(|pixel| self.pixels[*pixel] != [0; 3])
    }

    fn lit(&self) -> usize {
        self.lit_pixels().count()
    }
}

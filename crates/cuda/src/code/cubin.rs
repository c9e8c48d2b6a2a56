//! Reading a cubin: its machine code, apart from what a compiler writes around it.
//!
//! Every program of a user's has this reader, so it is these few lines and not the crate `object`,
//! which is two packages more to compile. Tests compare both.

use xxhash_rust::xxh3::Xxh3;

/// Hash of the machine code and constants of a cubin, an ELF file of 64 bits; `None` if it is none.
///
/// Sections named `.text.*` and `.nv.constant*` count, in file order, with their names. Notes,
/// symbol tables and file names do not, so that a rebuild elsewhere gives the same hash.
pub(super) fn machine_code_hash(elf: &[u8]) -> Option<u64> {
    const SECTION_HEADER_BYTES: usize = 64;
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let table = usize::try_from(read_u64(elf, 0x28)?).ok()?;
    let count = usize::from(read_u16(elf, 0x3c)?);
    let names_index = usize::from(read_u16(elf, 0x3e)?);
    let header = |index: usize| {
        let start = table.checked_add(index.checked_mul(SECTION_HEADER_BYTES)?)?;
        elf.get(start..start.checked_add(SECTION_HEADER_BYTES)?)
    };
    let contents = |header: &[u8]| {
        let start = usize::try_from(read_u64(header, 0x18)?).ok()?;
        let length = usize::try_from(read_u64(header, 0x20)?).ok()?;
        elf.get(start..start.checked_add(length)?)
    };
    let names = contents(header(names_index)?)?;
    let mut hasher = Xxh3::new();
    let mut code_sections = 0;
    for index in 0..count {
        let header = header(index)?;
        let name = names.get(read_u32(header, 0)? as usize..)?;
        let name = &name[..name.iter().position(|&byte| byte == 0)?];
        if name.starts_with(b".text.") || name.starts_with(b".nv.constant") {
            hasher.update(name);
            hasher.update(contents(header)?);
            code_sections += usize::from(name.starts_with(b".text."));
        }
    }
    (code_sections > 0).then(|| hasher.digest())
}

/// Hash of a text of PTX; `None` if it is none, or the driver would not see its end.
pub(super) fn ptx_hash(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_ptx = text.lines().any(|line| line.starts_with(".version "));
    (is_ptx && !text.contains('\0')).then(|| xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ELF file with a section of names, one of code and one more.
    fn elf(code: &[u8], note: &[u8]) -> Vec<u8> {
        let names = b"\0.names\0.text.k\0.note\0";
        let sections: [(u32, &[u8]); 3] = [(1, names), (8, code), (16, note)];
        // Of 64 bits, little-endian, version 1.
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        // The first section of a file is none.
        let mut headers = vec![0_u8; 64];
        for (name, contents) in sections {
            let mut header = [0_u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            // A table of names, or what a program defines.
            header[4] = if contents == names { 3 } else { 1 };
            header[0x18..0x20].copy_from_slice(&(file.len() as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(contents.len() as u64).to_le_bytes());
            headers.extend(header);
            file.extend(contents);
        }
        let table = file.len() as u64;
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&4_u16.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&1_u16.to_le_bytes());
        file.extend(headers);
        file
    }

    /// The same by the library of ELF files.
    fn by_object(bytes: &[u8]) -> Option<u64> {
        use object::LittleEndian;
        use object::elf::FileHeader64;
        use object::read::elf::{FileHeader as _, SectionHeader as _};

        let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
        let sections = header.sections(LittleEndian, bytes).ok()?;
        let (mut hasher, mut code_sections) = (Xxh3::new(), 0);
        for section in sections.iter() {
            let name = sections.section_name(LittleEndian, section).ok()?;
            let is_code = name.starts_with(b".text.");
            if is_code || name.starts_with(b".nv.constant") {
                // A section that takes no room in the file has no code; no compiler writes one.
                (section.sh_type(LittleEndian) != object::elf::SHT_NOBITS).then_some(())?;
                hasher.update(name);
                hasher.update(section.data(LittleEndian, bytes).ok()?);
                code_sections += usize::from(is_code);
            }
        }
        (code_sections > 0).then(|| hasher.digest())
    }

    proptest! {
        /// Damaged files are refused by either or read alike.
        #[test]
        fn a_file_is_read_as_the_library_of_elf_files_reads_it(
            code in prop::collection::vec(any::<u8>(), 0..200),
            note in prop::collection::vec(any::<u8>(), 0..50),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut file = elf(&code, &note);
            prop_assert_eq!(machine_code_hash(&file), by_object(&file));
            for (place, byte) in flips {
                let place = place.index(file.len());
                file[place] = byte;
            }
            if let (Some(ours), Some(theirs)) = (machine_code_hash(&file), by_object(&file)) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn only_code_counts() {
        let base = machine_code_hash(&elf(b"code", b"note")).unwrap();
        assert_eq!(machine_code_hash(&elf(b"code", b"another")), Some(base));
        assert_ne!(machine_code_hash(&elf(b"codf", b"note")), Some(base));
    }

    #[test]
    fn ptx_is_text_with_a_version_and_an_end() {
        let text = b"//\n.version 9.0\n.target sm_80\n";
        assert!(ptx_hash(text).is_some());
        assert_ne!(ptx_hash(text), ptx_hash(b"//\n.version 9.0\n.target sm_90\n"));
        assert_eq!(ptx_hash(b".target sm_80\n"), None);
        assert_eq!(ptx_hash(b".version 9.0\n\0"), None);
        assert_eq!(ptx_hash(b".version 9.0\n\xff"), None);
    }

    #[test]
    fn a_truncated_or_foreign_file_is_refused() {
        let file = elf(b"code", b"note");
        for length in 0..file.len() {
            assert_eq!(machine_code_hash(&file[..length]), None, "{length}");
        }
        assert_eq!(machine_code_hash(&[0x41; 4096]), None);
    }
}

//! Reading a disassembly: instructions, labels, and the registers of each instruction.
//!
//! nvdisasm draws a column a register beside its code: `^` where an instruction writes it, `v`
//! where it reads it, `x` where it does both. So no table of opcodes is needed here.

use std::collections::HashMap;

use super::registers::Registers;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Bytes from the start of its section.
    pub(super) address: u32,
    /// Whether it is executed under a predicate, so perhaps not.
    pub(super) predicated: bool,
    pub(super) opcode: String,
    pub(super) operands: String,
    pub(super) reads: Registers,
    pub(super) writes: Registers,
}

/// A section of code: a kernel with the functions that are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// The kernel's name.
    pub(super) name: String,
    pub(super) instructions: Vec<Instruction>,
    /// Names of places, by the number of the instruction that follows.
    pub(super) labels: HashMap<String, usize>,
}

impl Instruction {
    /// The instruction as nvdisasm writes it, without its predicate.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.opcode, self.operands).trim_end().to_owned()
    }

    /// Labels that its operands name.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        let named = self.operands.split("`(").skip(1);
        named.filter_map(|rest| Some(rest.split_once(')')?.0))
    }
}

/// What introduces the columns of registers in a line.
const COLUMNS: &str = "// |";

/// The sections of a disassembly.
///
/// # Errors
/// The line that could not be read.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    let mut columns = Columns::default();
    for line in text.lines() {
        if let Some(name) = section_name(line) {
            sections.push(Section { name: name.to_owned(), ..Section::default() });
            columns = Columns::default();
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        let (code, drawn) = match line.find(COLUMNS) {
            Some(at) => (line[..at].trim(), &line[at + COLUMNS.len()..]),
            None => (line.split("//").next().unwrap_or_default().trim(), ""),
        };
        if code.is_empty() {
            columns.read_header(drawn);
        } else if let Some(label) = code.strip_suffix(':') {
            section.labels.insert(label.to_owned(), section.instructions.len());
        } else if code.starts_with("/*") {
            let unreadable = || format!("an instruction that cannot be read: {line}");
            let instruction = instruction(code, drawn, &columns).ok_or_else(unreadable)?;
            section.instructions.push(instruction);
        }
    }
    Ok(sections)
}

/// `.section .text.NAME,...` begins a section of code.
fn section_name(line: &str) -> Option<&str> {
    line.trim_start()
        .strip_prefix(".section")?
        .trim_start()
        .strip_prefix(".text.")?
        .split(',')
        .next()
}

/// `/*0e20*/ @!P4 LDSM.16.M88.4 R88, [R88] ;`
fn instruction(code: &str, drawn: &str, columns: &Columns) -> Option<Instruction> {
    let (address, rest) = code.strip_prefix("/*")?.split_once("*/")?;
    let mut rest = rest.trim().strip_suffix(';')?.trim();
    let predicated = rest.starts_with('@');
    if predicated {
        rest = rest.split_once(' ')?.1.trim_start();
    }
    let (opcode, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    let (reads, writes) = columns.registers(drawn)?;
    Some(Instruction {
        address: u32::from_str_radix(address, 16).ok()?,
        predicated,
        opcode: opcode.to_owned(),
        operands: operands.trim().to_owned(),
        reads,
        writes,
    })
}

/// Where in a line each general register is drawn.
#[derive(Clone, Debug, Default)]
struct Columns {
    /// Lines of digits above the last one: hundreds and tens of the registers' numbers.
    upper: Vec<String>,
    /// Places with their registers, once the last line of the header is read.
    places: Option<Vec<(usize, u8)>>,
}

impl Columns {
    /// A line of a section's header. The last one holds the last digits, behind a `#`.
    fn read_header(&mut self, line: &str) {
        if self.places.is_some() || !line.contains('|') {
            return;
        }
        // General registers are the first group of columns.
        let end = line.find('|').unwrap_or(line.len());
        let Some(number) = line[..end].find('#') else {
            self.upper.push(line.to_owned());
            return;
        };
        let digit = |line: &str, at: usize| match line.as_bytes().get(at) {
            Some(digit @ b'0'..=b'9') => u16::from(digit - b'0'),
            _ => 0,
        };
        let lines = || self.upper.iter().map(String::as_str).chain([line]);
        let number_at = |at| lines().fold(0, |number, line| number * 10 + digit(line, at));
        let is_digit = |at: &usize| line.as_bytes()[*at].is_ascii_digit();
        let places = (number + 1..end).filter(is_digit);
        let numbered = places.map(|at| Some((at, u8::try_from(number_at(at)).ok()?)));
        self.places = numbered.collect();
    }

    /// The registers that an instruction reads and writes.
    fn registers(&self, drawn: &str) -> Option<(Registers, Registers)> {
        let (mut reads, mut writes) = (Registers::default(), Registers::default());
        for &(at, register) in self.places.as_ref()? {
            match drawn.as_bytes().get(at)? {
                b'v' => reads.insert(register),
                b'^' => writes.insert(register),
                b'x' => {
                    reads.insert(register);
                    writes.insert(register);
                }
                b':' | b' ' => {}
                _ => return None,
            }
        }
        Some((reads, writes))
    }
}

//! Instructions that touch registers of a product in flight.
//!
//! A product reads its operands and writes its sums some time after its instruction. Products that
//! a thread has issued complete in order. `gsb0` at a product closes a group, and
//! `WARPGROUP.DEPBAR.LE gsb0, N` waits until at most N groups are incomplete. A product is complete
//! behind it if more than N groups have been closed since, its own included. What may be incomplete
//! at an instruction is the union over all ways that lead there, with the least number of groups
//! closed since.

use std::fmt;

use super::listing::{Instruction, Section, parse};
use super::registers::Registers;

/// An instruction that touches registers which a product may still read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hazard {
    kernel: String,
    address: u32,
    instruction: String,
    does: &'static str,
    register: u8,
    product_address: u32,
    product: String,
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, address, instruction, does, register, .. } = self;
        write!(
            f,
            "{kernel}+{address:#x}: {instruction} {does} R{register} while {} at {:#x} may be pending",
            self.product, self.product_address
        )
    }
}

/// The hazards of a disassembly, in its order, the first of each instruction.
///
/// # Errors
/// What about the disassembly could not be understood.
pub(crate) fn hazards(disassembly: &str) -> Result<Vec<Hazard>, String> {
    let sections = parse(disassembly)?;
    if sections.iter().all(|section| section.instructions.is_empty()) {
        return Err("there are no instructions".to_owned());
    }
    let mut found = Vec::new();
    for section in &sections {
        hazards_of(section, &mut found).map_err(|reason| format!("{}: {reason}", section.name))?;
    }
    Ok(found)
}

/// A product with registers of its own.
struct Product {
    /// The number of its instruction.
    at: usize,
    /// What it reads and does not write.
    sources: Registers,
    /// What it writes: its sums.
    sums: Registers,
}

/// Groups closed since each product was issued; [`COMPLETE`] once nothing of it is pending.
type Pending = Vec<u8>;
const COMPLETE: u8 = u8::MAX;
/// More groups than any wait counts: from here on the number stands still.
const MOST_GROUPS: u8 = 64;

fn hazards_of(section: &Section, found: &mut Vec<Hazard>) -> Result<(), String> {
    let with_registers = |(at, one): (usize, &Instruction)| {
        let (sources, sums) = (one.reads.without(one.writes), one.writes);
        let product = Product { at, sources, sums };
        (one.is_product() && !one.reads.or(one.writes).is_empty()).then_some(product)
    };
    let products: Vec<Product> =
        section.instructions.iter().enumerate().filter_map(with_registers).collect();
    if products.is_empty() {
        return Ok(());
    }
    let states = pending(section, &products)?;
    for (instruction, state) in section.instructions.iter().zip(states) {
        let Some(state) = state else { continue };
        let in_flight = products.iter().zip(state).filter(|(_, groups)| *groups != COMPLETE);
        let mut touched = in_flight.filter_map(|(product, _)| {
            let (does, register) = touch(instruction, product)?;
            let of = &section.instructions[product.at];
            Some(Hazard {
                kernel: section.name.clone(),
                address: instruction.address,
                instruction: instruction.text(),
                does,
                register,
                product_address: of.address,
                product: of.text(),
            })
        });
        found.extend(touched.next());
    }
    Ok(())
}

/// What an instruction does to the registers of a product in flight, if it may not.
fn touch(instruction: &Instruction, product: &Product) -> Option<(&'static str, u8)> {
    let (mut reads, mut writes) = (instruction.reads, instruction.writes);
    // Products onto the same sums follow each other in the tensor cores.
    if instruction.is_product() && writes == product.sums {
        (reads, writes) = (reads.without(writes), Registers::default());
    }
    let overwritten = writes.and(product.sources.or(product.sums)).first();
    let read = reads.and(product.sums).first();
    overwritten.map(|register| ("writes", register)).or(read.map(|register| ("reads", register)))
}

/// What may be pending before each instruction; `None` where nothing leads to it.
fn pending(section: &Section, products: &[Product]) -> Result<Vec<Option<Pending>>, String> {
    let mut states: Vec<Option<Pending>> = vec![None; section.instructions.len()];
    states[0] = Some(vec![COMPLETE; products.len()]);
    let mut changed = vec![0];
    while let Some(at) = changed.pop() {
        let Some(mut state) = states[at].clone() else { continue };
        step(&section.instructions[at], at, products, &mut state)?;
        for next in section.successors(at)? {
            let merged = match &states[next] {
                None => state.clone(),
                Some(old) => old.iter().zip(&state).map(|(a, b)| *a.min(b)).collect(),
            };
            if states[next].as_ref() != Some(&merged) {
                states[next] = Some(merged);
                changed.push(next);
            }
        }
    }
    Ok(states)
}

/// What one instruction does to what is pending.
fn step(
    instruction: &Instruction,
    at: usize,
    products: &[Product],
    state: &mut Pending,
) -> Result<(), String> {
    if let Some(index) = products.iter().position(|product| product.at == at) {
        state[index] = 0;
    }
    // What is perhaps not executed closes and retires nothing for certain.
    if instruction.is_product() && instruction.closes_group()? && !instruction.predicated {
        for groups in state.iter_mut().filter(|groups| **groups != COMPLETE) {
            *groups = (*groups + 1).min(MOST_GROUPS);
        }
    }
    if let Some(left) = instruction.wait()?.filter(|_| !instruction.predicated) {
        state.iter_mut().filter(|groups| **groups > left).for_each(|groups| *groups = COMPLETE);
    }
    Ok(())
}

impl Instruction {
    /// Whether it is a product of a warpgroup, of any type.
    fn is_product(&self) -> bool {
        self.opcode.split('.').next().is_some_and(|kind| kind.ends_with("GMMA"))
    }

    /// Whether a product is the last of its group.
    fn closes_group(&self) -> Result<bool, String> {
        match self.operands.rsplit(',').next().map(str::trim) {
            Some("gsb0") => Ok(true),
            Some(other) if other.starts_with("gsb") => {
                Err(format!("a count of groups that is not gsb0: {}", self.text()))
            }
            _ => Ok(false),
        }
    }

    /// Most groups that are incomplete behind a wait for products; `None` for anything else.
    fn wait(&self) -> Result<Option<u8>, String> {
        if !self.opcode.starts_with("WARPGROUP.DEPBAR") {
            return Ok(None);
        }
        let left = (self.opcode == "WARPGROUP.DEPBAR.LE")
            .then(|| self.operands.strip_prefix("gsb0, 0x"))
            .flatten()
            .and_then(|left| u8::from_str_radix(left, 16).ok())
            .filter(|&left| left < MOST_GROUPS);
        left.map(Some).ok_or_else(|| format!("a wait of an unknown form: {}", self.text()))
    }
}

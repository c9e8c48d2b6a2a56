//! Which instructions may follow one.

use super::listing::{Instruction, Section};

impl Section {
    /// The numbers of the instructions that may be next after one. Too many rather than too few.
    ///
    /// # Errors
    /// A jump whose target the disassembly does not name.
    pub(super) fn successors(&self, at: usize) -> Result<Vec<usize>, String> {
        let instruction = &self.instructions[at];
        let kind = instruction.opcode.split('.').next().unwrap_or_default();
        let mut next = match kind {
            // Threads that have parted meet where BSSY says; they go there by BSYNC, not from here.
            "BSSY" => Vec::new(),
            "BSYNC" => return self.behind_sync(at),
            "RET" => self.behind_calls(),
            "BRX" | "JMX" | "JMP" if instruction.labels().next().is_none() => {
                return Err(format!("a jump to an unnamed place: {}", instruction.text()));
            }
            _ => instruction.labels().map(|label| self.place(label)).collect::<Result<_, _>>()?,
        };
        if !instruction.leaves() {
            next.push(at + 1);
        }
        next.retain(|&next| next < self.instructions.len());
        Ok(next)
    }

    fn place(&self, label: &str) -> Result<usize, String> {
        let found = self.labels.get(label).copied();
        found.ok_or_else(|| format!("a jump to {label}, which is nowhere"))
    }

    /// Behind each call: where a function returns to.
    fn behind_calls(&self) -> Vec<usize> {
        let calls = self.instructions.iter().enumerate();
        calls.filter(|(_, one)| one.opcode.starts_with("CALL")).map(|(at, _)| at + 1).collect()
    }

    /// Behind a BSYNC: the next instruction, where a BSSY of the same barrier names it. In all that
    /// nvcc was seen to make it does. Elsewhere: every place that such a BSSY names.
    fn behind_sync(&self, at: usize) -> Result<Vec<usize>, String> {
        let sync = &self.instructions[at];
        let barrier = sync.operands.as_str();
        let of_barrier = |one: &&Instruction| {
            one.opcode.starts_with("BSSY")
                && one.operands.split(',').next().is_some_and(|name| name.trim() == barrier)
        };
        let named = self.instructions.iter().filter(of_barrier);
        let mut places: Vec<usize> = named
            .flat_map(|one| one.labels())
            .map(|label| self.place(label))
            .collect::<Result<_, _>>()?;
        if places.is_empty() {
            return Err(format!("a BSYNC of {barrier}, which no BSSY names"));
        }
        if places.contains(&(at + 1)) {
            return Ok(vec![at + 1]);
        }
        if sync.predicated {
            places.push(at + 1);
        }
        places.retain(|&place| place < self.instructions.len());
        Ok(places)
    }
}

impl Instruction {
    /// Whether it never goes on to the instruction behind it.
    fn leaves(&self) -> bool {
        let always = !self.predicated;
        match self.opcode.as_str() {
            "EXIT" => always && self.operands.is_empty(),
            // A branch may have a predicate among its operands.
            "BRA" => always && self.operands.starts_with('`'),
            other => {
                always
                    && ["RET", "BRX", "JMX", "JMP"].contains(&other.split('.').next().unwrap_or(""))
            }
        }
    }
}

//! How wide a page of output is, and how lines are broken to fit it.

use std::io::{IsTerminal, stderr, stdout};
use std::ops::Range;

use terminal_size::{Width, terminal_size_of};

/// Where neither a terminal nor `COLUMNS` says otherwise.
const USUAL_WIDTH: usize = 80;

/// Less is no page: lines are longer then.
const LEAST_WIDTH: usize = 40;

/// A blank at which no line is broken: it is printed as any other.
pub(crate) const FIXED_BLANK: char = '\u{a0}';

/// Columns of standard output: the terminal's, else `COLUMNS`, else 80.
pub(crate) fn width_of_stdout() -> usize {
    let terminal = stdout().is_terminal().then(|| terminal_size_of(stdout())).flatten();
    width(terminal.map(|(Width(columns), _)| columns))
}

/// The same of standard error.
pub(crate) fn width_of_stderr() -> usize {
    let terminal = stderr().is_terminal().then(|| terminal_size_of(stderr())).flatten();
    width(terminal.map(|(Width(columns), _)| columns))
}

fn width(terminal: Option<u16>) -> usize {
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.map(usize::from).or_else(variable).unwrap_or(USUAL_WIDTH);
    width.max(LEAST_WIDTH)
}

/// The parts of a line that fit a page, as ranges of its bytes; each after the first stands behind
/// `hang` blanks.
///
/// A line is broken at blanks, but for [`FIXED_BLANK`]s. A word that fills a line by itself is
/// broken behind a colon or a comma, as names of algorithms and lists have them. What has neither,
/// such as a path, stays whole: nobody can use half of it.
pub(crate) fn broken(line: &str, width: usize, hang: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut room) = (0, width);
    while columns(&line[start..]) > room {
        let end = start + first_part(&line[start..], room);
        parts.push(start..end);
        start = end + blanks(&line[end..]);
        room = width.saturating_sub(hang).max(1);
    }
    if start < line.len() || parts.is_empty() {
        parts.push(start..line.len());
    }
    parts
}

/// How many bytes of a line that is too long stand in its first part.
fn first_part(line: &str, room: usize) -> usize {
    let indent = blanks(line);
    let most = line.char_indices().nth(room).map_or(line.len(), |(at, _)| at);
    // The blank behind a part need not fit.
    let with_next = line[most..].chars().next().map_or(most, |next| most + next.len_utf8());
    let at_blank = line[..with_next].rfind(' ').map(|at| line[..at].trim_end().len());
    if let Some(at) = at_blank.filter(|&at| at > indent) {
        return at;
    }
    if let Some(at) = line[..most].rfind([':', ',']).filter(|&at| at > indent) {
        return at + 1;
    }
    line[indent..].find(' ').map_or(line.len(), |at| indent + at)
}

/// Columns that a text takes on a page.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Blanks that a line begins with.
pub(crate) fn blanks(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(line: &str, width: usize, hang: usize) -> Vec<&str> {
        broken(line, width, hang).into_iter().map(|range| &line[range]).collect()
    }

    #[test]
    fn lines_are_broken_at_blanks_and_long_names_at_their_colons() {
        assert_eq!(parts("a short one", 11, 2), ["a short one"]);
        assert_eq!(parts("  runs  one two three", 13, 8), ["  runs  one", "two", "three"]);
        let name = "    wgmma_gemm:rows=128:cols=256:depth=64";
        assert_eq!(parts(name, 30, 6), ["    wgmma_gemm:rows=128:", "cols=256:depth=64"]);
        assert_eq!(parts("  a name:of=two:parts", 14, 4), ["  a", "name:", "of=two:", "parts"]);
        assert_eq!(
            parts("see /a/path/that/is/long now", 12, 2),
            ["see", "/a/path/that/is/long", "now"]
        );
        assert_eq!(parts("→→→ →→→", 3, 0), ["→→→", "→→→"]);
        assert_eq!(parts("", 10, 2), [""]);
        assert_eq!(parts("  runs\u{a0}\u{a0}a:b:c", 11, 8), ["  runs\u{a0}\u{a0}a:", "b:c"]);
        assert_eq!(parts("one two\u{a0}three", 10, 0), ["one", "two\u{a0}three"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_everything_fits(
            line in "( ){0,6}([a-c→:,]{1,12}( ){1,3}){0,12}",
            width in 20_usize..60,
            hang in 0_usize..8,
        ) {
            let parts = parts(&line, width, hang);
            for (number, part) in parts.iter().enumerate() {
                let room = if number == 0 { width } else { width - hang };
                prop_assert!(columns(part) <= room, "{parts:?}");
            }
            let solid = |text: &str| text.chars().filter(|char| *char != ' ').collect::<String>();
            prop_assert_eq!(solid(&parts.concat()), solid(&line));
        }
    }
}

//! Lines of output, in which some parts have a meaning that a terminal shows by a colour.

use std::fmt::{self, Display, Write};
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use voxtune_types::printable;

use crate::page::{FIXED_BLANK, blanks, broken, columns};

/// What a part of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The algorithm that runs.
    Winner,
    /// How a choice was found.
    Grade,
    /// What is doubtful.
    Warning,
    /// What is wrong.
    Error,
}

impl Meaning {
    const fn style(self) -> Style {
        let color = match self {
            Self::Winner => AnsiColor::Green,
            Self::Grade => AnsiColor::Cyan,
            Self::Warning => AnsiColor::Yellow,
            Self::Error => AnsiColor::Red,
        };
        let style = color.on_default();
        if matches!(self, Self::Warning | Self::Error) { style.bold() } else { style }
    }
}

/// A line. Whatever is put into it is [made printable](printable()), so that only
/// [meanings](Meaning) steer the terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    text: String,
    /// Parts with a meaning, in their order.
    meanings: Vec<(Range<usize>, Meaning)>,
    /// Blanks before what does not fit the first line.
    hang: usize,
}

/// What is printed, line by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    lines: Vec<Line>,
}

impl Text {
    /// A new line; what does not fit it stands behind so many blanks.
    pub(crate) fn line(&mut self, hang: usize) -> &mut Line {
        self.lines.push(Line { hang, ..Line::default() });
        self.lines.last_mut().expect("a line was pushed")
    }

    /// Adds the lines of a text, each indented as its first blanks or its label say.
    pub(crate) fn lines_of(&mut self, text: &str) {
        for line in text.lines() {
            self.line(hang_of(line)).push(line);
        }
    }

    /// All of it on a page of this width.
    pub(crate) fn render(&self, width: usize, colours: bool) -> String {
        self.lines.iter().map(|line| line.render(width, colours)).collect()
    }
}

/// Where the further lines of a broken line begin if the line does not say so. That is below what
/// stands behind its label, such as `device    `, else a little further in than the line.
fn hang_of(line: &str) -> usize {
    const LONGEST_LABEL: usize = 14;
    let indent = blanks(line);
    let label = line[indent..].find("  ").map_or(usize::MAX, |at| indent + at);
    if label <= LONGEST_LABEL {
        let behind = label + blanks(&line[label..]);
        if behind <= LONGEST_LABEL && behind < line.len() {
            return behind;
        }
    }
    indent + 2
}

impl Line {
    /// Adds a part.
    pub(crate) fn push(&mut self, part: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self, "{part}");
        self
    }

    /// Adds a part with a meaning.
    pub(crate) fn push_as(&mut self, meaning: Meaning, part: impl Display) -> &mut Self {
        let start = self.text.len();
        self.push(part);
        self.meanings.push((start..self.text.len(), meaning));
        self
    }

    /// Adds a label and as many blanks as make it this wide, none of which breaks the line.
    pub(crate) fn label(&mut self, label: impl Display, width: usize) -> &mut Self {
        let label = label.to_string();
        let rest = width.saturating_sub(columns(&label)).max(1);
        self.push(label);
        self.text.extend(std::iter::repeat_n(FIXED_BLANK, rest));
        self
    }

    fn render(&self, width: usize, colours: bool) -> String {
        let mut all = String::new();
        for (number, part) in broken(&self.text, width, self.hang).into_iter().enumerate() {
            if number > 0 {
                all.extend(std::iter::repeat_n(' ', self.hang));
            }
            if colours {
                self.render_in_colours(part, &mut all);
            } else {
                all.push_str(self.text[part].trim_end());
            }
            all.push('\n');
        }
        if all.contains(FIXED_BLANK) { all.replace(FIXED_BLANK, " ") } else { all }
    }

    fn render_in_colours(&self, part: Range<usize>, all: &mut String) {
        let mut at = part.start;
        for (range, meaning) in &self.meanings {
            let (start, end) = (range.start.max(at), range.end.min(part.end));
            if start >= end {
                continue;
            }
            all.push_str(&self.text[at..start]);
            let style = meaning.style();
            let _ = write!(all, "{style}{}{style:#}", &self.text[start..end]);
            at = end;
        }
        all.push_str(&self.text[at..part.end]);
    }
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.text.push_str(&printable(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_meanings_and_follow_a_line_that_is_broken() {
        let mut text = Text::default();
        text.line(4).push("  runs ").push_as(Meaning::Winner, "one:two three").push(" now");
        assert_eq!(text.render(80, false), "  runs one:two three now\n");
        assert_eq!(text.render(16, false), "  runs one:two\n    three now\n");
        let coloured = text.render(16, true);
        let (on, off) = ("\u{1b}[32m", "\u{1b}[0m");
        assert_eq!(coloured, format!("  runs {on}one:two{off}\n    {on}three{off} now\n"));
    }

    #[test]
    fn a_label_stays_with_what_it_labels() {
        let mut text = Text::default();
        text.line(7).label("  runs", 7).push("one:two:three");
        assert_eq!(text.render(80, false), "  runs one:two:three\n");
        assert_eq!(text.render(15, false), "  runs one:two:\n       three\n");
    }

    #[test]
    fn f19_only_meanings_steer_a_terminal() {
        let mut text = Text::default();
        text.line(0).push("ev\u{1b}[31mil\nforged");
        assert_eq!(text.render(80, true), "ev\\u{1b}[31mil\\nforged\n");
    }

    #[test]
    fn what_does_not_fit_stands_below_its_label() {
        let hangs =
            ["device    a", "  runs       a", "  a b c", "plain  text", "     stale  a", ""];
        assert_eq!(hangs.map(hang_of), [10, 13, 4, 7, 12, 2]);
    }
}

//! A long text, piece by piece.

use std::io::{self, ErrorKind, Read};

/// Bytes of a piece, about: texts up to this are encoded whole.
const SIZE: usize = 16 << 20;

/// Pieces of a text of any size. They end ahead of a line whose first character is no blank, which is
/// where tokenizers cut, too; a text without such lines is cut between characters.
pub struct Pieces<R> {
    input: R,
    size: usize,
    /// Read and not given out.
    rest: Vec<u8>,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    pub fn new(input: R) -> Self {
        Self::of_size(input, SIZE)
    }

    fn of_size(input: R, size: usize) -> Self {
        Self {
            input,
            size,
            rest: Vec::new(),
            ended: false,
        }
    }

    fn next_piece(&mut self) -> io::Result<Option<String>> {
        while !self.ended && self.rest.len() < 2 * self.size {
            let wanted = 2 * self.size - self.rest.len();
            let read = (&mut self.input)
                .take(wanted as u64)
                .read_to_end(&mut self.rest)?;
            self.ended = read == 0;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = match self.rest.len() <= self.size {
            true => self.rest.len(),
            false => cut(&self.rest, self.size),
        };
        let rest = self.rest.split_off(end);
        let piece = std::mem::replace(&mut self.rest, rest);
        let text = String::from_utf8(piece);
        text.map(Some).map_err(|error| {
            let reason = format!("the text is not UTF-8: {}", error.utf8_error());
            io::Error::new(ErrorKind::InvalidData, reason)
        })
    }
}

impl<R: Read> Iterator for Pieces<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().transpose()
    }
}

/// Where to cut, at `size` or a little behind.
fn cut(text: &[u8], size: usize) -> usize {
    let line = |i: &usize| text[i - 1] == b'\n' && !text[*i].is_ascii_whitespace();
    let character = |i: &usize| text[*i] & 0xc0 != 0x80;
    (size..text.len())
        .find(line)
        .or_else(|| (size..text.len()).find(character))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_end_where_lines_do() {
        let text = "one\ntwo\n\n  three\nfour é\nfive";
        for size in 1..40 {
            let pieces = Pieces::of_size(text.as_bytes(), size);
            let pieces: Vec<String> = pieces.map(Result::unwrap).collect();
            assert_eq!(pieces.concat(), text, "{size}");
        }
        let mut pieces = Pieces::of_size(text.as_bytes(), 12);
        assert_eq!(pieces.next().unwrap().unwrap(), "one\ntwo\n\n  three\n");
    }

    #[test]
    fn text_without_lines_is_cut_between_characters() {
        let text = "éèê".repeat(20);
        for size in 1..20 {
            let pieces = Pieces::of_size(text.as_bytes(), size);
            let pieces: Vec<String> = pieces.map(Result::unwrap).collect();
            assert!(pieces.len() > 1);
            assert_eq!(pieces.concat(), text);
        }
        assert!(Pieces::of_size(&b"a\xff"[..], 9).next().unwrap().is_err());
        assert!(Pieces::of_size(&b""[..], 9).next().is_none());
    }
}

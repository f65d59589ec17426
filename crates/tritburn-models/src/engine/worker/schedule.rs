//! What a step computes.

use super::super::MIN_PART;

/// The next `count` tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Index of the sequence among those that run.
    pub sequence: usize,
    pub count: usize,
}

/// A token of every sequence that decodes, and up to `room` tokens of prompts, first come, first served.
/// `prompts` are the tokens of its prompt that each sequence still has to read.
pub(super) fn plan(prompts: impl Iterator<Item = usize>, mut room: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for (sequence, left) in prompts.enumerate() {
        let count = match left {
            0 => 1,
            left => {
                let count = part(left, room);
                room -= count;
                count
            }
        };
        if count > 0 {
            parts.push(Part { sequence, count });
        }
    }
    parts
}

/// How many of `left` tokens a part of at most `room` takes: neither the part nor what remains is shorter
/// than [`MIN_PART`], unless it is all there is.
fn part(left: usize, room: usize) -> usize {
    if left <= room {
        return left;
    }
    let count = room.min(left.saturating_sub(MIN_PART));
    if count < MIN_PART { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_prompt_without_one_that_is_too_short() {
        for left in 1..200 {
            for room in 2 * MIN_PART..100 {
                let (mut rest, mut parts) = (left, Vec::new());
                while rest > 0 {
                    let count = part(rest, room);
                    assert!(count > 0 && count <= room, "{rest} of {left} in {room}");
                    parts.push(count);
                    rest -= count;
                }
                let short = parts.iter().any(|&count| count < MIN_PART);
                assert_eq!(short, left < MIN_PART, "{left} in {room}: {parts:?}");
            }
        }
        assert_eq!(part(100, 15), 0, "no room for a part");
        assert_eq!(part(20, 18), 0, "what remains would be too short");
    }
}

//! The blocks of the key-value cache: who holds them, and what is in those that can be shared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A block of the cache, by its number on the device.
pub(super) type BlockId = u32;

/// The block that idle rows of a step write to; nobody holds it.
pub(super) const IDLE: BlockId = 0;

/// What a block holds: some tokens behind the contents of another block. Names a content for good, also
/// when its block has been given to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Content(u64);

/// Where contents are found: by what comes before them, and their tokens.
type Key = (Content, Arc<[u32]>);

#[derive(Debug, Default)]
struct Block {
    holders: usize,
    /// What it holds, if others may share it.
    content: Option<(Content, Key)>,
    /// When it was last given back.
    freed: u64,
}

/// All blocks of a cache. A block is held by one or more sequences, or free; a free one may still have
/// contents, which are given up in the order in which the blocks were given back.
#[derive(Debug)]
pub(super) struct BlockPool {
    positions: usize,
    blocks: Vec<Block>,
    /// Free blocks without contents.
    empty: Vec<BlockId>,
    /// Free blocks with contents, by when they were given back.
    idle: BTreeMap<u64, BlockId>,
    contents: HashMap<Key, BlockId>,
    last_content: u64,
    clock: u64,
}

impl BlockPool {
    /// `count` blocks of `positions` positions, numbered from 1.
    pub fn new(count: usize, positions: usize) -> Self {
        Self {
            positions,
            blocks: (0..=count).map(|_| Block::default()).collect(),
            empty: (1..=count as BlockId).rev().collect(),
            idle: BTreeMap::new(),
            contents: HashMap::new(),
            last_content: 0,
            clock: 0,
        }
    }

    /// Positions of a block.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Blocks, free or not.
    pub fn count(&self) -> usize {
        self.blocks.len() - 1
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.empty.len() + self.idle.len()
    }

    /// Blocks that `tokens` positions take.
    pub fn needed(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.positions)
    }

    /// A block of one's own, if one is free.
    pub fn take(&mut self) -> Option<BlockId> {
        let id = match self.empty.pop() {
            Some(id) => id,
            None => {
                let (_, id) = self.idle.pop_first()?;
                if let Some((_, key)) = self.blocks[id as usize].content.take() {
                    self.contents.remove(&key);
                }
                id
            }
        };
        self.blocks[id as usize].holders = 1;
        Some(id)
    }

    /// Gives a block back.
    pub fn give(&mut self, id: BlockId) {
        let block = &mut self.blocks[id as usize];
        debug_assert!(block.holders > 0, "block {id} is free already");
        block.holders -= 1;
        if block.holders > 0 {
            return;
        }
        match block.content {
            None => self.empty.push(id),
            Some(_) => {
                self.clock += 1;
                block.freed = self.clock;
                self.idle.insert(self.clock, id);
            }
        }
    }

    /// The block that holds `tokens` behind `before`, held by the caller too, and its content.
    pub fn find(&mut self, before: Content, tokens: &[u32]) -> Option<(BlockId, Content)> {
        let &id = self.contents.get(&(before, Arc::from(tokens)))?;
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.idle.remove(&block.freed);
        }
        block.holders += 1;
        let content = block.content.as_ref().map(|&(content, _)| content)?;
        Some((id, content))
    }

    /// Lets others share block `id`, which holds `tokens` behind `before`: its content. Where a block with
    /// that content is there already, that one stays the one to be shared.
    pub fn publish(&mut self, id: BlockId, before: Content, tokens: &[u32]) -> Content {
        let key: Key = (before, Arc::from(tokens));
        if let Some(&known) = self.contents.get(&key)
            && let Some((content, _)) = self.blocks[known as usize].content
        {
            return content;
        }
        self.last_content += 1;
        let content = Content(self.last_content);
        self.contents.insert(key.clone(), id);
        self.blocks[id as usize].content = Some((content, key));
        content
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn contents_are_found_until_their_block_is_taken() {
        let mut pool = BlockPool::new(2, 4);
        let root = Content::default();
        let first = pool.take().unwrap();
        let content = pool.publish(first, root, &[1, 2, 3, 4]);
        assert_eq!(pool.find(root, &[1, 2, 3, 4]), Some((first, content)));
        assert_eq!(
            pool.find(content, &[1, 2, 3, 4]),
            None,
            "behind something else"
        );
        assert_eq!(pool.find(root, &[1, 2, 3, 5]), None);
        pool.give(first);
        assert_eq!(pool.free(), 1, "the finder holds it still");
        pool.give(first);
        assert_eq!(pool.free(), 2);
        // An empty block goes first, then the one with contents.
        let second = pool.take().unwrap();
        assert_ne!(second, first);
        assert_eq!(pool.find(root, &[1, 2, 3, 4]), Some((first, content)));
        pool.give(first);
        assert_eq!(pool.take(), Some(first));
        assert_eq!(pool.find(root, &[1, 2, 3, 4]), None);
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn contents_go_in_the_order_in_which_their_blocks_came_back() {
        let mut pool = BlockPool::new(3, 1);
        let root = Content::default();
        let ids: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        for (&id, token) in ids.iter().zip(0..) {
            pool.publish(id, root, &[token]);
        }
        for at in [1, 0, 2] {
            pool.give(ids[at]);
        }
        // Found and given back again: last in the row.
        pool.find(root, &[1]).unwrap();
        pool.give(ids[1]);
        for at in [0, 2, 1] {
            assert_eq!(pool.take(), Some(ids[at]));
        }
    }

    #[test]
    fn the_same_content_in_two_blocks_is_shared_from_the_first() {
        let mut pool = BlockPool::new(2, 1);
        let root = Content::default();
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        let content = pool.publish(first, root, &[7]);
        assert_eq!(pool.publish(second, root, &[7]), content);
        pool.give(second);
        assert_eq!(pool.take(), Some(second), "it has no content");
        assert_eq!(pool.find(root, &[7]), Some((first, content)));
    }

    proptest! {
        /// Sequences that come, grow and go, against a plain account of who holds what.
        #[test]
        fn no_block_is_lost_or_given_twice(
            count in 1usize..12,
            steps in prop::collection::vec((0u8..3, 0usize..6, 0u32..3), 0..200),
        ) {
            let mut pool = BlockPool::new(count, 1);
            let mut held: Vec<Vec<(BlockId, Content)>> = vec![Vec::new(); 6];
            for (action, who, token) in steps {
                let before = held[who].last().map_or(Content::default(), |&(_, content)| content);
                match action {
                    0 => match pool.find(before, &[token]) {
                        Some(found) => held[who].push(found),
                        None => if let Some(id) = pool.take() {
                            let owners = held.iter().flatten().filter(|&&(other, _)| other == id);
                            prop_assert_eq!(owners.count(), 0);
                            let content = pool.publish(id, before, &[token]);
                            held[who].push((id, content));
                        },
                    },
                    1 => if let Some((id, _)) = held[who].pop() {
                        pool.give(id);
                    },
                    _ => for (id, _) in held[who].drain(..).rev() {
                        pool.give(id);
                    },
                }
                let mut used: Vec<_> = held.iter().flatten().map(|&(id, _)| id).collect();
                used.sort_unstable();
                used.dedup();
                prop_assert!(!used.contains(&IDLE));
                prop_assert_eq!(pool.free(), count - used.len());
            }
            for (id, _) in held.into_iter().flatten() {
                pool.give(id);
            }
            prop_assert_eq!(pool.free(), pool.count());
        }
    }
}

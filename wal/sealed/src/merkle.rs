//! A Merkle tree over a file's blocks, and proofs that a block belongs to it.
//!
//! - Shape and prefixes are those of RFC 6962: a leaf's hash begins with 0x00, an inner node's with 0x01, so
//!   that one can never be taken for the other. The hash is BLAKE3.

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf, whose bytes come in parts.
#[must_use]
pub fn leaf(parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[0]);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[1]).update(left).update(right);
    *hasher.finalize().as_bytes()
}

/// Where the left part of a tree of `leaves` leaves ends: the greatest power of two below their number.
const fn split(leaves: usize) -> usize {
    1 << (usize::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The root over these leaves; of none the hash of nothing.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => *blake3::hash(&[]).as_bytes(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The hashes beside the way from leaf `nth` to the root, from the leaf upwards; `None` if there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], nth: usize) -> Option<Vec<Hash>> {
    if nth >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (inside, beside, nth) = if nth < left.len() {
        (left, right, nth)
    } else {
        (right, left, nth - left.len())
    };
    let mut path = path(inside, nth)?;
    path.push(root(beside));
    Some(path)
}

/// The root that leaf `nth` of `leaves` has with this path; `None` if a path to it has another length.
#[must_use]
pub fn root_of(leaf: Hash, nth: usize, leaves: usize, path: &[Hash]) -> Option<Hash> {
    if nth >= leaves {
        return None;
    }
    if leaves == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (beside, below) = path.split_last()?;
    let left = split(leaves);
    if nth < left {
        Some(node(&root_of(leaf, nth, left, below)?, beside))
    } else {
        let inside = root_of(leaf, nth - left, leaves - left, below)?;
        Some(node(beside, &inside))
    }
}

#[cfg(test)]
mod tests {
    use super::{leaf, path, root, root_of};

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_nothing_else() {
        for count in 1..40_usize {
            let leaves: Vec<_> = (0..count).map(|n| leaf(&[&n.to_le_bytes()])).collect();
            let root = root(&leaves);
            for nth in 0..count {
                let path = path(&leaves, nth).expect("a leaf");
                assert_eq!(root_of(leaves[nth], nth, count, &path), Some(root));
                for other in (0..count).filter(|other| *other != nth) {
                    assert_ne!(root_of(leaves[other], nth, count, &path), Some(root));
                    assert_ne!(root_of(leaves[nth], other, count, &path), Some(root));
                }
                assert_eq!(root_of(leaves[nth], count, count, &path), None);
                let longer = [&path[..], &[root]].concat();
                assert_ne!(root_of(leaves[nth], nth, count, &longer), Some(root));
            }
            assert_eq!(path(&leaves, count), None);
        }
    }

    #[test]
    fn a_tree_of_three_has_the_shape_of_the_rfc() {
        let leaves = [leaf(&[b"a"]), leaf(&[b"b"]), leaf(&[b"c"])];
        let left = blake3::hash(&[&[1][..], &leaves[0], &leaves[1]].concat());
        let whole = blake3::hash(&[&[1][..], left.as_bytes(), &leaves[2]].concat());
        assert_eq!(root(&leaves), *whole.as_bytes());
        assert_eq!(leaves[0], *blake3::hash(b"\0a").as_bytes());
    }
}

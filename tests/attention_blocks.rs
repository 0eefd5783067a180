//! Attention in blocks computes what attention is, whatever the blocks: outputs and all gradients, for every mask, bias and
//! grouping, around the borders of blocks. It keeps no matrix of probabilities, never reads what nobody sees, and has the same
//! bits each time.
//!
//! Small blocks are held against the scalar engine, blocks of the usual size against whole matrices of the fast one. To see
//! the widest deviations: `cargo test --test attention_blocks -- --nocapture`.

use std::ops::Range;

use gradus::fast::{AttentionBlocks, FastEngine};
use gradus::scalar::ScalarEngine;
use gradus::tensor::{Mask, packed};
use gradus::thread_pool::ThreadPool;

#[path = "common/attention_alone.rs"]
mod attention_alone;
#[path = "common/deviations.rs"]
mod deviations;
#[path = "common/model_adapter.rs"]
mod model_adapter;

use attention_alone::{AttentionAlone, Biased, LEARNED};
use deviations::Deviations;

const BIASES: [Biased; 3] = [Biased::No, Biased::Alibi, Biased::Table];

/// In blocks from `min_keys` keys on.
fn blocked(min_keys: usize, queries: usize, keys: usize) -> FastEngine {
    FastEngine::new(ThreadPool::new(1)).with_attention_blocks(AttentionBlocks { min_keys, queries, keys })
}

/// Never in blocks.
fn whole() -> FastEngine {
    blocked(usize::MAX, 1, 1)
}

/// How many numbers each node of attention saves.
fn saved(engine: &FastEngine) -> Vec<usize> {
    let tape = engine.tape();
    tape.iter().filter(|node| node.op == "Attention").map(|node| node.saved).collect()
}

fn compare(deviations: &mut Deviations, what: &str, ours: &[Vec<f64>; 5], exact: &[Vec<f64>; 5]) {
    for (part, (ours, exact)) in LEARNED.iter().zip(ours.iter().zip(exact)) {
        deviations.compare("fast", &format!("{what}, {part}"), ours, exact);
    }
}

/// How many queries a sequence has, given its keys: as many, fewer as with a cache, or more.
type Queries = fn(usize) -> usize;

const AS_MANY: Queries = |keys| keys;
const FEWER: Queries = |keys| 1 + keys / 2;
const MORE: Queries = |keys| 2 * keys + 1;

/// All masks that can be, each with how many queries there may be. Windows narrower than a block, as wide, and wider, so
/// that some queries see nothing of a block that others see.
const MASKS: [(Mask, Queries); 11] = [
    (Mask::Full, AS_MANY),
    (Mask::Full, FEWER),
    (Mask::Full, MORE),
    (Mask::Causal, AS_MANY),
    (Mask::Causal, FEWER),
    (Mask::Window(2), AS_MANY),
    (Mask::Window(2), FEWER),
    (Mask::Window(4), AS_MANY),
    (Mask::Window(6), FEWER),
    (Mask::Window(14), AS_MANY),
    (Mask::Window(1000), FEWER),
];

#[test]
fn every_mask_and_bias_around_the_borders_of_small_blocks() {
    // One and two keys are left to others. The rest are computed in blocks: of one, of 3 queries and 4 keys, and so on.
    let lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 1, 18];
    let (min_keys, sizes) = (3, [(1, 1), (3, 4), (4, 3), (5, 2), (1, 8), (8, 8), (16, 16)]);
    let mut deviations = Deviations::default();
    for (mask, queries) in MASKS {
        for (bias, heads, width) in [[1, 1], [4, 2], [3, 1]]
            .into_iter()
            .zip([3, 1, 5])
            .flat_map(|(heads, width)| BIASES.map(|bias| (bias, heads, width)))
        {
            let [queries, keys] = [packed(&lengths.map(queries)), packed(&lengths)];
            let attend = AttentionAlone { heads, width, mask, bias, queries, keys };
            let params = attend.params(width as u64);
            let exact = attend.learn(&mut ScalarEngine::new(), &params);
            for (queries, keys) in sizes {
                let engine = &mut blocked(min_keys, queries, keys);
                let ours = attend.learn(engine, &params);
                compare(&mut deviations, &format!("{queries} x {keys}, {attend:?}"), &ours, &exact);
                // Two numbers a query and head, and of the others their few probabilities.
                let saves = |(queries, keys): (&Range<usize>, &Range<usize>)| {
                    queries.len() * if keys.len() < min_keys { keys.len() } else { 2 }
                };
                let count = heads[0] * attend.queries.iter().zip(&attend.keys).map(saves).sum::<usize>();
                assert_eq!(saved(engine), [count; 2], "{attend:?}");
            }
        }
    }
    deviations.finish();
}

/// Sequences of narrow heads are computed in three ways within one batch: in vectors, in whole matrices, in blocks.
#[test]
fn beside_short_sequences() {
    let lengths = [3, 40, 16, 17, 1, 33, 18, 5];
    let mut deviations = Deviations::default();
    for (mask, queries) in MASKS {
        let [queries, keys] = [packed(&lengths.map(queries)), packed(&lengths)];
        let attend = AttentionAlone { heads: [4, 2], width: 4, mask, bias: Biased::No, queries, keys };
        let params = attend.params(1);
        let exact = attend.learn(&mut ScalarEngine::new(), &params);
        let ours = attend.learn(&mut blocked(20, 6, 7), &params);
        compare(&mut deviations, &format!("{attend:?}"), &ours, &exact);
    }
    deviations.finish();
}

/// Padding between sequences gets zeros; sequences may share their keys, and some keys belong to none.
#[test]
fn gaps_and_shared_keys() {
    let mut deviations = Deviations::default();
    for bias in BIASES {
        for mask in [Mask::Full, Mask::Causal, Mask::Window(5)] {
            let queries = vec![2..9, 9..9, 12..19, 19..24, 30..31];
            let keys = vec![3..14, 0..0, 3..14, 20..29, 3..14];
            let attend = AttentionAlone { heads: [4, 2], width: 3, mask, bias, queries, keys };
            let params = attend.params(2);
            let exact = attend.learn(&mut ScalarEngine::new(), &params);
            let ours = attend.learn(&mut blocked(1, 3, 4), &params);
            compare(&mut deviations, &format!("{attend:?}"), &ours, &exact);
            assert!(ours[0][..2 * 12].iter().all(|&y| y == 0.0), "padding before the first sequence");
        }
    }
    deviations.finish();
}

#[test]
fn blocks_of_the_usual_size() {
    let AttentionBlocks { queries: rows, keys: cols, .. } = AttentionBlocks::default();
    let border = |size: usize| [size - 1, size, size + 1, 2 * size + 3];
    let lengths = [border(rows), border(cols)].concat();
    let mut deviations = Deviations::default();
    let masks: [(Mask, Queries); 6] = [
        (Mask::Full, AS_MANY),
        (Mask::Full, |keys| keys / 2 + 90),
        (Mask::Causal, AS_MANY),
        (Mask::Causal, FEWER),
        (Mask::Window(100), AS_MANY),
        (Mask::Window(300), FEWER),
    ];
    for (mask, queries) in masks {
        for (bias, heads, width) in
            [(Biased::No, [1, 1], 64), (Biased::Alibi, [2, 1], 16), (Biased::Table, [2, 2], 33)]
        {
            let queries: Vec<usize> = lengths.iter().map(|&keys| queries(keys)).collect();
            let [queries, keys] = [packed(&queries), packed(&lengths)];
            let attend = AttentionAlone { heads, width, mask, bias, queries, keys };
            let params = attend.params(3);
            let exact = attend.learn(&mut whole(), &params);
            let ours = attend.learn(&mut blocked(1, rows, cols), &params);
            compare(&mut deviations, &format!("{heads:?}, {width}, {mask:?}, {bias:?}"), &ours, &exact);
        }
    }
    deviations.finish();
}

/// Without being asked to, an engine computes long sequences in blocks, and all others as before.
#[test]
fn long_sequences_and_no_others() {
    let AttentionBlocks { min_keys, .. } = AttentionBlocks::default();
    for (keys, blocks) in [(min_keys - 1, false), (min_keys, true)] {
        let engine = &mut FastEngine::new(ThreadPool::new(1));
        let [queries, keys] = [packed(&[2]), packed(&[keys])];
        let count = 2 * if blocks { 2 } else { keys[0].len() };
        let attend =
            AttentionAlone { heads: [1, 1], width: 3, mask: Mask::Causal, bias: Biased::No, queries, keys };
        attend.learn(engine, &attend.params(4));
        assert_eq!(saved(engine), [count; 2]);
    }
}

/// A query that sees its own key alone takes its value as it is. No score changes anything, so the gradients of queries, keys
/// and the table are zero, up to the rounding of two equal dot products that are added up in different orders.
#[test]
fn a_window_of_one() {
    let [queries, keys] = [packed(&[5, 4, 2]), packed(&[9, 4, 6])];
    let (mask, bias) = (Mask::Window(1), Biased::Table);
    let attend = AttentionAlone { heads: [4, 2], width: 3, mask, bias, queries, keys };
    let params = attend.params(8);
    let [output, others @ .., values, table] = attend.learn(&mut blocked(1, 3, 4), &params);
    let exact = attend.learn(&mut ScalarEngine::new(), &params);
    let mut deviations = Deviations::default();
    deviations.compare("fast", LEARNED[0], &output, &exact[0]);
    deviations.compare("fast", LEARNED[3], &values, &exact[3]);
    deviations.finish();
    let zeros = others.iter().chain([&table]).flatten();
    assert!(zeros.copied().all(|g| g.abs() < 1e-5), "{others:?}, {table:?}");
}

/// Scores of about ten thousand. In most rows nearly everything goes to one key; where keys are alike, all of them share it.
#[test]
fn scores_far_from_zero() {
    const FAR: f64 = 80.0;
    let greatest = |x: &[f64]| x.iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
    for (mask, queries) in [(Mask::Full, MORE), (Mask::Causal, AS_MANY), (Mask::Window(9), FEWER)] {
        let lengths = [3, 20, 41];
        let [queries, keys] = [packed(&lengths.map(queries)), packed(&lengths)];
        let attend = AttentionAlone { heads: [2, 1], width: 4, mask, bias: Biased::Alibi, queries, keys };
        let [q, k, ..] = attend.places();
        let mut far = attend.params(5);
        far[q.start..k.end].iter_mut().for_each(|x| *x = f64::from((*x * FAR) as f32));
        let mut alike = far.clone();
        (k.start + 4..k.end).for_each(|at| alike[at] = alike[at - 4]);
        for (what, params) in [("far", far), ("alike", alike)] {
            let ours = attend.learn(&mut blocked(1, 5, 6), &params);
            let exact = attend.learn(&mut whole(), &params);
            let mut deviations = Deviations::default();
            for part in [0, 3] {
                let what = format!("{what}, {mask:?}, {}", LEARNED[part]);
                deviations.compare("fast", &what, &ours[part], &exact[part]);
            }
            deviations.finish();
            // The gradient of a score is a difference of two dot products that are nearly equal, of numbers up to about ten.
            // Their rounding comes out times the queries and keys, and times the scale.
            for part in [1, 2] {
                let difference: Vec<f64> = ours[part].iter().zip(&exact[part]).map(|(a, b)| a - b).collect();
                let gap = greatest(&difference) / (FAR * 0.4 * 10.0);
                assert!(gap < 1e-5, "{what}, {mask:?}, {}: {gap:.1e}", LEARNED[part]);
            }
        }
    }
}

/// With a window and a cache, most keys are seen by nobody. They may be anything.
#[test]
fn what_nobody_sees_is_not_read() {
    for bias in BIASES {
        let [queries, keys] = [packed(&[7]), packed(&[200])];
        let attend = AttentionAlone { heads: [2, 2], width: 3, mask: Mask::Window(20), bias, queries, keys };
        let params = attend.params(6);
        let [_, k, v, _] = attend.places();
        let mut marked = params.clone();
        let unseen = (200 - 7 - 20 + 1) * 2 * 3;
        marked[k.start..k.start + unseen].fill(f64::NAN);
        marked[v.start..v.start + unseen].fill(f64::NAN);
        let engine = &mut blocked(1, 3, 8);
        let expected = attend.learn(engine, &params);
        assert!(expected[2][unseen..].iter().all(|&g| g != 0.0) && expected[0].iter().all(|y| y.is_finite()));
        assert_eq!(attend.learn(engine, &marked), expected, "{bias:?}");
    }
}

/// The same bits from an engine that has computed something else before.
#[test]
fn the_same_bits_each_time() {
    let attend = |lengths: &[usize], bias| {
        let [queries, keys] = [packed(lengths), packed(lengths)];
        AttentionAlone { heads: [4, 2], width: 6, mask: Mask::Causal, bias, queries, keys }
    };
    for bias in BIASES {
        let mut used = blocked(8, 16, 24);
        for lengths in [&[70, 3, 25][..], &[200], &[9, 9, 9, 100], &[70, 3, 25]] {
            let attend = attend(lengths, bias);
            let params = attend.params(7);
            let fresh = attend.learn(&mut blocked(8, 16, 24), &params);
            let bits =
                |learned: [Vec<f64>; 5]| learned.map(|x| x.into_iter().map(f64::to_bits).collect::<Vec<_>>());
            assert!(bits(attend.learn(&mut used, &params)) == bits(fresh), "{attend:?}");
        }
    }
}

#[test]
#[should_panic(expected = "blocks of nothing")]
fn empty_blocks_are_refused() {
    blocked(1, 4, 0);
}

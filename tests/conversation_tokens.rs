//! Conversations as tokens: what is learned of them, what is cut or refused, and that the masked loss and its gradient are
//! PyTorch's, however conversations are packed.
#![cfg(feature = "chat")]

use std::collections::HashMap;
use std::path::Path;

use gradus::Engine;
use gradus::checkpoint::LanguageModel;
use gradus::checkpoint::llama::import;
use gradus::data::{
    Batch, Conversation, ConversationEncoder, ConversationTokens, Learn, Message, Role, Unlearnable,
};
use gradus::fast::FastEngine;
use gradus::model::{Mode, Model};
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::template::{ChatTemplate, Rendered};
use gradus::tokenizer::{
    BpeTokenizer, BpeTrainer, Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix, Tokenizer,
};
use serde::Deserialize;

const NAMED: [(&str, &str); 1] = [("bos_token", "<s>")];

fn tokenizer() -> BpeTokenizer {
    let names = [
        "<s>",
        "<user>",
        "</user>",
        "<assistant>",
        "</assistant>",
        "<system>",
        "</system>",
        "<tool>",
        "</tool>",
    ];
    let special_tokens = names.map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size: 280, special_tokens, ..BpeTrainer::default() };
    trainer.train(&["one two three, one two three"]).expect("a vocabulary")
}

fn conversation(turns: &[(&str, &str)]) -> Conversation {
    let both = |(asked, said): &(&str, &str)| {
        [Message::new(Role::User, *asked), Message::new(Role::Assistant, *said)]
    };
    Conversation { messages: turns.iter().flat_map(both).collect(), tools: Vec::new() }
}

fn encode(
    conversation: &Conversation,
    context: usize,
    learn: Learn,
) -> Result<ConversationTokens, Unlearnable> {
    let template = ChatTemplate::new(ChatTemplate::GRADUS).expect("a template");
    ConversationEncoder::new(&template, &tokenizer(), &NAMED, context, learn).encode(conversation)
}

/// A blank that only the tokenizer puts there moves no mask, and each scheme puts it where it does in a text of its own.
#[test]
fn blanks_before_pieces_are_not_in_the_text() {
    let piece = |text: &str, kind| Piece { text: text.to_owned(), score: 0.0, kind };
    let mut pieces = vec![piece("<s>", PieceKind::Control)];
    pieces.extend((0..=255).map(|byte| piece(&format!("<0x{byte:02X}>"), PieceKind::Byte)));
    pieces.extend([" ", "a", "b", "c", "d"].map(|text| piece(text, PieceKind::Normal)));
    let [blank, a, b, c, d] = [257, 258, 259, 260, 261];
    // The assistant says b, and d.
    let rendered = Rendered { text: "ab<s>cd".to_owned(), generated: vec![1..2, 6..7], literal: vec![] };
    let cases = [
        (SpacePrefix::Never, vec![a, b, 0, c, d]),
        (SpacePrefix::MetaspaceFirst, vec![blank, a, b, 0, c, d]),
        (SpacePrefix::MetaspaceAlways, vec![blank, a, b, 0, blank, c, d]),
        (SpacePrefix::Prepend, vec![blank, a, b, 0, blank, c, d]),
    ];
    for (space_prefix, expected) in cases {
        let spec = PieceSpec { pieces: pieces.clone(), space_prefix };
        let tokenizer = PieceTokenizer::from_spec(&spec).expect("a tokenizer that there is");
        let (tokens, mask) = rendered.tokens(&tokenizer).expect("any text");
        assert_eq!(tokens, expected, "{space_prefix:?}");
        let learned: Vec<usize> =
            tokens.iter().zip(&mask).filter(|(_, said)| **said).map(|(token, _)| *token).collect();
        assert_eq!(learned, [b, d], "{space_prefix:?}");
    }
}

/// What is learned as text, in which an end token is a bar.
fn learned_text(one: &ConversationTokens) -> String {
    let tokenizer = tokenizer();
    let end = tokenizer.special("</assistant>").expect("it is one");
    let text = |(token, _): (&usize, &bool)| {
        if *token == end { "|".to_owned() } else { tokenizer.decode(&[*token]) }
    };
    one.tokens.iter().zip(&one.learned).filter(|(_, learned)| **learned).map(text).collect()
}

#[test]
fn what_the_assistant_says_is_learned() {
    let asked = conversation(&[("one?", "two"), ("and?", "three")]);
    let one = encode(&asked, 100, Learn::Assistant).expect("tokens");
    assert_eq!(learned_text(&one), "two|three|");
    assert_eq!((one.left_out, one.learned_count()), (0, one.learned.iter().filter(|x| **x).count()));
    let all = encode(&asked, 100, Learn::All).expect("tokens");
    assert_eq!((all.learned_count(), &all.tokens), (all.tokens.len(), &one.tokens));
    // In a batch, the weight of a token stands where it is the target.
    let mut batch = Batch::new();
    one.push_to(&mut batch);
    let learned = batch.targets().iter().zip(batch.loss_weights()).filter(|(_, weight)| **weight == 1.0);
    let targets: Vec<usize> = learned.map(|(target, _)| *target).collect();
    let says = one.tokens.iter().zip(&one.learned).filter(|(_, learned)| **learned);
    assert_eq!(targets, says.map(|(token, _)| *token).collect::<Vec<_>>());
    assert_eq!(batch.total_loss_weight(), one.learned_count() as f64);
}

#[test]
fn long_conversations_are_cut_after_the_last_reply_that_fits() {
    let turns = [("one?", "two"), ("one?", "two"), ("one?", "two"), ("one?", "two")];
    let lengths: Vec<usize> = (1..=4)
        .map(|count| {
            encode(&conversation(&turns[..count]), 1000, Learn::Assistant).expect("tokens").tokens.len()
        })
        .collect();
    for context in 1..=lengths[3] {
        // A sequence has one token more than the model reads.
        let fits = lengths.iter().filter(|length| **length <= context + 1).count();
        match encode(&conversation(&turns), context, Learn::Assistant) {
            Ok(found) => {
                assert_eq!(found.tokens.len(), lengths[fits - 1], "{context}");
                assert_eq!(found.left_out, 2 * (4 - fits));
                assert_eq!(learned_text(&found), "two|".repeat(fits));
            }
            Err(Unlearnable::TooLong { tokens, most }) => {
                assert_eq!((fits, tokens, most), (0, lengths[3], context + 1));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_conversation_without_a_supervised_token_is_refused() {
    let unmarked =
        ChatTemplate::new("{% for m in messages %}{{ m.content }}{% endfor %}").expect("a template");
    let tokenizer = tokenizer();
    let asked = conversation(&[("one?", "two")]);
    let encode = |learn| ConversationEncoder::new(&unmarked, &tokenizer, &NAMED, 100, learn).encode(&asked);
    let problem = encode(Learn::Assistant).expect_err("nothing is marked");
    assert!(
        matches!(problem, Unlearnable::NothingSaid) && problem.to_string().contains("generation"),
        "{problem}"
    );
    encode(Learn::All).expect("all of it is learned");
    let system = Conversation { messages: vec![Message::new(Role::User, "one?"); 2], tools: Vec::new() };
    let template = ChatTemplate::new("{{ raise_exception('no') }}").expect("a template");
    let problem = ConversationEncoder::new(&template, &tokenizer, &NAMED, 100, Learn::All)
        .encode(&system)
        .expect_err("it says so");
    assert!(matches!(problem, Unlearnable::Template(_)), "{problem}");
}

#[test]
fn a_conversation_stays_on_its_side() {
    let all: Vec<Conversation> =
        (0..2000).map(|n| conversation(&[(&format!("What is {n}?"), "A number.")])).collect();
    let held_out = |share: f64| all.iter().filter(|one| one.is_held_out(share)).count();
    assert_eq!((held_out(0.0), held_out(1.0)), (0, 2000));
    assert!((140..260).contains(&held_out(0.1)), "{}", held_out(0.1));
    for one in &all {
        let mut longer = one.clone();
        longer.messages.insert(0, Message::new(Role::System, "Be kind."));
        longer.messages.push(Message::new(Role::User, "Really?"));
        assert_eq!(one.is_held_out(0.1), longer.is_held_out(0.1));
        assert!(!one.is_held_out(0.1) || one.is_held_out(0.2), "a larger share holds out the same and more");
    }
}

#[test]
fn the_fingerprint_sees_tokens_and_masks() {
    let one = encode(&conversation(&[("one?", "two")]), 100, Learn::Assistant).expect("tokens");
    let all = encode(&conversation(&[("one?", "two")]), 100, Learn::All).expect("tokens");
    let other = encode(&conversation(&[("one?", "three")]), 100, Learn::Assistant).expect("tokens");
    let of = |all: Vec<&ConversationTokens>| ConversationTokens::fingerprint(all);
    assert_eq!(of(vec![&one]), of(vec![&one.clone()]));
    for different in [vec![&all], vec![&other], vec![&one, &one], vec![]] {
        assert_ne!(of(vec![&one]), of(different));
    }
}

#[derive(Deserialize)]
struct Golden {
    sequences: Vec<Vec<usize>>,
    learned: Vec<Vec<bool>>,
    loss: f64,
    /// The sum and the length of each.
    gradients: HashMap<String, [f64; 2]>,
}

impl Golden {
    fn read() -> Self {
        serde_json::from_str(include_str!("golden/masked_loss.json")).expect("the golden file")
    }

    fn conversations(&self) -> Vec<ConversationTokens> {
        let pair = |(tokens, learned): (&Vec<usize>, &Vec<bool>)| ConversationTokens {
            tokens: tokens.clone(),
            learned: learned.clone(),
            left_out: 0,
        };
        self.sequences.iter().zip(&self.learned).map(pair).collect()
    }
}

fn llama() -> LanguageModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama/llama");
    import(&folder).expect("transformers wrote it")
}

fn packed(all: &[ConversationTokens]) -> Batch {
    let mut batch = Batch::new();
    all.iter().for_each(|one| one.push_to(&mut batch));
    batch
}

/// The loss of a batch and its gradient.
fn gradient<E: Engine>(engine: &mut E, read: &LanguageModel, batch: &Batch) -> (f64, Vec<f64>) {
    let params: Vec<E::Real> = read.params.iter().map(|x| E::Real::from_f64(f64::from(*x))).collect();
    let mut gradient = vec![E::Real::from_f64(0.0); params.len()];
    let mode = Mode { dropout: None, smoothing: 0.0 };
    let loss = engine.gradient(&read.model, &params, batch, mode, &mut gradient);
    (loss, gradient.into_iter().map(|x| x.to_f64()).collect())
}

fn is_pytorchs<E: Engine>(mut engine: E, tolerance: f64) {
    let (golden, read) = (Golden::read(), llama());
    let batch = packed(&golden.conversations());
    let (loss, gradient) = gradient(&mut engine, &read, &batch);
    assert!((loss - golden.loss).abs() < tolerance, "{loss} {}", golden.loss);
    assert_eq!(golden.gradients.len(), read.model.layout().specs().len());
    for spec in read.model.layout().specs() {
        let [sum, length] = golden.gradients[&spec.name];
        let ours = &gradient[spec.range()];
        let our_length = ours.iter().map(|x| x * x).sum::<f64>().sqrt();
        let near = |ours: f64, theirs: f64| (ours - theirs).abs() < 10.0 * tolerance * (1.0 + length);
        assert!(
            near(ours.iter().sum(), sum) && near(our_length, length),
            "{}: {our_length} {length}",
            spec.name
        );
    }
}

#[test]
fn the_masked_loss_and_its_gradient_are_pytorchs() {
    // What transformers rotates by has 32 bits, whatever the model has.
    is_pytorchs(ScalarEngine::new(), 1e-6);
    is_pytorchs(FastEngine::new(ThreadPool::new(1)), 1e-5);
}

/// If the mask were shifted by one either way, the loss would be another.
#[test]
fn a_shifted_mask_is_seen() {
    let (golden, read) = (Golden::read(), llama());
    let mut engine = ScalarEngine::new();
    for by in [1, -1_i32] {
        let mut all = golden.conversations();
        for one in &mut all {
            if by > 0 { one.learned.rotate_right(1) } else { one.learned.rotate_left(1) }
        }
        let (loss, _) = gradient(&mut engine, &read, &packed(&all));
        assert!((loss - golden.loss).abs() > 1e-3, "{by}: {loss}");
    }
}

#[test]
fn packed_conversations_have_the_losses_that_they_have_alone() {
    let (golden, read) = (Golden::read(), llama());
    let all = golden.conversations();
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let mut losses = |batch: &Batch| {
        engine.loss(&read.model, &read.params, batch);
        engine.token_losses().to_vec()
    };
    let together = losses(&packed(&all));
    let alone: Vec<f64> = all.iter().flat_map(|one| losses(&packed(std::slice::from_ref(one)))).collect();
    assert_eq!(together.len(), alone.len());
    for (a, b) in together.iter().zip(&alone) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

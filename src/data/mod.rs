//! Training data: text files, sentence pairs, conversations, and batches of their tokens.

mod batch;
mod conversations;
mod dialog;
mod epochs;
#[cfg(feature = "fetch")]
pub mod fetch;
mod names;
mod pairs;
mod recognize;
mod text;

pub use batch::{Batch, Sequences};
pub use conversations::{
    ArithmeticError, CallError, Conversation, Conversations, ConversationsError, Format, Json,
    LONGEST_RECORD, MalformedRecord, Message, OnMalformed, PatternError, Reason, Role, SchemaError,
    SkippedRecords, Split, Tool, ToolCall, ToolPatterns, check_arguments, check_call, check_schema, evaluate,
    parse_call, parse_tools, read_conversations,
};
#[cfg(feature = "chat")]
pub use conversations::{ConversationEncoder, ConversationTokens, Learn, Unlearnable};
pub use dialog::Dialogs;
pub use epochs::Epochs;
pub use names::Names;
pub use pairs::{
    Direction, Marks, Pair, PairBatches, Pairs, PairsError, Side, Skipped, TokenPairs, clean_sentence,
};
pub use text::{DataError, LARGEST, STDIN, find, quoted, read_text};

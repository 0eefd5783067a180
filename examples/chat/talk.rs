//! Prompts, from wherever they come, and what the model makes of them.

use std::borrow::Borrow;
use std::fs;
use std::io::{self, IsTerminal, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gradus::generate::{Finish, ToolChoice};
use gradus::model::Model;
use serde::Deserialize;
use serde_json::json;
use support::args::seed;
use support::units::{bytes, grouped};
use support::{Given, Interrupt, TextArgs, Usage, print, say};

use crate::dialogue::{Dialogue, Tools};
use crate::lines::Lines;
use crate::speaker::{Manner, ModelArgs, Pace, Reply, Speaker};
use crate::template::Template;
use crate::tools::Toolbox;

/// Converse, with a model that has learned to; or continue texts
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- talk                                                    a conversation with the small model that comes with gradus
  chat -- talk --model mine --prompt 'Once upon a time'           one text
  chat -- talk --model mine                                       every line that is typed; Ctrl-C ends a reply, Ctrl-D the program
  chat -- talk --model chat-model --system 'Answer briefly.'      a conversation; /help lists what can be said to the program
  chat -- talk --model chat-model --tools mine.json               with tools of your own, whose results you type
  chat -- talk --model base --adapter lora                        with an adapter; /adapter changes it
  chat -- talk --model mine --prompts some.jsonl --greedy         a line for each: {\"prompt\": \"Once upon a time\"}
  chat -- talk --model model.gguf --dtype int8 --prompt 'Hello' --stop '\\n'")]
#[command(mut_arg("repetition_penalty", |option| option.default_value("1.1")))]
#[command(mut_arg("greedy", |option| option.help("Always choose the likeliest token: without a penalty, unless one is given")))]
pub struct Talk {
    #[command(flatten)]
    model: ModelArgs,
    /// Continue this text
    #[arg(long, value_name = "TEXT", conflicts_with = "prompts")]
    prompt: Option<String>,
    /// Continue the prompts of this file of JSON lines, and print replies as JSON lines; - is standard input
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// A system prompt, which says how the model is to behave, for a model that converses
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "prompts", "raw"])]
    system: Option<String>,
    /// Let the model call tools: those that are built in (calculator, clock, units, dice), which is the default where its template knows
    /// calls and at most half of its context is needed for them; or those of a file, which are shown to it and not run: you are asked for
    /// results, and on a pipe they are not available
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["prompt", "prompts", "raw", "beams"])]
    tools: Option<Option<PathBuf>>,
    /// Offer the model no tools
    #[arg(long, conflicts_with = "tools")]
    no_tools: bool,
    /// Whether a question begins with a call: auto is as the model will, required is of any tool, and a name is of this tool
    #[arg(long, value_name = "CHOICE", default_value = "auto", conflicts_with_all = ["no_tools", "prompt", "prompts", "raw", "beams"])]
    tool_choice: String,
    /// Let it write calls as it likes, instead of holding them to the schemas of the tools: to see what the difference is
    #[arg(long)]
    unconstrained: bool,
    /// Continue the lines that are typed as texts, even if the model has a template of conversations
    #[arg(long)]
    raw: bool,
    /// Where randomness begins: the same number gives the same text
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed)]
    seed: u64,
    #[command(flatten)]
    text: TextArgs,
}

impl Talk {
    pub fn run(&self, given: &Given) -> Result<()> {
        // A file of prompts that is wrong is found out before the model is read.
        let prompts = self.prompts.as_deref().map(read_prompts).transpose()?;
        let mut speaker = self.model.load()?;
        let manner = self.manner(&speaker, given);
        let interrupt = Interrupt::watch();
        match (&self.prompt, prompts) {
            (Some(prompt), _) => self.once(&mut speaker, prompt, &manner, &interrupt),
            (None, Some(prompts)) => self.many(&mut speaker, &prompts, &manner, &interrupt),
            (None, None) => match speaker.template()?.filter(|_| !self.raw) {
                Some(template) => self.converse(&mut speaker, template, &manner, &interrupt),
                None => {
                    let problem = "the model has no chat template, and so no place for --system";
                    ensure!(self.system.is_none(), Usage::of(problem));
                    self.lines(&mut speaker, &manner, &interrupt)
                }
            },
        }
    }

    /// A conversation of several turns.
    fn converse(
        &self,
        speaker: &mut Speaker,
        template: Template,
        manner: &Manner,
        interrupt: &Interrupt,
    ) -> Result<()> {
        if io::stdin().is_terminal() {
            self.introduce(speaker, "Say something, and Enter. /help lists what else there is. Ctrl-D ends.");
        }
        let each = stderr().is_terminal();
        let mut dialogue = self.dialogue(speaker, manner, template)?;
        let replies = dialogue.run(speaker, manner, interrupt, |reply| {
            if each {
                eprintln!("{}", paces(&[reply]));
            }
        })?;
        if !replies.is_empty() && !each {
            eprintln!("{}", paces(&replies));
        }
        Ok(())
    }

    /// A conversation in which nothing was said, with the tools that were asked for, or those that are usual.
    fn dialogue(&self, speaker: &Speaker, manner: &Manner, template: Template) -> Result<Dialogue> {
        let system = || self.system.clone();
        let asked = self.tools.is_some() || self.tool_choice != "auto";
        let Some(marks) = template.call_marks().filter(|_| !self.no_tools && self.text.beams.is_none())
        else {
            let problem = "the chat template of this model knows no calls of the form {\"name\": …, \"arguments\": {…}}: leave out --tools";
            ensure!(!asked, Usage::of(problem));
            return Ok(Dialogue::new(template, system(), None));
        };
        let toolbox = match &self.tools {
            Some(Some(path)) => Toolbox::declared(path)?,
            _ => Toolbox::built_in(self.seed),
        };
        let first = match self.tool_choice.as_str() {
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            name => ToolChoice::Tool(name.to_owned()),
        };
        if let ToolChoice::Tool(name) = &first {
            let known: Vec<&str> = toolbox.tools().iter().map(|tool| tool.name.as_str()).collect();
            let problem = format!("--tool-choice {name} is none of auto, required, {}", known.join(", "));
            ensure!(known.contains(&name.as_str()), Usage(problem));
        }
        let tools = Tools { toolbox, marks, first, constrained: !self.unconstrained };
        let dialogue = Dialogue::new(template.clone(), system(), Some(tools));
        let context = speaker.model().context();
        match dialogue.overhead(speaker, manner) {
            Ok(need) if need <= context / 2 => Ok(dialogue),
            Ok(need) if asked => {
                bail!(Usage(format!(
                    "the tools take {need} of the {context} tokens that the model reads: give it fewer with --tools FILE"
                )))
            }
            Err(problem) if asked => Err(problem.context("the tools cannot be shown to this model")),
            _ => Ok(Dialogue::new(template, system(), None)),
        }
    }

    fn introduce(&self, speaker: &Speaker, how: &str) {
        let (count, size) = (speaker.model().layout().len() as u64, bytes(speaker.bytes() as f64));
        say!("{} parameters, {size} of {}. {how}", grouped(count), self.model.dtype());
    }

    /// What was asked for, then what the model's makers say, then the defaults of this program.
    fn manner(&self, speaker: &Speaker, given: &Given) -> Manner {
        let TextArgs { tokens, beams, mut sampling } = self.text.clone();
        let defaults = speaker.defaults();
        let mut tokens = tokens;
        let chosen =
            ["temperature", "top_k", "top_p", "min_p", "greedy"].iter().any(|option| given.has(option));
        if defaults.do_sample == Some(false) && !chosen {
            sampling.greedy = true;
        }
        if let Some(x) = defaults.temperature.filter(|_| !given.has("temperature")) {
            sampling.temperature = x;
        }
        if let Some(k) = defaults.top_k.filter(|_| !given.has("top_k")) {
            sampling.top_k = k;
        }
        if let Some(p) = defaults.top_p.filter(|_| !given.has("top_p")) {
            sampling.top_p = Some(p);
        }
        if !given.has("repetition_penalty") {
            // With a penalty the token that is chosen would not be the likeliest.
            let usual = if sampling.greedy { 1.0 } else { sampling.repetition_penalty };
            sampling.repetition_penalty = defaults.repetition_penalty.unwrap_or(usual);
        }
        if let Some(n) = defaults.max_new_tokens.filter(|_| !given.has("tokens")) {
            tokens = n;
        }
        Manner { sampling, tokens, beams, seed: self.seed }
    }

    fn encode(&self, speaker: &Speaker, prompt: &str) -> Result<Vec<usize>> {
        let path = self.model.path().display();
        speaker.encode(prompt).with_context(|| format!("the model in {path} cannot read the prompt"))
    }

    /// A single text, printed as it comes.
    fn once(
        &self,
        speaker: &mut Speaker,
        prompt: &str,
        manner: &Manner,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let tokens = self.encode(speaker, prompt)?;
        print::piece(prompt);
        let reply =
            interrupt.each(|| speaker.reply(&tokens, manner, print::piece, || !interrupt.requested()))?;
        say!("");
        eprintln!("{}", paces(&[reply]));
        Ok(())
    }

    /// Every line of standard input, until it ends. One that cannot be continued does not end it.
    fn lines(&self, speaker: &mut Speaker, manner: &Manner, interrupt: &Interrupt) -> Result<()> {
        let mut lines = Lines::open();
        if lines.is_terminal() {
            self.introduce(speaker, "Type a beginning, and Enter. Ctrl-D ends.");
        }
        let mut replies = Vec::new();
        while let Some(line) = lines.next("> ", interrupt)? {
            if !line.trim().is_empty() {
                match self.encode(speaker, &line) {
                    Ok(tokens) => {
                        print::piece(&line);
                        let reply = interrupt.each(|| {
                            speaker.reply(&tokens, manner, print::piece, || !interrupt.requested())
                        })?;
                        say!("");
                        if stderr().is_terminal() {
                            eprintln!("{}", paces(&[&reply]));
                        }
                        replies.push(Reply { text: String::new(), ..reply });
                    }
                    Err(problem) => say!("? {problem:#}"),
                }
            }
        }
        if !replies.is_empty() && !stderr().is_terminal() {
            eprintln!("{}", paces(&replies));
        }
        Ok(())
    }

    /// Prompts of a file. Each begins with the same seed, so that a reply does not depend on the lines before it.
    fn many(
        &self,
        speaker: &mut Speaker,
        prompts: &[String],
        manner: &Manner,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut all = Vec::with_capacity(prompts.len());
        for (line, prompt) in (1..).zip(prompts) {
            all.push(
                self.encode(speaker, prompt).with_context(|| format!("{}, prompt {line}", self.name()))?,
            );
        }
        let mut replies = Vec::new();
        for (prompt, tokens) in prompts.iter().zip(all) {
            let reply =
                interrupt.each(|| speaker.reply(&tokens, manner, |_| (), || !interrupt.requested()))?;
            let finish = match reply.finish {
                Some(Finish::Stop) => "stop",
                Some(Finish::Length) => "length",
                None => "interrupted",
            };
            let line =
                json!({"prompt": prompt, "text": reply.text, "tokens": reply.token_count, "finish": finish});
            say!("{line}");
            replies.push(Reply { text: String::new(), ..reply });
        }
        eprintln!("{}", paces(&replies));
        Ok(())
    }

    /// The file of prompts, for messages.
    fn name(&self) -> String {
        self.prompts.as_deref().unwrap_or(Path::new("-")).display().to_string()
    }
}

/// A line of a file of prompts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompt {
    prompt: String,
}

/// The prompts of a file of JSON lines, of which those that are empty are left out.
fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let unreadable = || format!("{} cannot be read as a text in UTF-8", path.display());
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin()).with_context(unreadable)?
    } else {
        fs::read_to_string(path).with_context(unreadable)?
    };
    let mut prompts = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Prompt { prompt }) => prompts.push(prompt),
            Err(error) => {
                let cure = "A line is, for example, {\"prompt\": \"Once upon a time\"}";
                bail!("{}, line {number}: {error}. {cure}", path.display());
            }
        }
    }
    let empty =
        format!("{} has no prompts: give it a line such as {{\"prompt\": \"Hello\"}}", path.display());
    ensure!(!prompts.is_empty(), Usage(empty));
    Ok(prompts)
}

/// How fast replies were, in words. The first token of a reply comes with its prompt, so the speed is that of the others.
fn paces<R: Borrow<Reply>>(replies: &[R]) -> String {
    let sum = |pace: fn(&Reply) -> Pace| {
        replies.iter().map(|reply| pace(reply.borrow())).fold(Pace::default(), |sum, pace| Pace {
            tokens: sum.tokens + pace.tokens,
            seconds: sum.seconds + pace.seconds,
        })
    };
    let words = |name: &str, count: usize, Pace { tokens, seconds }: Pace| {
        let speed = tokens as f64 / seconds;
        let speed = if speed.is_finite() { format!(", {speed:.1} a second") } else { String::new() };
        format!("{name}: {count} token{}{speed}", if count == 1 { "" } else { "s" })
    };
    let (prompt, reply) = (sum(|reply| reply.prompt), sum(|reply| reply.reply));
    let count = replies.iter().map(|reply| reply.borrow().token_count).sum();
    format!("{} | {}", words("prompt", prompt.tokens, prompt), words("reply", count, reply))
}

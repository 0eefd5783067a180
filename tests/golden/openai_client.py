"""Talks to `chat -- serve` with OpenAI's own Python client: whole replies, streams, tools, errors.

    pip install openai tokenizers safetensors numpy
    cargo build --release -p gradus-examples --features chat --example chat
    python tests/golden/openai_client.py target/release/examples/chat

It writes a tiny folder of Hugging Face's with a Llama that says one sentence by heart and then calls a tool, so that what the
client should get is known; of JSON it knows nothing, so what is right about that is the server's work. It ends with 1 if a check
fails, and prints how many held.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import openai
import pydantic
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "</user>", "<assistant>", "</assistant>", "<system>", "</system>", "<tool>", "</tool>"]
SAID = "The cat sat down."
CALL = '{"name": "add", "arguments": {"b": 2}}'
WIDTH = 64


def write_parrot(folder):
    """A model whose next token depends on the last one alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"{SAID} {CALL} Hello there"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    chain = ids("<assistant>") + ids(SAID) + ids("<tool>") + ids("</tool>") + ids("</assistant>")
    assert len(set(chain)) == len(chain) <= WIDTH, "a token comes twice"
    vocab, half = tokenizer.get_vocab_size(), WIDTH // 2
    embeddings, head = np.zeros((vocab, WIDTH), np.float32), np.zeros((vocab, WIDTH), np.float32)
    for at, token in enumerate(chain):
        embeddings[token, at] = 1
    for at, token in enumerate(chain[1:]):
        head[token, at] = 4
    layer = "model.layers.0."
    zeros = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (half, WIDTH), "self_attn.v_proj": (half, WIDTH),
             "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (WIDTH, WIDTH), "mlp.up_proj": (WIDTH, WIDTH), "mlp.down_proj": (WIDTH, WIDTH)}
    tensors = {f"{layer}{name}.weight": np.zeros(shape, np.float32) for name, shape in zeros.items()}
    for name in [f"{layer}input_layernorm", f"{layer}post_attention_layernorm", "model.norm"]:
        tensors[f"{name}.weight"] = np.ones(WIDTH, np.float32)
    tensors |= {"model.embed_tokens.weight": embeddings, "lm_head.weight": head}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": WIDTH,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocab, "hidden_act": "silu",
              "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
              "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False, "mlp_bias": False}
    (folder / "config.json").write_text(json.dumps(config))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "chat_template.jinja").write_text((HERE / "../../src/tokenizer/template/gradus.jinja").read_text())


class Roll(pydantic.BaseModel):
    """Rolls dice."""

    sides: int
    why: str
    fair: bool


held = failed = 0


def check(what, holds, seen=""):
    global held, failed
    held, failed = held + bool(holds), failed + (not holds)
    print(f"{'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {seen}'}")


def run(client):
    model = client.models.list().data[0].id
    check("the model is listed and found", client.models.retrieve(model).id == model, model)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
    ask = lambda **more: client.chat.completions.create(**{"model": model, "messages": messages, "temperature": 0, **more})

    reply = ask(max_completion_tokens=50)
    choice = reply.choices[0]
    check("a reply", (choice.message.content, choice.finish_reason) == (SAID, "stop"), reply)
    check("its tokens are counted", reply.usage.completion_tokens == 5 and reply.usage.total_tokens == reply.usage.prompt_tokens + 5, reply.usage)
    check("a limit", ask(max_tokens=2).choices[0].finish_reason == "length")
    check("a stop string", ask(stop=["sat"]).choices[0].message.content == "The cat ")

    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check("a stream", text == SAID and len(chunks) > 5, text)
    check("it ends with a reason and the usage", chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage == reply.usage, chunks[-2:])

    logprobs = ask(logprobs=True, top_logprobs=3).choices[0].logprobs.content
    check("probabilities", "".join(entry.token for entry in logprobs) == SAID and all(len(entry.top_logprobs) == 3 for entry in logprobs))

    parameters = {"type": "object", "properties": {"b": {"type": "number", "enum": [2]}}, "required": ["b"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": parameters}}]
    choice = ask(tools=tools).choices[0]
    call = choice.message.tool_calls[0]
    check("a tool call", choice.finish_reason == "tool_calls" and call.function.name == "add" and json.loads(call.function.arguments) == {"b": 2}, choice)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    check("its result goes back", ask(tools=tools).choices[0].message.content == SAID)
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    check("the client puts a streamed call together", final.message.tool_calls[0].function.arguments == call.function.arguments, final)
    check("and says when it is complete", "tool_calls.function.arguments.done" in kinds, kinds)
    check("no tool, if none is wanted", ask(tools=tools, tool_choice="none").choices[0].message.tool_calls is None)

    choice = client.chat.completions.create(model=model, messages=messages[:2], tools=tools, tool_choice="required", seed=3).choices[0]
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls]
    check("a tool that has to be called", choice.finish_reason == "tool_calls" and calls and all(call == ("add", {"b": 2}) for call in calls), choice)
    named = {"type": "function", "function": {"name": "add"}}
    choice = ask(tools=tools, tool_choice=named).choices[0]
    check("a certain tool, once", len(choice.message.tool_calls) == 1 and choice.message.content is None, choice)
    parsed = client.chat.completions.parse(model=model, messages=messages[:2], tools=[openai.pydantic_function_tool(Roll)], tool_choice="required", max_tokens=200, seed=5)
    rolls = [call.function.parsed_arguments for call in parsed.choices[0].message.tool_calls]
    check("arguments that the client parses into a class", rolls and all(isinstance(roll, Roll) for roll in rolls), parsed)
    parsed = client.chat.completions.parse(model=model, messages=messages[:2], response_format=Roll, max_tokens=200, seed=6).choices[0]
    check("a reply that the client parses into a class", isinstance(parsed.message.parsed, Roll), parsed)
    choice = ask(response_format={"type": "json_object"}, temperature=1, max_tokens=200, seed=7).choices[0]
    check("a reply that is an object", isinstance(json.loads(choice.message.content), dict) and choice.finish_reason == "stop", choice)

    with client.chat.completions.with_streaming_response.create(model=model, messages=messages, stream=True) as response:
        next(response.iter_lines())
    check("a client that goes away does no harm", ask().choices[0].message.content == SAID)

    text = client.completions.create(model=model, prompt="Hello", max_tokens=3, seed=1)
    again = client.completions.create(model=model, prompt="Hello", max_tokens=3, seed=1)
    check("a completion, twice the same", text.choices[0].text == again.choices[0].text and text.usage.prompt_tokens > 0, text)
    chunks = list(client.completions.create(model=model, prompt="Hello", max_tokens=3, seed=1, stream=True))
    check("a completion as a stream", "".join(chunk.choices[0].text for chunk in chunks) == text.choices[0].text)

    for more, param in [({"n": 2}, "n"), ({"temperature": 3}, "temperature"), ({"logit_bias": {"5": 1}}, "logit_bias"),
                        ({"response_format": {"type": "yaml"}}, "response_format.type"), ({"extra_body": {"colour": 1}}, "colour")]:
        try:
            ask(**more)
            check(f"{param} is refused", False)
        except openai.BadRequestError as error:
            check(f"{param} is refused", error.param == param and error.type == "invalid_request_error", error)
    try:
        client.models.retrieve("another")
        check("another model is not found", False)
    except openai.NotFoundError as error:
        check("another model is not found", error.code == "model_not_found", error)


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder) / "parrot"
    folder.mkdir()
    write_parrot(folder)
    command = [sys.argv[1], "serve", "--model", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = next(line.split()[-1] for line in server.stdout if line.startswith("listening on "))
        run(openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0))
    finally:
        server.terminate()
    check("the server ends in peace", server.wait(timeout=60) == 0)
print(f"{held} checks held, {failed} failed; openai {openai.__version__}")
sys.exit(failed > 0)

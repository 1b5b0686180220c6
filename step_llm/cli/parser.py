"""Commands and options. A value is checked where it is used: there its range is defined."""

from __future__ import annotations

import argparse
import textwrap

import step_llm
from step_llm.cli.terminal import one_line

__all__ = ["make_parser"]

_DEVICE = "CPU, GPU or Ascend; default: STEP_LLM_DEVICE, else Ascend, GPU, CPU in this order"
_RUN = "a run folder or a checkpoint; mini: the translator that comes with the library"
_EXAMPLES = {
    "fetch": "--mirror /mnt/usb/multi30k",
    "fetch-model": "Qwen2.5-0.5B-Instruct",
    "train": "--corpus mini --out runs/first",
    "resume": "runs/first --epochs 10",
    "evaluate": "runs/first --beam 1",
    "translate": 'runs/first "Ein Hund bellt."',
    "export": "runs/first --to ctranslate2 served",
    "chat": "data/models/Qwen2.5-0.5B-Instruct",
    "info": "runs/first",
    "check": "--device Ascend",
    "demo": "--corpus mini",
}
_GREATEST_PENALTY = 10.0  # that of the search, which must not be imported here


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as all others are told, without printing the usage before it."""

    takes_sentences = False
    shows_recipes = False

    def format_help(self):
        return super().format_help() + (_recipes() if self.shows_recipes else "")

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {one_line(message)} (--help shows the usage)\n")

    def parse_known_args(self, args=None, namespace=None):
        # argparse takes the sentences after `DIR --beam 1` only where it is told to mix.
        if not self.takes_sentences:
            return super().parse_known_args(args, namespace)
        self.takes_sentences = False  # the mixed way comes back here for each of its two passes
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.takes_sentences = True


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it returns has ``command``, a module of this room."""
    parser = _Parser(
        prog="step_llm",
        description="Train and use a Transformer, or a recurrent model, that translates.",
        epilog="COMMAND --help shows a command's options, and an example. STEP_LLM_DEBUG=1 shows "
        "the full traceback of an error.",
    )
    parser.add_argument("--version", action="version", version=f"step_llm {step_llm.__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    _add_fetch(commands)
    _add_fetch_model(commands)
    _add_train(commands)
    _add_resume(commands)
    _add_evaluate(commands)
    _add_translate(commands)
    _add_export(commands)
    _add_chat(commands)
    _add_info(commands)
    _add_check(commands)
    _add_demo(commands)
    for name, example in _EXAMPLES.items():
        commands.choices[name].epilog = f"Example: python -m step_llm {name} {example}"
    commands.choices["train"].shows_recipes = True
    return parser


def _recipes():
    """What an option of ``train`` is where it is not given."""
    from step_llm.training.recipes import RECIPES

    lines = ["", "The recipes, for what is not given:"]
    for name, recipe in RECIPES.items():
        fields = {"preset": recipe.preset, "tokens": recipe.tokens}
        fields.update(vocab_size=recipe.vocab_size, **recipe.model, **recipe.training)
        fields.pop("buckets", None)  # no option
        options = (f"--{field.replace('_', '-')} {value}" for field, value in fields.items())
        lines.append(textwrap.fill(f"{name}: {' '.join(options)}", 78, subsequent_indent="    ",
                                   break_on_hyphens=False))  # fmt: skip
    return "\n".join(lines) + "\n"


def _add_fetch(commands):
    fetch = commands.add_parser(
        "fetch",
        help="download Multi30k, or copy it from a mirror",
        description="Download Multi30k, or copy it from a mirror. It goes into the folder that "
        "the environment variable STEP_LLM_DATA names; without it, into data/ of a checkout of "
        "the project, or, where step_llm was installed with pip, into ~/.cache/step_llm. `info` "
        "shows the folder.",
    )
    add = fetch.add_argument
    add("--mirror", metavar="ADDRESS|FOLDER", help="where to look first")
    add("--out", metavar="DIR", type=_path, help="another folder; `train` then takes it: --corpus")


def _add_fetch_model(commands):
    fetch = commands.add_parser(
        "fetch-model",
        help="download a published model, or copy it from a mirror",
        description="Download a published model's folder: weights as safetensors, "
        "configuration, tokenizer. A download that was cut goes on where it stood.",
    )
    add = fetch.add_argument
    text = "Qwen2.5-0.5B, Qwen2.5-0.5B-Instruct, Qwen3-0.6B, GPT-2, bert-base-chinese, "
    add("name", metavar="NAME", type=_path, help=text + "opus-mt-de-en, or OWNER/NAME")
    text = "modelscope, huggingface, the address of a mirror, or a folder; default: "
    text += "STEP_LLM_MODEL_MIRROR, else ModelScope and then Hugging Face"
    add("--mirror", metavar="PLACE", type=_path, help=text)
    text = "default: models/NAME in the folder that `fetch` names"
    add("--out", metavar="DIR", type=_path, help=text)
    text = "how long a server may be silent; default: 20"
    add("--timeout", metavar="SECONDS", type=float, default=20.0, help=text)


def _add_train(commands):
    train = commands.add_parser(
        "train",
        help="train a translator",
        description="Train a translator. What no option says, the corpus's recipe decides.",
    )
    add = train.add_argument
    text = "mini, multi30k, or a folder with train.de, train.en, …"
    add("--corpus", required=True, type=_path, help=text)
    add("--out", metavar="DIR", required=True, type=_path, help="the run folder to make")
    add("--resume", action="store_true", help="go on with DIR if it holds a run, as `resume` does")
    add("--arch", metavar="NAME", help="transformer, rnn, lstm or gru; default: transformer")
    text = "of rnn, lstm and gru: additive attention; the default"
    add("--attention", action="store_true", default=None, help=text)
    text = "of rnn, lstm and gru: one vector for the whole sentence"
    add("--no-attention", dest="attention", action="store_false", help=text)
    add("--preset", metavar="NAME", help="sizes of the model: tiny, small or base")
    add("--epochs", metavar="N", type=int, help="passes over the training text")
    add("--seed", metavar="N", type=int, help="of weights, batches and dropout; default: 0")
    add("--device", metavar="NAME", help=_DEVICE)
    add("--source", metavar="LANG", help="ending of the source files; default: de")
    add("--target", metavar="LANG", help="ending of the target files; default: en")

    add = train.add_argument_group("recipe").add_argument
    text = "what is used where no option says it: a name from below; default: the corpus's own"
    add("--recipe", metavar="NAME", help=text)
    add("--tokens", metavar="KIND", help="bpe (byte pairs) or word (whole words)")
    add("--vocab-size", metavar="N", type=int, help="of the vocabulary that both languages share")
    text = "how the model knows the order of the words: sinusoidal, learned or rotary"
    add("--positions", metavar="NAME", help=text)
    text = "LayerNorm after a sub-layer (post, the paper) or before it (pre)"
    add("--norm", metavar="PLACE", help=text)
    add("--dropout", metavar="P", type=float, help="share of each sub-layer's output set to zero")
    add("--batch-tokens", metavar="N", type=int, help="positions in a batch, for each side")
    text = "at most so many lengths of batches: with fewer there is less to compile and to keep in "
    text += "memory, and more padding; default: the recipe's, and 4 on a GPU or an NPU"
    add("--shapes", metavar="N", type=int, help=text)
    add("--peak-learning-rate", metavar="RATE", type=float, help="reached after the warm-up")
    add("--warmup-steps", metavar="N", type=int, help="updates until the peak")
    text = "share of the updates, the last ones, in which the learning rate falls to nearly 0"
    add("--cooldown", metavar="SHARE", type=float, help=text)
    add("--label-smoothing", metavar="P", type=float, help="probability left to all words")
    text = "weight of the agreement of two dropout masks (R-Drop); 0 without, at half the time"
    add("--r-drop", metavar="ALPHA", type=float, help=text)
    text = "stop after so many epochs without a better BLEU; 0 never"
    add("--patience", metavar="N", type=int, help=text)
    add("--average", metavar="N", type=int, help="average the weights of the last so many epochs")
    add("--save-every", metavar="N", type=int, help="also save a checkpoint every so many updates")
    text = "of the matrix products: float32, float16 or bfloat16; default: float32"
    add("--precision", metavar="TYPE", help=text)
    add("--accumulate", metavar="N", type=int, help="batches to an update; default: 1")


def _add_resume(commands):
    resume = commands.add_parser(
        "resume",
        help="go on with a training that was stopped, or for more epochs",
        description="Go on from the last checkpoint of a run. Corpus, languages, model and recipe "
        "are the run's own. (A corpus folder that has moved: train --corpus DIR --out RUN "
        "--resume.)",
    )
    resume.add_argument("folder", metavar="RUN", type=_path, help="the run folder")
    resume.add_argument(
        "--epochs", metavar="N", type=int, help="train until so many are done; default: the run's"
    )
    resume.add_argument("--device", metavar="NAME", help=_DEVICE)


def _add_evaluate(commands):
    evaluate = commands.add_parser("evaluate", help="BLEU and chrF of a trained translator")
    add = evaluate.add_argument
    add("folder", metavar="DIR", type=_path, help=_RUN)
    add("--corpus", type=_path, help="mini, multi30k or a folder; default: as trained")
    add("--split", default="test", help="train, val or test; default: test")
    _add_search_options(add)
    add("--json", action="store_true", help="print one JSON object")


def _add_translate(commands):
    text = "translate sentences given as arguments, or standard input line by line"
    translate = commands.add_parser("translate", help=text, description=text.capitalize() + ".")
    translate.takes_sentences = True
    add = translate.add_argument
    add("folder", metavar="DIR", type=_path, help=_RUN)
    add("sentences", metavar="SENTENCE", nargs="*", default=())
    _add_search_options(add)
    text = "where one sentence's tokens look: a page with every head (.html), or a picture (.png)"
    add("--show-attention", metavar="FILE", type=_path, help=text)


def _add_export(commands):
    export = commands.add_parser(
        "export",
        help="a trained translator in the format of an engine that serves it",
        description="Write a trained translator for CTranslate2, or as MindIR for MindSpore Lite; "
        "its tokenizers lie beside it. See docs/serving.md.",
    )
    add = export.add_argument
    add("folder", metavar="DIR", type=_path, help=_RUN)
    add("--to", required=True, choices=("ctranslate2", "mindir"), help="the engine's format")
    add("out", metavar="OUT", type=_path, help="the folder to make")
    add("--int8", action="store_true", help="of ctranslate2: weights of 8 bits")
    add("--device", metavar="NAME", help=_DEVICE)
    add = export.add_argument_group("fixed shapes of mindir").add_argument
    add("--rows", metavar="N", type=int, help="sentences times beam size; default: 5")
    add("--source-length", metavar="N", type=int, help="tokens of a source; default: 32")
    add("--room", metavar="N", type=int, help="tokens of a translation; default: 64")


def _add_search_options(add):
    add("--beam", metavar="N", type=int, default=5, help="beam size; 1 is greedy; default: 5")
    text = "alpha; 0 is none; default: 0.6"
    add("--length-penalty", metavar="ALPHA", type=_length_penalty, default=0.6, help=text)
    add("--batch-size", metavar="N", type=int, default=64, help="sentences at once; default: 64")
    add("--device", metavar="NAME", help=_DEVICE)


def _add_chat(commands):
    chat = commands.add_parser(
        "chat",
        help="talk with a published model in the terminal",
        description="Talk with a model of the decoder kind (GPT-2, Llama, Qwen2, Qwen3). /new "
        "begins a new conversation, /exit ends the program, Ctrl-C ends an answer. Where the input "
        "is no terminal, each of its lines is a message.",
    )
    add = chat.add_argument
    add("folder", metavar="DIR", type=_path, help="the model's folder; see fetch-model")
    text = "below 1 more probable words, above 1 rarer ones, 0 always the most probable; "
    add("--temperature", metavar="T", type=float, default=0.7, help=text + "default: 0.7")
    text = "draw among the fewest tokens with this probability together; default: 0.8"
    add("--top-p", metavar="P", type=float, default=0.8, help=text)
    add("--max-tokens", metavar="N", type=int, default=512, help="of an answer; default: 512")
    add("--seed", metavar="N", type=int, default=0, help="of what is drawn; default: 0")
    add("--system", metavar="TEXT", help="what the model is told before the first message")
    add("--device", metavar="NAME", help=_DEVICE)


def _add_info(commands):
    info = commands.add_parser("info", help="versions, device and corpora; or what a run is")
    info.add_argument("folder", metavar="DIR", nargs="?", type=_path, help=_RUN)


def _add_check(commands):
    check = commands.add_parser(
        "check",
        help="whether everything works on this device: a report to attach to an issue",
        description="Compare with PyTorch's outputs, train 50 steps, decode, train in each "
        "precision, compare each form of the device with the textbook's, train with several "
        "processes; write a report. The exit status is 0 if all passed, 1 if a part failed.",
    )
    add = check.add_argument
    text = "default: runs/check.md"
    add("--out", metavar="FILE", type=_path, default="runs/check.md", help=text)
    add("--steps", metavar="N", type=int, default=50, help="updates to train; default: 50")
    text = "run lesson 05 in quick mode too, which takes minutes"
    add("--lesson", action="store_true", help=text)
    add("--device", metavar="NAME", help=_DEVICE)


def _add_demo(commands):
    demo = commands.add_parser(
        "demo",
        help="fetch, train, evaluate and translate in one go",
        description="Fetch Multi30k, or fall back to the embedded corpus; train, evaluate on the "
        "test set, and translate three sentences. Goes on where an earlier demo stopped.",
    )
    add = demo.add_argument
    add("--corpus", choices=("mini", "multi30k"), help="do not choose, take this one")
    text = "train Multi30k with its fast recipe: a quarter of an hour, not an hour"
    add("--fast", action="store_true", help=text)
    add("--mirror", metavar="ADDRESS|FOLDER", help="as in fetch")
    add("--out", metavar="DIR", type=_path, help="default: runs/RECIPE")
    add("--device", metavar="NAME", help="as in train")


def _path(text):
    """An empty one would be the current folder, which nobody has named."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a name, not an empty one")
    return text


def _length_penalty(text):
    try:
        alpha = float(text)
    except ValueError:
        alpha = float("nan")
    if not 0.0 <= alpha <= _GREATEST_PENALTY:
        raise argparse.ArgumentTypeError(
            f"it is {text}; expected a number from 0 to {_GREATEST_PENALTY:g}"
        )
    return alpha

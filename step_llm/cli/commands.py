"""The command line. MindSpore is imported inside the commands, so that --help is instant."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

__all__ = ["main"]

_ARCHITECTURES = ("transformer", "rnn", "lstm", "gru")
_PRESETS = ("tiny", "small", "base")
_POSITIONS = ("sinusoidal", "learned", "rotary")
_PRECISIONS = ("float32", "float16", "bfloat16")
_DEVICE_HELP = "CPU, GPU or Ascend; default: STEP_LLM_DEVICE, else Ascend, GPU, CPU in this order"
_DEMO_SENTENCES = {
    "multi30k": (
        "Ein Mann fährt mit dem Fahrrad durch die Stadt.",
        "Zwei Hunde spielen im Schnee.",
        "Eine Frau in einem roten Kleid liest ein Buch.",
    ),
    "mini": (
        "Ein kleiner Junge spielt im Garten.",
        "Zwei Frauen trinken Kaffee.",
        "Der Hund läuft über die Straße.",
    ),
}


class UserError(ValueError):
    """A mistake of the user's, told in one line."""


class _Parser(argparse.ArgumentParser):
    """A parser that does not print its usage before a mistake: one line, like all others."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (--help shows the usage)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 a check has failed, 2 a mistake (one
    line on stderr)."""
    options = _parser().parse_args(arguments)
    try:
        _place(options)
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("step_llm: stopped by the user", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, for example) has gone: nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("STEP_LLM_DEBUG"):
            raise
        print(f"step_llm: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _place(options):
    """On the OpenI platform a task's results outlive it only in its output folder."""
    from step_llm.runtime.openi import find_task

    options.task = find_task()
    if options.task is None:
        return
    if options.run in (_train, _check):
        options.out = str(options.task.run_folder(options.out, is_new=True))
    elif options.run in (_evaluate, _translate, _info) and options.folder:
        options.folder = str(options.task.run_folder(options.folder))


def _one_line(error):
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _parser():
    parser = _Parser(
        prog="step_llm",
        description="Train and use a Transformer, or a recurrent model, that translates.",
        epilog="STEP_LLM_DEBUG=1 shows the full traceback of an error.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    fetch = commands.add_parser("fetch", help="download Multi30k, or copy it from a mirror")
    fetch.add_argument("--mirror", metavar="ADDRESS|FOLDER", help="where to look first")
    fetch.add_argument("--out", metavar="DIR", help="default: data/multi30k")
    fetch.set_defaults(run=_fetch)

    train = commands.add_parser(
        "train",
        help="train a translator",
        description="Train a translator. What no option says, the corpus's recipe decides.",
    )
    _add_training_options(train)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="BLEU and chrF of a trained translator")
    evaluate.add_argument("folder", metavar="DIR", help="a run folder or a checkpoint")
    evaluate.add_argument("--corpus", help="mini, multi30k or a folder; default: as trained")
    evaluate.add_argument("--split", default="test", help="train, val or test; default: test")
    _add_search_options(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_evaluate)

    translate = commands.add_parser(
        "translate", help="translate sentences given as arguments, or standard input line by line"
    )
    translate.add_argument("folder", metavar="DIR", help="a run folder or a checkpoint")
    translate.add_argument("sentences", metavar="SENTENCE", nargs="*")
    _add_search_options(translate)
    translate.add_argument(
        "--show-attention", metavar="FILE.png", help="draw the cross-attention of one sentence"
    )
    translate.set_defaults(run=_translate)

    info = commands.add_parser("info", help="versions, device and corpora; or what a run is")
    info.add_argument("folder", metavar="DIR", nargs="?", help="a run folder or a checkpoint")
    info.set_defaults(run=_info)

    check = commands.add_parser(
        "check",
        help="whether everything works on this device: a report to paste into an issue",
        description="Compare with PyTorch's outputs, train 50 steps, decode, measure; write a "
        "report. The exit status is 0 if all passed.",
    )
    check.add_argument(
        "--out", metavar="FILE", default="runs/check.md", help="default: runs/check.md"
    )
    check.add_argument("--steps", type=int, default=50, help="updates to train; default: 50")
    check.add_argument("--device", help=_DEVICE_HELP)
    check.set_defaults(run=_check)

    demo = commands.add_parser(
        "demo",
        help="fetch, train, evaluate and translate in one go",
        description="Fetch Multi30k, or fall back to the embedded corpus; train, evaluate on the "
        "test set, and translate three sentences. Goes on where an earlier demo stopped.",
    )
    demo.add_argument("--corpus", choices=("mini", "multi30k"), help="do not choose, take this one")
    demo.add_argument("--mirror", metavar="ADDRESS|FOLDER", help="as in fetch")
    demo.add_argument("--out", metavar="DIR", help="default: runs/CORPUS")
    demo.add_argument("--device", help="as in train")
    demo.set_defaults(run=_demo)
    return parser


def _add_training_options(parser):
    add = parser.add_argument
    add("--corpus", required=True, help="mini, multi30k, or a folder with train.de, train.en, …")
    add("--out", metavar="DIR", required=True, help="the run folder to make, or to go on with")
    add("--resume", action="store_true", help="go on from the last checkpoint in DIR")
    add("--arch", choices=_ARCHITECTURES, help="kind of model; default: transformer")
    text = "of rnn, lstm and gru: additive attention; the default"
    add("--attention", action="store_true", default=None, help=text)
    text = "of rnn, lstm and gru: one vector for the whole sentence"
    add("--no-attention", dest="attention", action="store_false", help=text)
    add("--preset", choices=_PRESETS, help="sizes of the model")
    add("--epochs", type=int, help="passes over the training text")
    add("--seed", type=int, default=0, help="of weights, batches and dropout; default: 0")
    add("--device", help=_DEVICE_HELP)
    add("--source", default="de", metavar="LANG", help="ending of the source files; default: de")
    add("--target", default="en", metavar="LANG", help="ending of the target files; default: en")
    group = parser.add_argument_group("recipe")
    add = group.add_argument
    add("--tokens", choices=("bpe", "word"), help="byte pairs, or whole words")
    add("--vocab-size", type=int, help="of the vocabulary that both languages share")
    add("--positions", choices=_POSITIONS, help="how the model knows the order of the words")
    add("--norm", choices=("post", "pre"), help="LayerNorm after (the paper) or before a sub-layer")
    add("--dropout", type=float, help="share of each sub-layer's output set to zero")
    add("--batch-tokens", type=int, help="positions in a batch, for each side")
    add("--peak-learning-rate", type=float, help="reached after the warm-up")
    add("--warmup-steps", type=int, help="updates until the peak")
    add("--label-smoothing", type=float, help="probability left to all words")
    add("--patience", type=int, help="stop after so many epochs without a better BLEU; 0 never")
    add("--average", type=int, help="average the weights of the last so many epochs")
    add("--save-every", type=int, help="also save a checkpoint every so many updates")
    add("--precision", choices=_PRECISIONS, help="of the matrix products; default: float32")
    add("--accumulate", type=int, help="batches to an update; default: 1")


def _add_search_options(parser):
    add = parser.add_argument
    add("--beam", type=int, default=5, help="beam size; 1 is greedy; default: 5")
    add("--length-penalty", type=float, default=0.6, help="alpha; 0 is none; default: 0.6")
    add("--batch-size", type=int, default=64, help="sentences at once; default: 64")
    add("--device", help=_DEVICE_HELP)


def _fetch(options):
    return _run_fetcher(options, options.out)


def _run_fetcher(options, out):
    from step_llm.data.corpus import corpus_folder
    from step_llm.runtime.files import shipped

    script = shipped("data/fetch_multi30k.sh")
    bash = shutil.which("bash")
    if not script.is_file() or bash is None:
        raise UserError(f"fetching needs bash and {script}; run it from a copy of the project")
    command = [bash, str(script), "--out", str(out or corpus_folder("multi30k"))]
    mirror = options.mirror
    if options.task and not mirror and not os.environ.get("MULTI30K_MIRROR"):
        mirror = options.task.multi30k()  # a data set that was chosen for the task
    if mirror:
        command += ["--mirror", str(mirror)]
    # The script tells each source it tried and why it failed.
    return 2 if subprocess.run(command).returncode else 0


def _train(options):
    from step_llm.runtime.device import use_device
    from step_llm.training.distributed import join_group

    device = use_device(options.device, prepare=join_group)
    group = join_group()
    # Each worker has a log of its own; what is the same in all stands in the first one's.
    say = print if group.is_first else _say_nothing
    say(device)
    if group.size > 1:
        say(f"{group.size} workers; each takes its share of every batch")
    from step_llm.data.batches import encode_pairs
    from step_llm.data.corpus import corpus_folder, read_parallel
    from step_llm.data.vocabulary import train_tokenizers
    from step_llm.training.checkpoint import load_model, read_state
    from step_llm.training.config import TrainingConfig
    from step_llm.training.recipes import recipe_for
    from step_llm.training.run_folder import RunFolder, find_checkpoint, read_run
    from step_llm.training.translation import translation_trainer

    recipe = recipe_for(options.corpus)
    folder = corpus_folder(options.corpus)
    training_text = read_parallel(folder, "train", options.source, options.target)
    validation_text = read_parallel(folder, "val", options.source, options.target)
    given = vars(options)

    out = RunFolder(options.out).path
    has_run = "last" in read_run(out)
    if has_run and not options.resume:
        raise UserError(
            f"{out} already holds a training run; add --resume to go on with it, "
            "or choose another --out"
        )
    if has_run:
        last = find_checkpoint(out, "last")
        model, tokenizers = load_model(last)
        state = read_state(last, "training", "config")
        # A run of an older version does not name every field.
        config = TrainingConfig.from_dict(state["config"])
        notes = state.get("notes", {})
        _refuse_changes(options, last, model, tokenizers, {**vars(config), **notes})
        if options.epochs is not None:
            config = replace(config, epochs=options.epochs)
    else:
        if options.resume:
            say(f"{out} has no checkpoint yet: training starts from the beginning")
        vocab_size = recipe.vocab_size if options.vocab_size is None else options.vocab_size
        tokenizers = train_tokenizers(
            training_text.source,
            training_text.target,
            kind=options.tokens or recipe.tokens,
            vocab_size=vocab_size,
        )
        notes = {"source": options.source, "target": options.target, "vocab_size": vocab_size}
        model = _new_model(options, recipe, len(tokenizers.source), len(tokenizers.target))
        names = TrainingConfig.__dataclass_fields__
        changes = {k: v for k, v in given.items() if k in names and v is not None}
        config = TrainingConfig(**{**recipe.training, **changes})
    training = encode_pairs(training_text, tokenizers, config.buckets[-1])
    validation = encode_pairs(validation_text, tokenizers, config.buckets[-1])
    say(training.report)
    say(validation.report)
    notes["corpus"] = options.corpus
    trainer = translation_trainer(
        model, tokenizers, training, validation, validation_text, config, out,
        notes=notes, group=group,
    )  # fmt: skip
    if has_run and trainer.resume():
        say(f"going on after step {trainer.state['step']}")
    weights = sum(p.size for p in model.get_parameters())
    say(
        f"{weights:,} weights; {len(trainer.batches)} batches an epoch in "
        f"{len(trainer.batches.shapes)} shapes, {trainer.batches.real_token_share():.0%} real "
        "tokens. Each shape is compiled at its first batch, which takes some seconds."
    )
    try:
        trainer.fit()
    finally:
        if options.task and group.is_first:
            options.task.upload()
    say(f"done: {out}, best checkpoint {read_run(out).get('best')}")


def _say_nothing(*_):
    pass


def _new_model(options, recipe, source_size, target_size):
    """The model of a new run, as the options say, else the recipe."""
    from step_llm.models.registry import ARCHITECTURES

    arch = options.arch or "transformer"
    _refuse_foreign_options(options, arch)
    config_class, model_class = ARCHITECTURES[arch]
    sizes = {"tied_embeddings": "all", **recipe.model}
    if arch != "transformer":
        sizes.pop("norm", None)
        sizes.update(cell=arch, has_attention=options.attention is not False)
    for name in ("positions", "norm", "dropout"):
        if getattr(options, name) is not None:
            sizes[name] = getattr(options, name)
    preset = options.preset or recipe.preset
    return model_class(
        config_class.preset(preset, source_size, target_size, **sizes), seed=options.seed
    )


def _refuse_foreign_options(options, arch):
    """Options that have no meaning for an architecture are not passed over in silence."""
    foreign = ("attention",) if arch == "transformer" else ("positions", "norm")
    for name in foreign:
        if getattr(options, name) is not None:
            raise UserError(f"--{name} has no meaning with --arch {arch}; leave the option out")


def _refuse_changes(options, last, model, tokenizers, fields):
    """A resumed run keeps its recipe: say so where an option asks for something else."""
    from step_llm.data.corpus import CORPORA
    from step_llm.models.registry import architecture_of

    config = model.config
    actual = {"arch": architecture_of(model), "tokens": tokenizers.source.kind, **fields}
    for name, field in (
        ("positions", "positions"), ("norm", "norm"), ("dropout", "dropout"),
        ("attention", "has_attention"),
    ):  # fmt: skip
        if hasattr(config, field):
            actual[name] = getattr(config, field)
    if options.arch in (None, actual["arch"]):
        _refuse_foreign_options(options, actual["arch"])
        if options.preset is not None:
            _refuse_other_sizes(options.preset, config, last)
    for name, value in vars(options).items():
        if name in ("epochs", "seed") or value is None or name not in actual:
            continue
        if name == "corpus" and not {value, actual[name]} & set(CORPORA):
            continue  # A folder of one's own may have moved.
        if actual[name] != value:
            raise UserError(
                f"--{name.replace('_', '-')} is {value}, but the run in {last} was started with "
                f"{actual[name]}; leave the option out to go on with that"
            )


def _refuse_other_sizes(preset, config, last):
    from step_llm.models.config import PRESETS
    from step_llm.models.recurrent import RECURRENT_PRESETS, RecurrentConfig

    if isinstance(config, RecurrentConfig):
        wanted, what = RECURRENT_PRESETS[preset], "d_model, layers"
        sizes = (config.d_model, config.num_layers)
    else:
        wanted, what = PRESETS[preset], "d_model, encoder and decoder layers, d_ff, heads"
        sizes = (
            config.d_model, config.num_encoder_layers, config.num_decoder_layers,
            config.d_ff, config.num_heads,
        )  # fmt: skip
    if wanted != sizes:
        raise UserError(
            f"--preset {preset} has sizes {wanted}, but the model in {last} has {sizes} ({what}); "
            "leave the option out to go on with that one"
        )


def _evaluate(options):
    from step_llm.runtime.device import use_device

    device = use_device(options.device)
    from step_llm.data.corpus import corpus_folder, read_parallel
    from step_llm.decoding.translator import Translator
    from step_llm.evaluation.metrics import score
    from step_llm.training.checkpoint import load_model, read_state
    from step_llm.training.run_folder import find_checkpoint

    model, tokenizers = load_model(options.folder)
    notes = read_state(find_checkpoint(options.folder)).get("notes", {})
    corpus = options.corpus or notes.get("corpus")
    if corpus is None:
        raise UserError("the checkpoint does not say its corpus; name it with --corpus")
    text = read_parallel(
        corpus_folder(corpus), options.split, notes.get("source", "de"), notes.get("target", "en")
    )
    translator = Translator(model, tokenizers)
    started = time.perf_counter()
    hypotheses = _translated(translator, text.source, options)
    seconds = time.perf_counter() - started
    scores = score(hypotheses, text.target)
    if options.json:
        result = {
            "bleu": round(scores.bleu, 2),
            "chrf": round(scores.chrf, 2),
            "signature": scores.signature,
            "chrf_signature": scores.chrf_signature,
            "sentences": scores.sentences,
            "sentences_per_second": round(scores.sentences / seconds, 2),
            "seconds": round(seconds, 2),
            "device": device.name,
            "corpus": corpus,
            "split": options.split,
            "beam_size": options.beam,
            "length_penalty": options.length_penalty,
        }
        print(json.dumps(result))
    else:
        print(device)
        print(f"{corpus}, {options.split}, beam {options.beam}:")
        print(scores)
        print(f"{scores.sentences / seconds:.1f} sentences a second, compiling included")


def _translate(options):
    from step_llm.runtime.device import use_device

    use_device(options.device)
    from step_llm.decoding.translator import Translator
    from step_llm.evaluation.plots import plot_attention
    from step_llm.training.checkpoint import load_model

    if options.show_attention and len(options.sentences) != 1:
        raise UserError("--show-attention draws one sentence; give exactly one as an argument")
    translator = Translator(*load_model(options.folder))
    if options.show_attention:
        picture = translator.attention(
            options.sentences[0], beam_size=options.beam, length_penalty=options.length_penalty
        )
        plot_attention(*picture, path=options.show_attention)
    if options.sentences:
        lines = list(options.sentences)
    else:
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
        try:
            lines = [line.rstrip("\r\n") for line in sys.stdin]
        except UnicodeDecodeError as error:
            raise UserError(f"standard input is not UTF-8: {error}") from None
    for translation in _translated(translator, lines, options):
        print(translation)


def _translated(translator, sentences, options):
    from step_llm.runtime.graph_mode import graph_mode

    with graph_mode():
        return translator.translate(
            list(sentences),
            beam_size=options.beam,
            length_penalty=options.length_penalty,
            batch_size=options.batch_size,
        )


def _info(options):
    import platform

    import mindspore as ms

    import step_llm
    from step_llm.data.corpus import CORPORA, corpus_folder
    from step_llm.runtime.device import choose_device

    print(f"step_llm {step_llm.__version__}, MindSpore {ms.__version__}, "
          f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
          f"{os.cpu_count()} CPU cores")  # fmt: skip
    print(choose_device())
    for name in CORPORA:
        folder = corpus_folder(name)
        there = (folder / "train.de").is_file()
        print(f"corpus {name}: {folder if there else 'not fetched yet (python -m step_llm fetch)'}")
    if options.folder is None:
        return
    from step_llm.models.registry import architecture_of
    from step_llm.training.checkpoint import load_model, read_state
    from step_llm.training.run_folder import find_checkpoint

    checkpoint = find_checkpoint(options.folder)
    model, tokenizers = load_model(checkpoint)
    state = read_state(checkpoint)
    print(f"checkpoint {checkpoint}")
    print(f"{architecture_of(model)}, {sum(p.size for p in model.get_parameters()):,} weights, "
          f"{model.config}")  # fmt: skip
    print(f"tokens: {tokenizers.source.kind}, {len(tokenizers.source)} source, "
          f"{len(tokenizers.target)} target")  # fmt: skip
    print(f"notes: {json.dumps(state.get('notes', {}), ensure_ascii=False)}")
    # The best checkpoint knows nothing of the epochs after it; the last one does.
    state = read_state(find_checkpoint(options.folder, "last"))
    for entry in state.get("training", {}).get("history", []):
        # BLEU, or of a language model perplexity.
        name = next(n for n in entry if n.startswith("validation_") and n != "validation_loss")
        name, value = name.removeprefix("validation_"), entry[name]
        value = f"BLEU {value:.1f}" if name == "bleu" else f"{name} {value:.2f}"
        print(
            f"epoch {entry['epoch']}: training loss {entry['train_loss']:.3f}, validation loss "
            f"{entry['validation_loss']:.3f}, validation {value}"
        )


def _check(options):
    if options.steps < 2:
        raise UserError(f"--steps is {options.steps}; expected at least 2")
    from step_llm.runtime.device import use_device

    device = use_device(options.device)
    print(device, flush=True)
    from step_llm.cli.check import check_device

    report = check_device(device, options.steps, say=lambda line: print(line, flush=True))
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(report), encoding="utf-8")
    if options.task:
        options.task.upload()
    print(f"\n{report}\nThe report is in {path}; paste it into an issue.")
    return 0 if report.passed else 1


def _demo(options):
    corpus = options.corpus
    if corpus != "mini" and _run_fetcher(options, None):
        if corpus == "multi30k":
            raise UserError("Multi30k could not be fetched; see above")
        print("Multi30k could not be fetched: the embedded corpus serves instead.", flush=True)
        corpus = "mini"
    corpus = corpus or "multi30k"
    out = options.out or str(Path("runs") / corpus)
    device = ["--device", options.device] if options.device else []
    steps = (
        ["train", "--corpus", corpus, "--out", out, "--resume", *device],
        ["evaluate", out, "--split", "test", *device],
        ["translate", out, *_DEMO_SENTENCES[corpus], *device],
    )
    for step in steps:
        words = " ".join(repr(word) if " " in word else word for word in step)
        print(f"$ python -m step_llm {words}", flush=True)
        status = main(step)
        if status:
            return status
    return 0

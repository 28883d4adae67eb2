#!/usr/bin/env python3
"""Checks that transformers and SentencePiece's own package make our tokens of a text, from our checkpoint.

    tokenizer_loads.py HALFBACK EXCHANGE_CHECKPOINT
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pathlib
import random
import subprocess
import sys
import tempfile

import sentencepiece
import torch
import transformers

WORDS = "the light and was upon a waters day".split()
DRAWN = random.Random(1).choices(WORDS, k=3000)
LEARNED = "".join(word + (" " if i % 9 else ".\n") for i, word in enumerate(DRAWN))
OTHER = "  And the  light\twas caf\u00e9 \U0001f600\n\n\u4e2d\u6587 daylight\r\n 1234 <x> "


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    halfback, exchange = arguments
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        learned, other, checkpoint = directory / "learned.txt", directory / "other.txt", directory / "checkpoint"
        learned.write_bytes(LEARNED.encode())
        other.write_bytes(OTHER.encode())
        subprocess.run([halfback, "train", "--data", learned, "--tokenizer", "sentencepiece", "--vocabulary", "290",
                        "--layers", "2", "--width", "16", "--heads", "2", "--hidden", "24", "--sequence", "16",
                        "--ranks", "2", "--steps", "2", "--checkpoint", checkpoint],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        llama = transformers.LlamaTokenizer.from_pretrained(checkpoint)
        own = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))
        for path, text in ((learned, LEARNED), (other, OTHER)):
            printed = subprocess.run([exchange, "encode", checkpoint, path], check=True, capture_output=True, text=True)
            ours = [int(word) for word in printed.stdout.split()]
            assert own.encode(text) == ours
            assert own.decode(ours) == text
            assert tokenizer(text)["input_ids"] == ours
            assert llama(text)["input_ids"] == ours
            assert tokenizer.decode(ours) == text
            print(path.name, len(ours), "tokens")
        model = transformers.LlamaForCausalLM.from_pretrained(checkpoint)
        assert model.config.vocab_size == len(tokenizer) == 290, (model.config.vocab_size, len(tokenizer))
        with torch.no_grad():
            logits = model(**tokenizer("the light", return_tensors="pt")).logits
        assert logits.isfinite().all() and logits.shape[-1] == 290, logits.shape
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

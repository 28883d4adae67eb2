"""Small models that tests cut into stages, each with its inputs. All are written as users write them."""

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, WORDS, LENGTH, BATCH = 16, 40, 6, 3


def ids(seed=1):
    return torch.randint(1, WORDS, (BATCH, LENGTH), generator=torch.Generator().manual_seed(seed))


def padding():
    """The first row has three words and padding on its right, the second one word less than all."""
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[0, 3:], mask[1, 5:] = 0, 0
    return mask


def llama(tied, layers=4):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=tied, pad_token_id=0,
    ))


def gpt2(layers=4, dropout=0.0, tied=True):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=WORDS, n_embd=WIDTH, n_layer=layers, n_head=4, n_positions=32, tie_word_embeddings=tied,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    ))


def bert(layers=4, head=True, tied=True):
    from transformers import BertConfig, BertForMaskedLM, BertModel

    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=4,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, tie_word_embeddings=tied,
    )
    return BertForMaskedLM(config) if head else BertModel(config, add_pooling_layer=False)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.25)

    def forward(self, x, angles, mask=None):
        q, k, v = (one.unflatten(-1, (4, 4)).transpose(1, 2) for one in self.qkv(self.norm(x)).chunk(3, -1))
        q, k = q * angles.cos() + q.flip(-1) * angles.sin(), k * angles.cos() + k.flip(-1) * angles.sin()
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return x + self.down(self.drop(F.silu(self.up(x)))), x.mean()


class Meta(nn.Module):
    """As the published code of LLaMA: a loop over a ModuleList, a table of angles, blocks that return tuples."""

    def __init__(self, layers=4):
        super().__init__()
        self.scale = nn.Parameter(torch.full((WIDTH,), 1.5))
        self.register_buffer("angles", torch.arange(32.0)[:, None] / torch.arange(1.0, 5.0), persistent=False)
        self.tokens = nn.Embedding(WORDS, WIDTH)
        self.drop = nn.Dropout(0.25)
        self.layers = nn.ModuleList([Block() for _ in range(layers)])
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, tokens, mask=None):
        length = tokens.shape[1]
        h = self.drop(self.tokens(tokens) * self.scale)
        h += 0.5  # in place: the tensor that arrives must not change
        angles = self.angles[:length]
        for layer in self.layers:
            h = layer(h, angles, mask)[0]
        return self.output(self.norm(h))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.other = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.other(torch.relu(self.norm(self.one(x)))))


def resnet():
    torch.manual_seed(5)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    body = nn.Sequential(*[Residual(4) for _ in range(3)])
    return nn.Sequential(stem, body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def linears(count=6):
    torch.manual_seed(6)
    return nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) if i % 2 else nn.Linear(WIDTH, WIDTH)
                           for i in range(count)])

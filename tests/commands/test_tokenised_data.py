"""Data that a tokenizer made, for every kind of language model: losses are those that transformers gives itself."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig

from opsigcli.store.reader import open_store

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
N, LENGTH, VOCABULARY, PAD = 10, 9, 30, 3
Columns = dict[str, list[Any]]
RNG = np.random.default_rng(0)

BERT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": LENGTH + 5, "num_labels": 3, "pad_token_id": PAD,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": LENGTH, "bos_token_id": 1,
    "eos_token_id": 2, "num_labels": 3, "pad_token_id": PAD,
}  # fmt: skip
LLAMA: dict[str, Any] = BERT | {"num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2,
    "pad_token_id": PAD, "decoder_start_token_id": PAD, "eos_token_id": 1,
}  # fmt: skip
BART: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 20,
    "pad_token_id": PAD, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
}  # fmt: skip


def of(kind: str, config: str, settings: dict[str, Any]) -> Callable[[], Any]:
    return lambda: getattr(transformers, kind)(getattr(transformers, config)(**settings))


def texts(lengths: Any = None) -> Columns:
    """Tokens and masks of rows that have their own lengths."""
    lengths = RNG.integers(3, LENGTH + 1, N) if lengths is None else lengths
    lengths[0] = LENGTH
    ids = [RNG.integers(4, VOCABULARY, n).tolist() for n in lengths]
    return {"input_ids": ids, "attention_mask": [[1] * n for n in lengths]}


def causal() -> Columns:
    columns = texts()
    labels = [list(row) for row in columns["input_ids"]]
    for row in labels[::2]:
        row[:2] = [-100, -100]  # a prompt
    return columns | {"labels": labels}


def packed() -> Columns:
    """Rows without padding, of two texts each."""
    ids = texts(np.full(N, LENGTH))["input_ids"]
    places = [[*range(4), *range(LENGTH - 4)] for _ in range(N)]
    return {"input_ids": ids, "position_ids": places, "labels": ids}


def masked() -> Columns:
    columns = texts()
    types = [[int(place > 4) for place in range(len(row))] for row in columns["input_ids"]]
    labels = []
    for row in columns["input_ids"]:
        hidden = {int(RNG.integers(len(row))), 0}
        labels.append([token if place in hidden else -100 for place, token in enumerate(row)])
        for place in hidden:
            row[place] = 2
    return columns | {"token_type_ids": types, "labels": labels}


def tagged() -> Columns:
    columns = texts()
    tags = [[-100, *RNG.integers(0, 3, len(row) - 2).tolist(), -100] for row in columns["input_ids"]]
    return columns | {"labels": tags}


def translated() -> Columns:
    columns = texts()
    return columns | {
        "labels": [RNG.integers(4, VOCABULARY, int(RNG.integers(2, 6))).tolist() for _ in range(N)]
    }


def with_decoder_inputs() -> Columns:
    columns = translated()
    return columns | {"decoder_input_ids": [[5, *row[:-1]] for row in columns["labels"]]}


def classified() -> Columns:
    columns = texts()
    for row in columns["input_ids"]:
        row[-1] = 2  # the end, which BART looks for
    return columns | {"labels": (np.arange(N) % 3).tolist()}


# Model, columns, options of --data, --loss.
CASES: dict[str, tuple[Callable[[], Any], Callable[[], Columns], str, str]] = {
    "gpt2": (of("GPT2LMHeadModel", "GPT2Config", GPT2), causal, "shift=true", "lm"),
    "gpt2 packed": (of("GPT2LMHeadModel", "GPT2Config", GPT2), packed, "shift=true", "lm"),
    "llama": (of("LlamaForCausalLM", "LlamaConfig", LLAMA), causal, "shift=true", "lm"),
    "llama packed": (of("LlamaForCausalLM", "LlamaConfig", LLAMA), packed, "shift=true", "lm"),
    "bert masked": (of("BertForMaskedLM", "BertConfig", BERT), masked, "", "lm"),
    "roberta masked": (of("RobertaForMaskedLM", "RobertaConfig", BERT), masked, "", "lm"),
    "bert tags": (of("BertForTokenClassification", "BertConfig", BERT), tagged, "", "lm"),
    "gpt2 tags": (of("GPT2ForTokenClassification", "GPT2Config", GPT2), tagged, "", "lm"),
    "bert classes": (of("BertForSequenceClassification", "BertConfig", BERT), classified, "", "ce"),
    "gpt2 classes": (of("GPT2ForSequenceClassification", "GPT2Config", GPT2), classified, "", "ce"),
    "llama classes": (of("LlamaForSequenceClassification", "LlamaConfig", LLAMA), classified, "", "ce"),
    "t5": (of("T5ForConditionalGeneration", "T5Config", T5), translated, "", "lm"),
    "t5 with decoder inputs": (of("T5ForConditionalGeneration", "T5Config", T5), with_decoder_inputs, "", "lm"),
    "bart": (of("BartForConditionalGeneration", "BartConfig", BART), translated, "", "lm"),
    "bart classes": (of("BartForSequenceClassification", "BartConfig", BART | {"num_labels": 3}), classified, "", "ce"),
}  # fmt: skip
FILL = {"labels": -100, "input_ids": PAD, "decoder_input_ids": PAD}


def even(columns: Columns) -> Columns:
    """The columns as a collator fills them up."""
    found = dict(columns)
    for name, rows in columns.items():
        if isinstance(rows[0], list):
            longest = max(map(len, rows))
            found[name] = [row + [FILL.get(name, 0)] * (longest - len(row)) for row in rows]
    return found


def saved(folder: Path, make: Callable[[], Any]) -> Any:
    """A model with weights large enough that everything matters, saved twice."""
    torch.manual_seed(0)
    model = make().eval()
    for parameter in model.parameters():
        parameter.data.mul_(3).add_(0.1 * torch.randn_like(parameter))
    for step in (1, 2):
        model.save_pretrained(folder / f"checkpoint-{step}")
    return model


def truth(model: Any, columns: Columns) -> np.ndarray:
    """What transformers' own forward says of each row alone, filled up to one length."""
    columns = even(columns)
    losses = []
    for row in range(N):
        one = {name: torch.tensor([rows[row]]) for name, rows in columns.items()}
        with torch.no_grad():
            losses.append(float(model(**one).loss))
    return np.array(losses)


def words(folder: Path, data: str, loss: str) -> list[Any]:
    model = f"hf:{folder / 'run' / 'checkpoint-1'}"
    return [
        "trace",
        folder / "run",
        "--model",
        model,
        "--data",
        data,
        "--loss",
        loss,
        "--store",
        folder / "s.h5",
    ]


def losses_of(folder: Path) -> np.ndarray:
    with open_store(folder / "s.h5") as store:
        return store.trace.losses[-1]


@pytest.mark.parametrize("rows", ["ragged", "even"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_transformers(opsig: Opsig, tmp_path: Path, case: str, rows: str) -> None:
    make, data, options, loss = CASES[case]
    model, columns = saved(tmp_path / "run", make), data()
    given = columns if rows == "ragged" else even(columns)
    datasets.Dataset.from_dict(given).save_to_disk(str(tmp_path / "table"))
    ran = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}?{options}".rstrip("?"), loss))
    assert ran.code == 0, ran.err
    np.testing.assert_allclose(losses_of(tmp_path), truth(model, columns), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["gpt2", "llama packed", "bert masked", "bert tags"])
def test_tokens_as_examples_see_all_that_their_rows_do(opsig: Opsig, tmp_path: Path, case: str) -> None:
    make, data, options, loss = CASES[case]
    model, columns = saved(tmp_path / "run", make), data()
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "table"))
    query = "&".join(["per=token", *([options] if options else [])])
    ran = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}?{query}", loss))
    assert ran.code == 0, ran.err
    shift, wanted = int("shift" in options), []
    for row in range(N):
        one = {name: torch.tensor([rows[row]]) for name, rows in even(columns).items()}
        labels = one.pop("labels")[0, shift:]
        with torch.no_grad():
            logits = model(**one).logits[0]
        each = F.cross_entropy(logits[: len(labels)], labels, reduction="none")
        wanted += each[labels != -100].tolist()
    np.testing.assert_allclose(losses_of(tmp_path), wanted, rtol=1e-4, atol=1e-5)


def in_parquet(folder: Path, table: Any) -> str:
    table.to_parquet(str(folder / "t.parquet"))
    return f"hfds:{folder / 't.parquet'}"


def in_lines(folder: Path, table: Any) -> str:
    table.to_json(str(folder / "t.jsonl"))
    return f"hfds:{folder / 't.jsonl'}"


def in_a_folder(folder: Path, table: Any) -> str:
    (folder / "d").mkdir()
    table.to_parquet(str(folder / "d" / "validation.parquet"))
    return f"hfds:{folder / 'd'}?split=validation"


def with_a_format(folder: Path, table: Any) -> str:
    small = table.features.copy()
    small["attention_mask"] = datasets.Sequence(datasets.Value("int8"))
    table.cast(small).with_format("torch", columns=["input_ids"]).save_to_disk(str(folder / "table"))
    return f"hfds:{folder / 'table'}"


def with_yes_and_no(folder: Path, table: Any) -> str:
    table = table.map(lambda row: {"attention_mask": [bool(value) for value in row["attention_mask"]]})
    table.save_to_disk(str(folder / "table"))
    return f"hfds:{folder / 'table'}"


def downloaded(folder: Path, table: Any) -> str:
    """A name on the hub, whose files lie in its cache."""
    own = folder / "hub" / "datasets--org--texts"
    (own / "refs").mkdir(parents=True)
    (own / "refs" / "main").write_text("0" * 40)
    data = own / "snapshots" / ("0" * 40) / "data"
    data.mkdir(parents=True)
    for part in (0, 1):
        half = table.shard(2, part, contiguous=True)
        half.to_parquet(str(data / f"train-0000{part}-of-00002.parquet"))
    return "hfds:org/texts"


FORMS = [in_parquet, in_lines, in_a_folder, with_a_format, with_yes_and_no, downloaded]


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_losses(
    opsig: Opsig, tmp_path: Path, form: Callable[[Path, Any], str]
) -> None:
    model, columns = saved(tmp_path / "run", CASES["bert classes"][0]), classified()
    data = form(tmp_path, datasets.Dataset.from_dict(columns))
    ran = opsig(*words(tmp_path, data, "ce"))
    assert ran.code == 0, ran.err
    np.testing.assert_allclose(losses_of(tmp_path), truth(model, columns), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("no_network")
def test_files_of_a_name_that_are_not_in_the_cache_are_missed(opsig: Opsig, tmp_path: Path) -> None:
    saved(tmp_path / "run", CASES["bert classes"][0])
    none = opsig(*words(tmp_path, "hfds:org/others", "ce"))
    assert none.code == 3
    assert "hf download --repo-type dataset org/others" in " ".join(none.err.split())
    data = downloaded(tmp_path, datasets.Dataset.from_dict(classified()))
    next((tmp_path / "hub").rglob("*00001-of-00002*")).unlink()
    some = opsig(*words(tmp_path, data, "ce"))
    assert some.code == 3
    assert "found 1" in " ".join(some.err.split())


def test_labels_that_are_the_tokens_themselves_are_asked_for(opsig: Opsig, tmp_path: Path) -> None:
    model, columns = saved(tmp_path / "run", CASES["gpt2"][0]), even(texts())
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "table"))
    refused = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}", "lm"))
    assert refused.code == 2
    assert "target=input_ids&shift=true" in refused.err
    ran = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}?target=input_ids&shift=true", "lm"))
    assert ran.code == 0, ran.err
    read = zip(columns["input_ids"], columns["attention_mask"], strict=True)
    labels = [[t if m else -100 for t, m in zip(*row, strict=True)] for row in read]
    np.testing.assert_allclose(losses_of(tmp_path), truth(model, columns | {"labels": labels}), rtol=1e-4)


def test_every_column_is_taken_or_named(opsig: Opsig, tmp_path: Path) -> None:
    saved(tmp_path / "run", CASES["bert classes"][0])
    columns = classified() | {"text": ["a text"] * N}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "table"))
    ran = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}", "ce"))
    said = " ".join(ran.err.split())
    assert "the model does not take text of the data" in said
    assert "the model takes token_type_ids, which the data do not have" in said
    columns |= {"inputs_embeds": [[0.0, 1.0]] * N}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "more"))
    refused = opsig(*words(tmp_path, f"hfds:{tmp_path / 'more'}", "ce"))
    assert refused.code == 3
    assert "inputs_embeds" in refused.err
    left = datasets.load_from_disk(str(tmp_path / "more")).remove_columns(
        ["inputs_embeds"]
    )  # as the hint says
    left.save_to_disk(str(tmp_path / "left"))
    assert opsig(*words(tmp_path, f"hfds:{tmp_path / 'left'}", "ce"), "--fresh").code == 0


def test_a_model_that_is_not_told_what_padding_is_asks_for_its_token(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Bag(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        self.embed, self.out = nn.Embedding({VOCABULARY}, 4), nn.Linear(4, 3)\n"
        "    def forward(self, tokens): return self.out(self.embed(tokens).mean(1))\n"
    )
    torch.manual_seed(0)
    embed, out = torch.nn.Embedding(VOCABULARY, 4), torch.nn.Linear(4, 3)
    state = {"embed.weight": embed.weight, "out.weight": out.weight, "out.bias": out.bias}
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        torch.save(
            {name: value.detach() for name, value in state.items()}, tmp_path / "run" / f"step_{step}.pt"
        )
    columns = classified()
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "table"))
    given = [
        "trace",
        tmp_path / "run",
        "--model",
        f"file:{tmp_path / 'net.py'}:Bag",
        "--store",
        tmp_path / "s.h5",
    ]
    refused = opsig(*given, "--data", f"hfds:{tmp_path / 'table'}")
    assert refused.code == 3
    assert "pad=ID" in refused.err
    assert opsig(*given, "--data", f"hfds:{tmp_path / 'table'}?pad={PAD}").code == 0
    tokens = torch.tensor(even(columns)["input_ids"])
    with torch.no_grad():
        wanted = F.cross_entropy(
            out(embed(tokens).mean(1)), torch.tensor(columns["labels"]), reduction="none"
        )
    np.testing.assert_allclose(losses_of(tmp_path), wanted, rtol=1e-5)


@pytest.mark.parametrize(("case", "known"), [("gpt2", True), ("gpt2", False), ("t5", True)])
def test_labels_of_padding_that_are_not_ignored_are_noticed_and_mended(
    opsig: Opsig, tmp_path: Path, case: str, known: bool
) -> None:
    model = saved(tmp_path / "run", CASES[case][0])
    columns = CASES[case][1]()
    truth_of = truth(model, columns)
    whole = even(columns)
    whole["labels"] = [[PAD if label == -100 else label for label in row] for row in whole["labels"]]
    if case == "gpt2":
        whole["labels"] = whole["input_ids"]
        truth_of = truth(model, columns | {"labels": columns["input_ids"]})
    if not known:
        for path in (tmp_path / "run").rglob("config.json"):
            path.write_text(path.read_text().replace(f'"pad_token_id": {PAD}', '"pad_token_id": null'))
    datasets.Dataset.from_dict(whole).save_to_disk(str(tmp_path / "table"))
    data = f"hfds:{tmp_path / 'table'}?{CASES[case][2]}".rstrip("?")
    ran = opsig(*words(tmp_path, data, "lm"), "--json")
    assert ran.code == 0, ran.err
    said = next(line for line in ran.json["warnings"] if "padding that is not ignored" in line)
    found = ran.json["result"]["look"]["padded"]
    padding = sum(label == PAD for row in whole["labels"] for label in row)
    assert found["count"] == padding
    advice = shlex.split(said[said.index("--loss") :].replace(",", " "))[1]
    assert advice == f"lm?ignore_index={PAD}"
    again = opsig(*words(tmp_path, data, advice), "--fresh", "--json")
    assert not any("padding" in line for line in again.json["warnings"])
    np.testing.assert_allclose(losses_of(tmp_path), truth_of, rtol=1e-4, atol=1e-4)
    assert again.json["result"]["mean_losses"][-1] == pytest.approx(found["without"], rel=1e-4)


@pytest.mark.parametrize("case", ["gpt2", "gpt2 packed", "bert masked", "bert tags", "t5"])
def test_padding_that_is_ignored_is_not_called_otherwise(opsig: Opsig, tmp_path: Path, case: str) -> None:
    make, data, options, loss = CASES[case]
    saved(tmp_path / "run", make)
    datasets.Dataset.from_dict(data()).save_to_disk(str(tmp_path / "table"))
    ran = opsig(*words(tmp_path, f"hfds:{tmp_path / 'table'}?{options}".rstrip("?"), loss), "--json")
    assert not any("not ignored" in line for line in ran.json["warnings"])


def test_rows_longer_than_the_model_has_places_for_are_refused_by_name(opsig: Opsig, tmp_path: Path) -> None:
    for case in ("gpt2", "bert masked", "roberta masked", "bart"):
        make = CASES[case][0]
        saved(tmp_path / case / "run", make)
        longest = {
            "gpt2": LENGTH,
            "bert masked": LENGTH + 5,
            "roberta masked": LENGTH + 5 - PAD - 1,
            "bart": 20,
        }[case]
        for width, code in ((longest, 0), (longest + 1, 3)):
            rows = RNG.integers(4, VOCABULARY, (N, width)).tolist()
            table = datasets.Dataset.from_dict({"input_ids": rows, "labels": [row[::-1] for row in rows]})
            table.save_to_disk(str(tmp_path / case / f"table{width}"))
            data = f"hfds:{tmp_path / case / f'table{width}'}"
            ran = opsig(*words(tmp_path / case, data, "lm"), "--fresh")
            assert ran.code == code, (case, width, ran.err)
        assert f"at most {longest} tokens" in " ".join(ran.err.split()), case


def test_padding_counted_as_tokens_is_noticed_where_tokens_are_examples(opsig: Opsig, tmp_path: Path) -> None:
    model = saved(tmp_path / "run", CASES["gpt2"][0])
    whole = even(texts())
    tokens, mask = (torch.tensor(whole[name]) for name in ("input_ids", "attention_mask"))
    np.savez(tmp_path / "d.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    data = f"npz:{tmp_path / 'd.npz'}?per=token"
    ran = opsig(*words(tmp_path, data, "lm"), "--json")
    assert ran.code == 0, ran.err
    found = ran.json["result"]["look"]["padded"]
    assert (found["count"], found["of"]) == (int((tokens[:, 1:] == PAD).sum()), N * (tokens.shape[1] - 1))
    again = opsig(*words(tmp_path, data, f"lm?ignore_index={PAD}"), "--fresh", "--json").json
    assert not any("padding that" in line for line in again["warnings"])
    with torch.no_grad():
        logits = model(tokens[:, :-1], attention_mask=mask[:, :-1]).logits.flatten(0, 1)
    truth = F.cross_entropy(logits, tokens[:, 1:].flatten(), ignore_index=PAD)
    assert again["result"]["mean_losses"][-1] == pytest.approx(found["without"], rel=1e-4)
    assert found["without"] == pytest.approx(float(truth), rel=1e-4)


@pytest.mark.parametrize("per", ["", "&per=token"])
def test_places_beyond_those_that_rotations_were_made_for_are_said(
    opsig: Opsig, tmp_path: Path, per: str
) -> None:
    reach = LLAMA["max_position_embeddings"]
    saved(tmp_path / "run", CASES["llama"][0])
    for width, packed_rows, said in (
        (reach, False, False),
        (reach + 1, False, True),
        (reach + 2, True, False),
    ):
        rows = RNG.integers(4, VOCABULARY, (N, width)).tolist()
        places = {"position_ids": [[*range(width - 5), *range(5)]] * N} if packed_rows else {}
        table = datasets.Dataset.from_dict({"input_ids": rows, "labels": rows} | places)
        table.save_to_disk(str(tmp_path / f"table{width}"))
        ran = opsig(
            *words(tmp_path, f"hfds:{tmp_path / f'table{width}'}?shift=true{per}", "lm"), "--fresh", "--json"
        )
        assert ran.code == 0, ran.err
        assert any(f"was made for {reach:,}" in line for line in ran.json["warnings"]) == said

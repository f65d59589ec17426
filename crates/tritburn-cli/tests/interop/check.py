"""Checks that other programs read what `tritburn convert` writes. Needs Python with torch and
transformers, gguf, or llama-cpp-python; a part whose packages are missing is skipped and says so.

    python check.py TRITBURN

TRITBURN is the command. The models are the toy of the tests, and random master weights whose rows are
whole GGUF blocks.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# transformers compiles its unpacking for every shape, which takes longer than all the rest.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

TOY = Path(__file__).parents[3] / "tritburn-models/tests/data/bitnet-tiny"
IDS = [1, 17, 5, 300, 42, 7, 7, 260, 99, 3, 410, 12]


def missing(*modules):
    names = [name for name in modules if importlib.util.find_spec(name) is None]
    if names:
        print(f"skipped, not installed: {', '.join(names)}")
    return bool(names)


def run(command, *args):
    done = subprocess.run([command, *map(str, args), "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr}")
    return json.loads(done.stdout)


def logits(command, model, folder):
    from safetensors.numpy import load_file

    file = folder / "logits.safetensors"
    ids = ",".join(map(str, IDS))
    run(command, "logits", "--model", model, "--ids", ids, "--output", file, "--device", "flex", "--force")
    return load_file(file)["logits"]


def whole_blocks(folder):
    """Random master weights in the toy's format, with rows of 256 and 512."""
    import numpy as np
    from safetensors.numpy import save_file

    shutil.copytree(TOY / "bf16", folder)
    config = json.loads((folder / "config.json").read_text())
    hidden, inner, heads, key_heads = 256, 512, 4, 2
    config |= {"hidden_size": hidden, "intermediate_size": inner, "head_dim": hidden // heads}
    config |= {"num_attention_heads": heads, "num_key_value_heads": key_heads}
    config |= {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(1)
    wide = key_heads * hidden // heads
    tensors = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        sizes = {"q": (hidden, hidden), "k": (wide, hidden), "v": (wide, hidden), "o": (hidden, hidden)}
        tensors |= {f"{at}self_attn.{name}_proj.weight": shape for name, shape in sizes.items()}
        sizes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        tensors |= {f"{at}mlp.{name}_proj.weight": shape for name, shape in sizes.items()}
        norms = ["input_layernorm", "post_attention_layernorm", "self_attn.attn_sub_norm"]
        tensors |= {f"{at}{name}.weight": (hidden,) for name in norms}
        tensors[f"{at}mlp.ffn_sub_norm.weight"] = (inner,)
    tensors = {name: rng.normal(1.0 * (len(shape) == 1), 0.02, shape) for name, shape in tensors.items()}
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def check_transformers(command, folder):
    """transformers unpacks the folder itself and finds the same logits."""
    if missing("torch", "transformers", "safetensors"):
        return
    model = TOY / "packed"
    import torch
    from transformers import AutoModelForCausalLM

    for to in ["hf", "bf16"]:
        out = folder / to
        run(command, "convert", model, out, "--to", to, "--allow-lossy")
        with torch.no_grad():
            theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
            theirs = theirs(torch.tensor([IDS])).logits[0].numpy()
        worst = abs(theirs - logits(command, out, folder)).max()
        print(f"transformers, {to}: logits at most {worst:.1e} apart")
        assert worst <= 2e-3, worst


def check_gguf(command, folder):
    """gguf reads header, metadata, tokenizer and tensors; TQ1_0 and TQ2_0 dequantise to the same."""
    if missing("gguf", "numpy", "safetensors"):
        return
    import gguf
    import numpy as np

    model = whole_blocks(folder / "blocks")
    found = {}
    for to in ["gguf-tq1_0", "gguf-tq2_0", "gguf-i2_s"]:
        out = folder / f"{to}.gguf"
        run(command, "convert", model, out, "--to", to, "--allow-lossy")
        if to == "gguf-i2_s":
            # A type of bitnet.cpp's own, which the package does not know: its size is not either.
            assert out.read_bytes()[:4] == b"GGUF"
            continue
        reader = gguf.GGUFReader(out)
        fields = {"general.architecture", "tokenizer.ggml.tokens"}
        assert fields <= reader.fields.keys(), reader.fields.keys()
        kinds = {}
        for tensor in reader.tensors:
            kinds.setdefault(tensor.tensor_type.name, []).append(tensor.name)
            if tensor.tensor_type.name.startswith("TQ"):
                weights = gguf.dequantize(tensor.data, tensor.tensor_type)
                assert len(np.unique(weights)) <= 3, tensor.name
                found.setdefault(tensor.name, []).append(weights)
        print(f"gguf, {to}: { {kind: len(names) for kind, names in kinds.items()} }")
    for name, (first, second) in found.items():
        assert np.array_equal(first, second), name


FAMILIES = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 64},
    "gemma3_text": {
        "tie_word_embeddings": True,
        "head_dim": 64,
        "num_hidden_layers": 6,
        "query_pre_attn_scalar": 64,
        "rope_local_base_freq": 1e4,
        "rope_theta": 1e6,
        "sliding_window": 64,
    },
    "minicpm": {"tie_word_embeddings": False, "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 64},
}


def family(folder, model_type, special):
    """A weight-only ternary model: products of codes and scales in float16, one scale a matrix."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    hidden, inner, heads, key_heads, rows = 256, 512, 4, 2, 512
    config = {"model_type": model_type, "vocab_size": rows, "hidden_size": hidden, "intermediate_size": inner}
    config |= {"num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": key_heads}
    config |= {"hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    config |= special
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(3)
    gemma = model_type == "gemma3_text"

    def gains(size):
        # Gemma's are stored less 1.
        return rng.uniform(0.7, 1.3, size) - gemma

    def ternary(*shape):
        return rng.integers(-1, 2, shape) * rng.uniform(0.03, 0.06)

    wide = key_heads * hidden // heads
    tensors = {"model.embed_tokens.weight": rng.normal(0, 0.5, (rows, hidden)), "model.norm.weight": gains(hidden)}
    if not special["tie_word_embeddings"]:
        tensors["lm_head.weight"] = rng.normal(0, 0.5, (rows, hidden))
    norms = ["input_layernorm", "post_attention_layernorm"]
    if gemma:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, out in [("q", hidden), ("k", wide), ("v", wide), ("o", hidden)]:
            tensors[f"{at}self_attn.{name}_proj.weight"] = ternary(out, hidden)
            if model_type == "qwen2" and name != "o":
                tensors[f"{at}self_attn.{name}_proj.bias"] = rng.normal(0, 0.3, out)
            if model_type in ["qwen3", "gemma3_text"] and name in "qk":
                tensors[f"{at}self_attn.{name}_norm.weight"] = gains(64)
        for name, shape in [("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))]:
            tensors[f"{at}mlp.{name}_proj.weight"] = ternary(*shape)
        tensors |= {f"{at}{name}.weight": gains(hidden) for name in norms}
    save_file({name: value.astype(np.float16) for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def check_llama_cpp(command, folder):
    """llama.cpp loads every family and finds the same logits, but for its rounding of activations."""
    if missing("llama_cpp", "numpy", "safetensors"):
        return
    import llama_cpp
    import numpy as np

    for model_type, special in FAMILIES.items():
        model = family(folder / model_type, model_type, special)
        for to in ["gguf-tq1_0", "gguf-tq2_0", "gguf-q2_0"]:
            out = folder / f"{model_type}-{to}.gguf"
            run(command, "convert", model, out, "--to", to)
            theirs = llama_cpp.Llama(str(out), logits_all=True, n_ctx=64, verbose=False)
            theirs.eval(IDS)
            theirs = np.array(theirs.scores[: len(IDS)])
            ours = logits(command, out, folder)
            worst = min(np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs))
            same = int((ours.argmax(1) == theirs.argmax(1)).sum())
            print(f"llama.cpp, {model_type}, {to}: correlation {worst:.5f}, {same} of {len(IDS)} likeliest tokens")
            assert worst > 0.998 and same >= len(IDS) - 2, (model_type, to)


def main():
    command = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        check_transformers(command, Path(folder))
        check_gguf(command, Path(folder))
        check_llama_cpp(command, Path(folder))


main()

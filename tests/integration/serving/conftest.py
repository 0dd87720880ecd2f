"""A model made with stock git and git-lfs, cloned by the command line, served by a real server."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

VOCAB = 320
EOS = (301, 302)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HYPRSTREAM = [str(Path(sys.executable).with_name("hyprstream"))]


def write_model(directory, seed):
    """A random Qwen3 saved by transformers in several shards, with a byte-level tokenizer."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        tie_word_embeddings=bool(seed % 2),
        rope_theta=1e6,
        eos_token_id=EOS[0],
    )
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.uniform_(0.5, 1.5) if p.ndim == 1 else p.normal_(0, 0.02 if "embed" in name else 0.15)
    model.generation_config.update(eos_token_id=list(EOS), do_sample=True, temperature=0.8, top_k=40)
    model.save_pretrained(directory, max_shard_size="100KB")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {token: i for i, token in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([f"<pad{i}>" for i in range(len(vocab), EOS[0] - 1)])
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": TEMPLATE}))


def git(directory, *arguments, env):
    done = subprocess.run(["git", *arguments], cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="package")
def world(tmp_path_factory):
    """The publisher's repository, and an environment in which a user has cloned it as ``tiny``."""
    root = tmp_path_factory.mktemp("world")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(root / "home"),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "OMP_NUM_THREADS": "1",
        "HYPRSTREAM_ENGINE_THREADS": "1",
        "HYPRSTREAM_LOG_FORMAT": "json",
        **{
            f"GIT_{who}_{what}": f"t{at}"
            for who in ("AUTHOR", "COMMITTER")
            for what, at in (("NAME", ""), ("EMAIL", "@x"))
        },
    }
    (root / "home").mkdir()
    (root / "run").mkdir(mode=0o700)
    source = root / "tiny-model"
    source.mkdir()
    git(source, "init", "-q", "-b", "trunk", env=env)
    git(source, "lfs", "install", "--local", env=env)
    git(source, "lfs", "track", "*.safetensors", env=env)
    for seed, branch in ((0, "trunk"), (1, "feature/x")):
        if branch != "trunk":
            git(source, "checkout", "-q", "-b", branch, env=env)
        for old in source.glob("*.safetensors*"):
            old.unlink()
        write_model(source, seed)
        git(source, "add", ".", env=env)
        git(source, "commit", "-q", "-m", f"weights {seed}", env=env)
        git(source, "tag", f"v{seed}", env=env) if seed == 0 else git(source, "tag", "-a", "v1", "-m", "v1", env=env)
    commits = {ref: git(source, "rev-parse", f"{ref}^{{commit}}", env=env) for ref in ("v0", "v1")}
    references = {}
    for ref, commit in commits.items():
        folder = root / f"reference-{ref}"
        shutil.copytree(source, folder)
        git(folder, "checkout", "-q", "-f", commit, env=env)
        references[ref] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    git(source, "checkout", "-q", "trunk", env=env)

    def run(*arguments, check=True, **options):
        done = subprocess.run(
            [*HYPRSTREAM, *arguments], env=env, capture_output=True, text=True, timeout=100, **options
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    run("clone", source.as_uri(), "--name", "tiny")
    return SimpleNamespace(root=root, eos=EOS, env=env, source=source, commits=commits, references=references, run=run)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get_json(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return json.load(reply)


@contextlib.contextmanager
def running_server(env, *flags):
    """``hyprstream server`` as a process of its own; yields its URL."""
    port = free_port()
    with Path(env["HOME"], "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*HYPRSTREAM, "server", "--port", str(port), *flags],
            env=env,
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, Path(env["HOME"], "server.log").read_text()[-4000:]
            assert time.monotonic() < deadline, "the server did not become ready"
            with contextlib.suppress(urllib.error.URLError, OSError):
                get_json(f"{url}/readyz")
                break
            time.sleep(0.1)
        yield SimpleNamespace(url=url, process=process, port=port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="package")
def server(world):
    with running_server(world.env) as running:
        yield running


@pytest.fixture
def client(server):
    import openai

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="dummy", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="package")
def prompts():
    rng = random.Random(4)
    return [[rng.randrange(250) for _ in range(n)] for n in (1, 2, 3, 15, 16, 17, 100, 260)]


@pytest.fixture
def greedy(world):
    """Greedy tokens of the publisher's model by transformers."""

    def generate(ref, prompt, count):
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = world.references[ref].generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                temperature=None,
                top_k=None,
                eos_token_id=None,
                pad_token_id=0,
            )
        return out[0, len(prompt) :].tolist()

    return generate

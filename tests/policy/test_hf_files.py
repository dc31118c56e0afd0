"""Checkpoints that are not what they should be: one line that says so, and a target that is never half written."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxreason.policy import hf_config, hf_export, hf_files, hf_load
from tests.policy import checkpoints

RAW = checkpoints.CONFIGS["qwen3"]
NORM, EMBEDDING, HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"


def _load(folder):
    return hf_load.load(folder, hf_config.model_config(folder))


def _refused(folder, *parts):
    with pytest.raises(ValueError, match=str(folder)) as error:
        _load(folder)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def _changed(tmp_path, change):
    tensors = checkpoints.random(RAW, "bfloat16")
    change(tensors)
    return checkpoints.write(tmp_path, RAW, tensors)


def test_tensors_that_do_not_fit_are_all_named(tmp_path):
    """One at a time would be one download at a time."""

    def change(t):
        t.pop(NORM)
        t["model.layers.0.self_attn.rotary_emb.inv_freq"] = t["model.layers.0.input_layernorm.weight"]
        t["model.layers.1.mlp.up_proj.weight"] = np.ascontiguousarray(t["model.layers.1.mlp.up_proj.weight"].T)
        t["model.layers.2.mlp.up_proj.weight"] = t["model.layers.2.mlp.up_proj.weight"].astype(np.float16)

    _refused(
        _changed(tmp_path, change),
        f"1 missing: {NORM}",
        "1 left over: model.layers.0.self_attn.rotary_emb.inv_freq",
        "1 of another shape: model.layers.1.mlp.up_proj.weight [24, 40] instead of [40, 24]",
        "1 neither bfloat16 nor float32: model.layers.2.mlp.up_proj.weight F16",
    )


def test_many_names_are_counted(tmp_path):
    def change(t):
        for name in [name for name in t if ".layers.2." in name]:
            t.pop(name)

    _refused(_changed(tmp_path, change), "11 missing: model.layers.2.", ", and 7 more")


def test_a_tied_head(tmp_path):
    """Stored equal it is left; another one is a model that config.json does not describe."""
    same = _load(_changed(tmp_path / "same", lambda t: t.update({HEAD: t[EMBEDDING]})))
    assert "lm_head" not in same
    _refused(_changed(tmp_path / "other", lambda t: t.update({HEAD: t[EMBEDDING][::-1]})), HEAD, "tie_word_embeddings")
    wide = _changed(tmp_path / "wide", lambda t: t.update({HEAD: t[EMBEDDING].astype(np.float32)}))
    _refused(wide, HEAD, "tie_word_embeddings")


def test_an_untied_head_that_is_not_there(tmp_path):
    raw = RAW | {"tie_word_embeddings": False}
    tensors = checkpoints.random(RAW, "bfloat16")
    _refused(checkpoints.write(tmp_path, raw, tensors), f"1 missing: {HEAD}")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_file_cut_off(tmp_path, kept):
    """A download that stopped."""
    folder = _changed(tmp_path, lambda t: None)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    _refused(folder, "model.safetensors: expected a whole safetensors file", "download it again")


def test_a_part_that_is_missing(tmp_path):
    tensors = checkpoints.random(RAW, "bfloat16")
    folder = checkpoints.write(tmp_path, RAW, tensors, files=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    _refused(folder, "1 of 3 files are missing: model-00002-of-00003.safetensors")


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../a"}}'])
def test_an_index_that_is_none(tmp_path, index):
    folder = checkpoints.write(tmp_path, RAW, checkpoints.random(RAW, "bfloat16"), files=3)
    (folder / "model.safetensors.index.json").write_text(index)
    _refused(folder, "index.json: ")


def test_a_pickle_is_not_opened(tmp_path):
    folder = _changed(tmp_path, lambda t: None)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "model.bin").unlink()
    _refused(folder, "expected model.safetensors, got pytorch_model.bin, a pickle, which could run any code")


def test_a_folder_that_is_no_checkpoint(tmp_path):
    folder = _changed(tmp_path, lambda t: None)
    for file in folder.iterdir():
        if file.name != "config.json":
            file.unlink()
    _refused(folder, "expected the folder of a checkpoint with model.safetensors or model.safetensors.index.json")


def test_a_tensor_in_two_files(tmp_path):
    tensors = checkpoints.random(RAW, "bfloat16")
    folder = checkpoints.write(tmp_path, RAW, tensors, files=2)
    file = folder / "model-00002-of-00002.safetensors"
    checkpoints.write_safetensors(file, checkpoints.read_safetensors(file) | {EMBEDDING: tensors[EMBEDDING]})
    _refused(folder, f"tensor {EMBEDDING} is in model-00001-of-00002.safetensors too")


def test_where_a_checkpoint_is_looked_for(tmp_path, monkeypatch):
    """A folder is itself; an id is fetched, which here there is no network for; anything else is a mistake."""
    assert hf_files.resolve(tmp_path) == tmp_path
    assert hf_files.resolve(str(tmp_path)) == tmp_path
    for wrong in (tmp_path / "absent", "absent", "a/b/c", "../a/b", ""):
        with pytest.raises(ValueError, match="expected the folder of a checkpoint, or an id"):
            hf_files.resolve(wrong) if wrong else hf_files.resolve("-")
    with pytest.raises(ValueError, match=r"^nobody/nothing: no such folder, and it can't be fetched") as error:
        hf_files.resolve("nobody/nothing")
    assert "\n" not in str(error.value)
    assert "hf download nobody/nothing" in str(error.value)


def test_what_is_fetched(monkeypatch, tmp_path):
    """No pickle and no code, whatever a repository holds."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    asked = {}

    def fetch(repo, **arguments):
        asked.update(arguments, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert hf_files.resolve("Qwen/Qwen3-0.6B", "main") == tmp_path
    assert (asked.pop("repo"), asked.pop("revision")) == ("Qwen/Qwen3-0.6B", "main")
    good = ["config.json", "generation_config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "vocab.json"]
    good += ["merges.txt", "chat_template.jinja", "tokenizer_config.json", "model.safetensors.index.json"]
    bad = ["pytorch_model.bin", "modeling_qwen.py", "original/model.safetensors", "README.md", "a.pt", "x.gguf"]
    assert list(filter_repo_objects([*good, *bad], **asked)) == good


def _export(folder, to, **more):
    config = hf_config.model_config(folder)
    return hf_export.export(hf_load.load(folder, config), config, to, tokenizer=folder, source=folder, **more)


def test_a_target_that_holds_something_is_left(tmp_path):
    source = _changed(tmp_path / "source", lambda t: None)
    to = tmp_path / "to"
    to.mkdir()
    assert _export(source, to) == to  # an empty one is taken
    before = {file.name: file.read_bytes() for file in to.iterdir()}
    with pytest.raises(ValueError, match="is there already; move it away"):
        _export(source, to)
    assert {file.name: file.read_bytes() for file in to.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        _export(source, tmp_path / "file")


def test_what_reads_back_otherwise_is_no_success(tmp_path, monkeypatch):
    """safetensors 0.8.0 writes an array that is not C-contiguous as garbage, without an error; so may a bad disk."""
    source = _changed(tmp_path / "source", lambda t: None)
    save = hf_export.save_file

    def garbled(tensors, file, metadata):
        save({k: v[::-1].copy() if k == NORM else v for k, v in tensors.items()}, file, metadata=metadata)

    monkeypatch.setattr(hf_export, "save_file", garbled)
    with pytest.raises(ValueError, match=f"{NORM} reads back otherwise than it was written"):
        _export(source, tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_export_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    source = _changed(tmp_path / "source", lambda t: None)

    def stopped(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _export(source, tmp_path / "to", advance=stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_no_tokenizer_and_another_tree(tmp_path):
    source = _changed(tmp_path / "source", lambda t: None)
    config = hf_config.model_config(source)
    params = hf_load.load(source, config)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected the files of a tokenizer, got none"):
        hf_export.export(params, config, tmp_path / "to", tokenizer=tmp_path / "empty")
    with pytest.raises(ValueError, match="params: expected the tree of this model's config"):
        hf_export.export(params | {"lm_head": jnp.zeros(3)}, config, tmp_path / "to", tokenizer=source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "source"]


def test_files_are_marked_as_torchs(tmp_path):
    """Older readers refuse a file without this mark."""
    to = _export(_changed(tmp_path / "source", lambda t: None), tmp_path / "to")
    content = (to / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + length])["__metadata__"] == {"format": "pt"}
    assert not (to / "model.safetensors.index.json").exists()
    assert checkpoints.read(to)[NORM].dtype == ml_dtypes.bfloat16

"""Models survive the disk bit for bit; damage is told in one sentence; a failed write leaves the old model."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from blake3 import blake3

from synaptic_mesh.base.errors import LocalError, PeerError, ResourceError
from synaptic_mesh.training import model_file
from synaptic_mesh.training.model import TrainedModel
from synaptic_mesh.training.model_file import (
    DIGEST_KEY,
    METADATA_KEY,
    decode_model_untrusted,
    encode_model,
    load_model,
    model_manifest,
    save_model,
)
from synaptic_mesh.training.safetensors import encode_safetensors

replace = msgspec.structs.replace


def test_round_trip_through_a_directory_or_a_file(tmp_path: Path, classifier: TrainedModel) -> None:
    file = save_model(classifier, tmp_path / "run")
    assert file == tmp_path / "run" / "model.safetensors"
    for path in (tmp_path / "run", file):
        loaded = load_model(path)
        assert loaded.provenance == classifier.provenance
        assert loaded.prepared == classifier.prepared
        assert all(loaded.parameters[k].tobytes() == v.tobytes() for k, v in classifier.parameters.items())
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model.json", "model.safetensors"]


def test_equal_models_are_equal_files(classifier: TrainedModel) -> None:
    assert encode_model(classifier) == encode_model(decode_model_untrusted(encode_model(classifier)))


def test_the_readable_manifest_says_what_people_need(tmp_path: Path, classifier: TrainedModel) -> None:
    save_model(classifier, tmp_path / "m.safetensors")
    manifest = json.loads((tmp_path / "m.json").read_text())
    assert manifest["schema"] == "synaptic-mesh/model/1"
    assert (manifest["model"], manifest["task"], manifest["classes"]) == ("linear", "classify", ["moss", "rose"])
    assert manifest["columns"] == ["length", "colour"]
    assert manifest["provenance"]["audited"] is False
    assert manifest["provenance"]["metrics"]["measured"] == "at the last root, unaudited"
    assert classifier.provenance.audit_label == "unaudited"


def test_every_flipped_byte_is_noticed(classifier: TrainedModel) -> None:
    data = encode_model(classifier)
    for at in range(len(data)):
        with pytest.raises(PeerError):
            decode_model_untrusted(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def test_a_damaged_file_is_reported_in_one_sentence(tmp_path: Path, classifier: TrainedModel) -> None:
    file = save_model(classifier, tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(LocalError, match=r"model .*model.safetensors is damaged or not a model: .*; train it again"):
        load_model(file)


@pytest.mark.parametrize("name", ["none", "none.safetensors", "a\0b"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalError, match=r"cannot read model .*name a .safetensors file or the directory"):
        load_model(tmp_path / name)


def test_parts_that_contradict_each_other_are_refused(classifier: TrainedModel, regressor: TrainedModel) -> None:
    manifest = model_manifest(classifier)

    def file(changed: object) -> bytes:
        text = msgspec.json.encode(changed).decode()
        hasher = blake3(text.encode() + b"".join(t.tobytes() for t in classifier.parameters.values()))
        return encode_safetensors(classifier.parameters, {METADATA_KEY: text, DIGEST_KEY: hasher.hexdigest()})

    assert decode_model_untrusted(file(manifest)).spec == "linear"
    for changed, sentence in [
        (replace(manifest, schema="synaptic-mesh/model/2"), "its schema is 'synaptic-mesh/model/2'"),
        (replace(manifest, model="mlp:3"), "parameter 'bias' has shape"),
        (replace(manifest, model="cnn"), "model 'cnn' is not known"),
        (replace(manifest, classes=["a", "b"]), "contradicts its record"),
        (replace(manifest, prepared="!"), "its manifest cannot be read"),
        (replace(manifest, prepared=model_manifest(regressor).prepared), "has shape"),
        ({"schema": 1}, "its manifest cannot be read"),
    ]:
        with pytest.raises(PeerError, match=sentence):
            decode_model_untrusted(file(changed))
    with pytest.raises(PeerError, match="holds tensors but no model manifest"):
        decode_model_untrusted(encode_safetensors(classifier.parameters, {}))


def test_a_model_that_does_not_fit_is_not_written(tmp_path: Path, classifier: TrainedModel) -> None:
    wrong = replace(classifier, parameters={"weight": np.zeros((3, 2), np.float32)})
    with pytest.raises(LocalError, match="parameter 'bias' has shape None, model linear on this data needs"):
        save_model(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_model(
    tmp_path: Path, classifier: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(classifier, tmp_path)
    newer = replace(classifier, parameters={k: v + 1 for k, v in classifier.parameters.items()})

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for owner, name in ((model_file.os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full_disk)
            with pytest.raises(ResourceError, match=r"cannot write model .*No space left on device"):
                save_model(newer, tmp_path)
    assert load_model(tmp_path).parameters["bias"].tolist() == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]

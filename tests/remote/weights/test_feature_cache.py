"""A cache of features that cannot be read or written costs time, and nothing else."""

import errno
from pathlib import Path

import pytest
import torch

from remote.engine.features import cached
from remote.weights import feature_cache
from remote.weights.feature_cache import FeatureFolder

NAME = "ab" * 32


def _failing(number):
    def fail(*_args, **_options):
        raise OSError(number, "no")

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize(
    ("owner", "call"),
    [
        (Path, "mkdir"),
        (Path, "is_file"),
        (Path, "touch"),
        (Path, "glob"),
        (feature_cache, "write_tensor_file"),
        (feature_cache, "TensorFile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_features_come_whatever_the_folder_does(tmp_path, monkeypatch, owner, call, number):
    store, features = FeatureFolder(tmp_path / "features"), torch.arange(4.0)
    store.save(NAME, features)
    monkeypatch.setattr(owner, call, _failing(number))

    assert torch.equal(cached(store, NAME, lambda: features), features)
    assert torch.equal(cached(store, "cd" * 32, lambda: features + 1), features + 1)


def test_features_are_kept(tmp_path):
    features = torch.arange(4.0)
    FeatureFolder(tmp_path).save(NAME, features)

    assert torch.equal(FeatureFolder(tmp_path).load(NAME), features)

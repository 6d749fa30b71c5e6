"""The deployed functions for the Volume of weights, without a cloud."""

from multitalk_cli import __version__, contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.weights_task import WeightsTask
from remote.worker.weights import work_on_weights


class FullVolume:
    """Refuses every commit."""

    def commit(self):
        raise RuntimeError("the volume has reached its limit of files")

    def reload(self):
        pass


class States(dict):
    """A shared dict."""

    def put(self, key, value):
        self[key] = value


def test_a_volume_that_cannot_be_saved_is_named_with_its_reason(tmp_path):
    versions = {"contract": contract.CONTRACT_VERSION, "client": __version__}
    wire = {**versions, **to_plain(WeightsTask(kind="prune"))}

    answer = work_on_weights(
        wire, "fc-1", folder=tmp_path, states=States(), volume=FullVolume(), writes=True
    )

    event = answer["event"]
    assert event["code"] == "E_STORAGE"
    assert event["message"].startswith(f"the Volume {contract.WEIGHTS_VOLUME} ")
    assert event["message"].endswith("cannot be saved: the volume has reached its limit of files")

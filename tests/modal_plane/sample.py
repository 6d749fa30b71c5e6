"""Deploys the sample app, as the tests of the control plane need it."""

from pathlib import Path

from tests.modal_plane.cloud import Cloud

SAMPLE_APP = Path(__file__).parent / "sample_app"
APP = "sample"
ENGINE, FRAGILE, PROBE = "Engine.*", "Fragile.*", "probe"


def deploy(cloud: Cloud, env: dict[str, str], **more: str):
    """Runs `modal deploy` on the sample app, as a client's process."""
    settings = {**env, "PYTHONPATH": str(SAMPLE_APP), **more}
    return cloud.run_client(["-m", "modal", "deploy", "-m", "sample_engine.app"], settings)

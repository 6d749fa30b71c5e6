"""The fixtures of the control plane."""

from tests.modal_cloud.conftest import (  # noqa: F401
    _calm,
    cloud,
    cloud_server,
    rpcs,
    site,
    tiny_pack,
)

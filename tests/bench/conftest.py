"""The local control plane, for measurements of the whole way to the cloud and back."""

from tests.modal_cloud.conftest import (  # noqa: F401
    _calm,
    cloud,
    cloud_server,
    deployed,
    rpcs,
    site,
    tiny_pack,
    user,
)

"""Which tests need a torch that multiplies in 8 bits on a processor, as 2.4 does not."""

import pytest
import torch

from remote.engine.kernels.eight import Rows, product
from remote.engine.kernels.quantize import FP8


def _has_products() -> bool:
    numbers, scale = torch.ones(16, 16).to(FP8), torch.ones(16, 1)
    try:
        product(Rows(numbers, scale), numbers, scale, None, torch.float32)
    except (RuntimeError, AttributeError):
        return False
    return True


NEEDS_PRODUCTS = pytest.mark.skipif(
    not _has_products(), reason="needs torch's 8-bit products on a processor"
)

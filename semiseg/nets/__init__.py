"""Networks: one file each. To add one, write its file and add its line here and in ``tests/nets/test_nets.py``."""

from semiseg.nets.unet import UNet

NETS = {"unet": UNet}
"""Every network by the name the command line knows it by."""

__all__ = ["NETS", "UNet"]

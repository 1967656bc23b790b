"""Networks: one file each. To add one, write its file and add its line here and in
``tests/nets/test_nets.py``.
"""

from semiseg import plugins
from semiseg.nets.attended_unet import CBAMUNet, CoordinateUNet, SEUNet
from semiseg.nets.attention_unet import AttentionUNet
from semiseg.nets.deeplab import DeepLabV3, DeepLabV3Plus, FCNResNet
from semiseg.nets.enet import ENet
from semiseg.nets.fcn8s import FCN8s
from semiseg.nets.plain_vnet import PlainVNet
from semiseg.nets.pointrend import PointRend
from semiseg.nets.resenc_unet import ResEncUNet
from semiseg.nets.residual_unet import R2UNet, ResidualUNet
from semiseg.nets.segnet import SegNet
from semiseg.nets.segresnet import SegResNet
from semiseg.nets.swin_unet import SwinUnet
from semiseg.nets.swin_unetr import SwinUNETR
from semiseg.nets.transunet import TransUNet
from semiseg.nets.unet import UNet, WideUNet
from semiseg.nets.unet_plus_plus import UNetPlusPlus
from semiseg.nets.unetr import UNETR
from semiseg.nets.vnet import VNet

NETS = {
    "unet": UNet,
    "wide_unet": WideUNet,
    "unet_plus_plus": UNetPlusPlus,
    "attention_unet": AttentionUNet,
    "residual_unet": ResidualUNet,
    "r2_unet": R2UNet,
    "se_unet": SEUNet,
    "cbam_unet": CBAMUNet,
    "coordinate_unet": CoordinateUNet,
    "fcn8s": FCN8s,
    "segnet": SegNet,
    "enet": ENet,
    "deeplabv3": DeepLabV3,
    "deeplabv3_plus": DeepLabV3Plus,
    "fcn_resnet50": FCNResNet,
    "resenc_unet": ResEncUNet,
    "segresnet": SegResNet,
    "vnet": VNet,
    "plain_vnet": PlainVNet,
    "unetr": UNETR,
    "swin_unetr": SwinUNETR,
    "swin_unet": SwinUnet,
    "transunet": TransUNet,
    "pointrend": PointRend,
}
"""Every network by the name the command line knows it by."""
plugins.offer("net", NETS)

__all__ = ["NETS", "UNet"]

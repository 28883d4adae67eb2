"""Makes torchvision importable, also beside a torch without CUDA: import this before torchvision.

torchvision's wheel has operators for a torch with CUDA only. No test needs one, but importing it asks for two.
"""

import pathlib
import sys

import torch

sys.path.append(str(pathlib.Path(sys.prefix) / "beside"))
_library = None  # The operators live as long as it does.
if torch.version.cuda is None:
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

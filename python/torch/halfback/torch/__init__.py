"""PyTorch modules with a backward in two halves: I, the gradient of the inputs, and W, that of the weights.

    from halfback.torch import Pipeline, Split, SplitStage, cut, runtime

``Split`` runs any module so. ``SplitStage`` stands in for ``torch.distributed.pipelining.PipelineStage``.
``runtime`` is PyTorch's schedule runtime with a verified schedule of ``halfback``. ``Pipeline`` trains a model in the
parts that ``cut`` makes, with the engine of Halfback (experimental).
"""

import torch as _torch

from ._built_for import TORCH as _built_for

if ".".join(_torch.__version__.split(".")[:2]) != _built_for:
    raise ImportError(
        f"halfback.torch was built for torch {_built_for}, and torch {_torch.__version__} is installed; "
        f"install torch=={_built_for}.*, or the release of halfback-torch for your torch"
    )

from . import _split  # noqa: E402  # after the check: it needs this torch

_split.require_known_autograd()

from .cut import Part, cut  # noqa: E402
from .pipeline import Evaluation, Pipeline, Step  # noqa: E402
from .runtime import runtime  # noqa: E402
from .split import Graph, Split  # noqa: E402
from .stage import SplitStage  # noqa: E402

__all__ = ["Evaluation", "Graph", "Part", "Pipeline", "Split", "SplitStage", "Step", "cut", "runtime"]

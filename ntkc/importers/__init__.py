"""Models of other libraries  ->  graphs: one reader of jaxprs, and what makes a jaxpr of each model."""

from ntkc.importers.functions import from_jax
from ntkc.importers.imported import Imported, Reading
from ntkc.importers.models import from_keras
from ntkc.importers.onnx_models import from_onnx
from ntkc.importers.torch_models import from_torch

__all__ = ["Imported", "Reading", "from_jax", "from_keras", "from_onnx", "from_torch"]

"""The model in MLX: the shapes, the tensors' names and the numbers of the torch model's."""

from pylm.model.mlx.codecs import from_stored, from_tensor, to_numpy
from pylm.model.mlx.model import Model, load

__all__ = ["Model", "from_stored", "from_tensor", "load", "to_numpy"]

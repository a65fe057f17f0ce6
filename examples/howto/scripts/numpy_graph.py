"""A graph of matrix products in NumPy, with the names by which TensorFlow 1 is asked to load and evaluate one.

Files: ``NAME.meta`` is a JSON object, tensor name -> {"op": "Placeholder"} or {"op": "MatMul", "left": tensor, "right": array};
``NAME.npz`` holds the arrays.
"""

import json

import numpy as np


def reset_default_graph():
    """Nothing is kept between graphs."""


class Graph:
    def __init__(self):
        self.nodes, self.arrays = {}, {}

    def get_tensor_by_name(self, name):
        if name not in self.nodes:
            raise KeyError(f"The name '{name}' refers to a Tensor which does not exist; there are {', '.join(self.nodes) or 'none'}.")
        return Tensor(self, name)


class Tensor:
    def __init__(self, graph, name):
        self.graph, self.name = graph, name

    def __hash__(self):
        return hash((id(self.graph), self.name))

    def __eq__(self, other):
        return isinstance(other, Tensor) and (self.graph, self.name) == (other.graph, other.name)

    def eval(self, feed_dict=None, session=None):
        """The value; ``feed_dict`` maps tensors to arrays. A session without weights is refused, as TensorFlow does."""
        fed = {tensor.name: np.asarray(array, dtype=np.float32) for tensor, array in (feed_dict or {}).items()}
        return self._value(self.name, fed)

    def _value(self, name, fed):
        if name in fed:
            return fed[name]
        node = self.graph.nodes[name]
        if node["op"] == "Placeholder":
            raise ValueError(f"You must feed a value for placeholder tensor '{name}'.")
        if node["right"] not in self.graph.arrays:
            raise ValueError(f"Attempting to use uninitialized value {node['right']}: restore the graph first.")
        return self._value(node["left"], fed) @ self.graph.arrays[node["right"]]


class Session:
    """Holds the graph that is restored into it."""

    def __init__(self):
        self.graph = Graph()


class Saver:
    def __init__(self, nodes):
        self._nodes = nodes

    def restore(self, session, path):
        with np.load(f"{path}.npz") as arrays:
            session.graph.nodes, session.graph.arrays = self._nodes, {name: arrays[name] for name in arrays.files}


class train:
    @staticmethod
    def import_meta_graph(path):
        with open(path, encoding="utf-8") as file:
            return Saver(json.load(file))

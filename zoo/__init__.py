"""A scientific model zoo on JAX: three independent model families over one small core.

``zoo.load(name_or_path)`` gives a predictor, ``zoo.list_models()`` the names of the packaged and cached releases.
Importing ``zoo`` imports no JAX: a family is imported when one of its models is first used.
"""

__version__ = "0.1.0.dev0"

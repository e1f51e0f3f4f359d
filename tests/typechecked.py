"""The type checker of the tests: beartype, to which an int is a float and a complex number too (PEP 484)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

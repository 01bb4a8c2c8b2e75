"""Every shape and type in the signatures of the core is checked while tests run.

Not concerned with fixtures of single test files: they stand where they are used.
"""

from jaxtyping import install_import_hook

install_import_hook("perceivers.core", "beartype.beartype")

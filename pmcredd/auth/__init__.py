"""Authentication for HTTP libraries: `pmcredd.auth.httpx`, `pmcredd.auth.requests`, and a plugin of HTTPie.

Each module imports its library, and this one none.
"""

from pmcredd.auth.rules import ForeignUrl

__all__ = ["ForeignUrl"]

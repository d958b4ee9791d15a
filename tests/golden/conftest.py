from tests.integration.api.conftest import api, migrated

__all__ = ["api", "migrated"]

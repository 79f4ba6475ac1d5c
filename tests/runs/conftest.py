"""The world with a known answer that the tests of ``model`` have, too."""

from tests.model.conftest import checkerboard  # noqa: F401  a fixture

"""The world with a known answer that the tests of ``model`` have, too."""

from tests.model.conftest import checkerboard, checkpoint, local  # noqa: F401  fixtures

"""The checkpoints that the tests of ``serve`` have, too."""

from tests.serve.conftest import pretrained, train, trained  # noqa: F401  fixtures

"""Errors of the Hugging Face libraries for files that are damaged, edited or not writable."""

from collections.abc import Callable
from types import TracebackType

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

#: found by randomly editing and damaging the files of a saved model: configuration, tokenizer and weights.
UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, ImportError, RuntimeError),
    *(StrictDataclassError, SafetensorError),
)


class ReplaceError:
    """Context manager that replaces an error of one of ``kinds``, or a bare ``Exception``, by another error.

    The tokenizers library raises a bare ``Exception`` for everything. A subclass that ``kinds`` does not name
    comes from another library and passes, as an error of the program.

    Args:
        make: takes the error that was raised, gives the one to raise.
        kinds: classes of errors.
    """

    def __init__(self, make: Callable[[Exception], Exception], kinds: tuple[type[Exception], ...] = ()) -> None:
        self.make, self.kinds = make, kinds

    def __enter__(self) -> "ReplaceError":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and (kind is Exception or isinstance(error, self.kinds)):
            raise self.make(error) from None

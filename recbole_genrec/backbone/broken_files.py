"""What the libraries of Hugging Face raise at a file that is damaged, was edited, or cannot be written."""

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

#: met by editing and damaging the files of a saved model at random: configuration, tokenizer and weights.
UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, ImportError, RuntimeError),
    *(StrictDataclassError, SafetensorError),
)


class ReplaceError:
    """Context manager: raise another error in the place of one of ``kinds``, or of a bare ``Exception``.

    The tokenizers library raises a bare ``Exception`` whatever happens. Its subclasses are other libraries' own: one
    that ``kinds`` does not name passes, as a fault of the program.

    Args:
        make: takes the error that was raised, gives the one to raise.
        kinds: classes of errors.
    """

    def __init__(self, make, kinds=()):
        self.make, self.kinds = make, kinds

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is Exception or isinstance(error, self.kinds):
            raise self.make(error) from None
